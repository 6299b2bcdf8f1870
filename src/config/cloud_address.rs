//! `url:` of an uplink: where a cloud broker is, and over what it is spoken to.

use super::address::{
    HTTP_PORT, HTTPS_PORT, HostPort, MQTT_PORT, MQTTS_PORT, WEB_SOCKET_PATH, host_port, not_mqtt,
    path_without_web_socket, scheme,
};
use super::scalar::{Read, Wrong};
use super::secrets::{has_login, secret_in_query};
use super::tree::Scalar;
use super::types::ServerConfig;
use super::yaml::short;

/// Longer ones are a mistake.
const MAX_PATH: usize = 1_024;

/// `mqtts://broker.example.com:8883`, `wss://broker.example.com/mqtt`.
pub(super) struct UplinkUrl;

impl Read for UplinkUrl {
    type Out = ServerConfig;

    fn wanted(&self) -> String {
        "an address such as mqtts://broker.example.com:8883".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<ServerConfig, Wrong> {
        let text = scalar.text.as_str();
        if has_login(text) {
            return Err(Wrong::helped(
                "a user name or password is in it",
                "write `username:` and `password_file:` beside it",
            ));
        }
        if let Some(key) = secret_in_query(text) {
            return Err(Wrong::helped(
                format!("`{}` in it looks like a secret", short(key)),
                "secrets are never written into the configuration: `username:` and `password_file:` carry a login",
            ));
        }
        let (scheme, rest) = scheme(text)?;
        let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(cut);
        let (encrypted, web_socket, default_port) = match scheme {
            "mqtt" => (false, false, MQTT_PORT),
            "mqtts" => (true, false, MQTTS_PORT),
            "ws" => (false, true, HTTP_PORT),
            "wss" => (true, true, HTTPS_PORT),
            _ => return Err(not_mqtt(scheme, rest)),
        };
        let web_socket = match path {
            "" if web_socket => Some(WEB_SOCKET_PATH.into()),
            "" => None,
            path if web_socket => Some(request_target(path)?),
            path => return Err(path_without_web_socket(scheme, authority, path.trim_start_matches('/'))),
        };
        let HostPort { host, port } = host_port(authority, default_port)?;
        Ok(ServerConfig { host, port, encrypted, web_socket })
    }
}

/// Path and query as HTTP carries them (RFC 3986 §3.3, §3.4).
fn request_target(path: &str) -> Result<String, Wrong> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:/?%".contains(&b);
    if !path.starts_with('/') || path.len() > MAX_PATH || !path.bytes().all(fits) {
        return Err(Wrong::helped(
            format!("`{}` can't be the path of a WebSocket", short(path)),
            "a path begins with `/`, for example /mqtt; other characters than letters, digits and `-._~$` are written as %20",
        ));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServerConfig, Wrong> {
        UplinkUrl.read(&Scalar { text: text.into(), plain: true })
    }

    #[test]
    fn each_scheme_has_its_port_and_a_web_socket_its_path() {
        let server = |host: &str, port, encrypted, path: Option<&str>| {
            Ok(ServerConfig { host: host.into(), port, encrypted, web_socket: path.map(Into::into) })
        };
        assert_eq!(read("mqtt://broker.example.com"), server("broker.example.com", 1883, false, None));
        assert_eq!(read("mqtt://[::1]:1884"), server("::1", 1884, false, None));
        assert_eq!(read("mqtts://broker"), server("broker", 8883, true, None));
        assert_eq!(read("ws://broker"), server("broker", 80, false, Some("/mqtt")));
        assert_eq!(read("wss://broker/"), server("broker", 443, true, Some("/")));
        assert_eq!(
            read("wss://hub.example.net/$iothub/websocket?iothub-no-client-cert=true"),
            server("hub.example.net", 443, true, Some("/$iothub/websocket?iothub-no-client-cert=true"))
        );
    }

    #[test]
    fn an_address_is_shown_without_path_and_query() {
        for (url, shown) in [
            ("mqtt://[::1]:1884", "mqtt://[::1]:1884"),
            ("wss://broker/a?b=c", "wss://broker:443"),
            ("mqtts://10.0.0.1", "mqtts://10.0.0.1:8883"),
        ] {
            assert_eq!(read(url).map(|server| server.to_string()), Ok(shown.into()));
        }
    }

    #[test]
    fn what_could_not_work_is_refused_with_what_was_meant() {
        for (url, help) in [
            ("ssl://broker:8883", "did you mean mqtts://broker:8883?"),
            ("https://broker/mqtt", "did you mean wss://broker/mqtt?"),
            ("mqtss://broker", "did you mean mqtts://broker?"),
            ("ftp://broker", "begins with mqtt://"),
            ("mqtts://broker/x", "write mqtts://broker"),
            ("ws://broker/a b", "begins with `/`"),
            ("ws://broker?x", "begins with `/`"),
            ("wss://broker/mqtt?token=hunter2", "password_file"),
        ] {
            let Err(Wrong::Value { help: Some(told), .. }) = read(url) else { panic!("{url}") };
            assert!(told.contains(help), "{url}: {told}");
        }
        let shown = format!("{:?}", read("mqtts://me:hunter2@broker"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
