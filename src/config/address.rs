//! Addresses: `host:port` of a bus, listeners of the broker and the web, URLs of cloud brokers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::scalar::{Read, Wrong};
use super::secrets::has_login;
use super::suggest::did_you_mean;
use super::tree::Scalar;
use super::yaml::short;
use crate::model::Network;

/// MQTT without and with TLS, as registered with IANA.
pub(super) const MQTT_PORT: u16 = 1883;
pub(super) const MQTTS_PORT: u16 = 8883;
/// WebSocket is HTTP to begin with (RFC 6455 §3).
pub(super) const HTTP_PORT: u16 = 80;
pub(super) const HTTPS_PORT: u16 = 443;
/// Where MQTT clients look unless they are told otherwise.
pub(super) const WEB_SOCKET_PATH: &str = "/mqtt";
/// The longest DNS name (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

const SCHEMES: [&str; 4] = ["mqtt", "mqtts", "ws", "wss"];
/// What other programs write instead.
const FOREIGN_SCHEMES: [(&str, &str); 11] = [
    ("tcp", "mqtt"),
    ("tcps", "mqtts"),
    ("ssl", "mqtts"),
    ("tls", "mqtts"),
    ("mqtt+ssl", "mqtts"),
    ("mqtt+tls", "mqtts"),
    ("http", "ws"),
    ("https", "wss"),
    ("mqtt+ws", "ws"),
    ("mqtt+wss", "wss"),
    ("websocket", "ws"),
];

/// A host and its port; IPv6 hosts without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostPort {
    pub(super) host: String,
    pub(super) port: u16,
}

/// A host, and its port if one is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostMaybePort {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

/// `tcp:` of a bus.
pub(super) struct BusAddress;

impl Read for BusAddress {
    type Out = HostMaybePort;

    fn wanted(&self) -> String {
        "an address such as 192.168.1.50:502".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<HostMaybePort, Wrong> {
        let text = scalar.text.as_str();
        if has_login(text) {
            return Err(Wrong::new("a user name or password is in it, and field devices have none"));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let help = format!("write {}", short(rest));
            return Err(Wrong::helped(format!("`{}://` is too much", short(scheme)), help));
        }
        // Nobody can write port 0.
        let HostPort { host, port } = host_port(text, 0)?;
        Ok(HostMaybePort { host, port: (port != 0).then_some(port) })
    }
}

/// `listen:` of a bus: `0.0.0.0:4001`.
pub(super) struct ListenAddress;

impl Read for ListenAddress {
    type Out = SocketAddr;

    fn wanted(&self) -> String {
        "an address and a port such as 0.0.0.0:4001".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<SocketAddr, Wrong> {
        let text = scalar.text.as_str();
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(Wrong::helped(format!("`{}://` is too much", short(scheme)), format!("write {}", short(rest))));
        }
        if text.parse::<u16>().is_ok() {
            return Err(Wrong::helped("that is a port alone", format!("write 0.0.0.0:{text} for all networks")));
        }
        let place = host_port(text, 0)?;
        if place.port == 0 {
            return Err(Wrong::helped("the port is missing", format!("write {}:4001", short(text))));
        }
        socket(&place)
    }
}

/// One of `from:` of a bus: `10.0.0.0/8`, or a single address.
pub(super) struct FromNetwork;

impl Read for FromNetwork {
    type Out = Network;

    fn wanted(&self) -> String {
        "a network such as 10.0.0.0/8, or an address".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Network, Wrong> {
        let text = scalar.text.as_str();
        let wrong = || Wrong::new(format!("`{}` is no network", short(text)));
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(whole), str::parse).map_err(|_| wrong())?;
        Network::new(address, prefix)
            .ok_or_else(|| Wrong::new(format!("`/{prefix}` is too long: there are {whole} bits")))
    }
}

/// A listener of the broker: `mqtt://127.0.0.1:1883`, `wss://0.0.0.0:9001/mqtt`.
pub(super) struct ListenerUrl;

/// What a listener's address says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenerAddress {
    pub(super) address: SocketAddr,
    pub(super) encrypted: bool,
    /// The path of a WebSocket.
    pub(super) web_socket: Option<String>,
}

impl Read for ListenerUrl {
    type Out = ListenerAddress;

    fn wanted(&self) -> String {
        "an address such as mqtt://127.0.0.1:1883".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<ListenerAddress, Wrong> {
        let text = scalar.text.as_str();
        if has_login(text) {
            return Err(Wrong::helped("a user name or password is in it", "who may log in stands in `broker.users`"));
        }
        let (scheme, rest) = scheme(text)?;
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
        let (encrypted, default_port) = match scheme {
            "mqtt" => (false, MQTT_PORT),
            "mqtts" => (true, MQTTS_PORT),
            "ws" => (false, HTTP_PORT),
            "wss" => (true, HTTPS_PORT),
            _ => return Err(not_mqtt(scheme, rest)),
        };
        let web_socket = match (scheme, path) {
            ("ws" | "wss", Some(path)) => Some(web_socket_path(path)?),
            ("ws" | "wss", None) => Some(WEB_SOCKET_PATH.into()),
            (_, Some(path)) => return Err(path_without_web_socket(scheme, authority, path)),
            (_, None) => None,
        };
        let address = socket(&host_port(authority, default_port)?)?;
        Ok(ListenerAddress { address, encrypted, web_socket })
    }
}

/// `/path` of a request, as it is compared: no query, nothing that would have to be decoded.
fn web_socket_path(path: &str) -> Result<String, Wrong> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if path.len() <= 256 && path.bytes().all(fits) {
        return Ok(format!("/{path}"));
    }
    Err(Wrong::helped(
        format!("`/{}` can't be the path of a WebSocket", short(path)),
        "letters, digits and `-._~/` make a path, for example /mqtt",
    ))
}

/// `web.listen`: `127.0.0.1:8080`.
pub(super) struct WebAddress;

impl Read for WebAddress {
    type Out = SocketAddr;

    fn wanted(&self) -> String {
        "an address such as 127.0.0.1:8080".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<SocketAddr, Wrong> {
        let text = scalar.text.as_str();
        if has_login(text) {
            return Err(Wrong::new("a user name or password is in it"));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(Wrong::helped(format!("`{}://` is too much", short(scheme)), format!("write {}", short(rest))));
        }
        let bare = text.strip_prefix('[').map_or_else(|| text.contains(':'), |rest| rest.contains("]:"));
        if !bare {
            let address = if text.parse::<u16>().is_ok() { "127.0.0.1" } else { text };
            let port = if address == text { "8080" } else { text };
            return Err(Wrong::helped("it takes an address and a port", format!("write {}:{port}", short(address))));
        }
        socket(&host_port(text, 0)?)
    }
}

pub(super) fn scheme(text: &str) -> Result<(&str, &str), Wrong> {
    text.split_once("://").ok_or_else(|| {
        let usual = match text.rsplit_once(':') {
            Some((_, "8883" | "8884")) => "mqtts",
            Some((_, "443")) => "wss",
            _ => "mqtt",
        };
        Wrong::helped(format!("`{}` has no `{usual}://`", short(text)), format!("write {usual}://{}", short(text)))
    })
}

pub(super) fn not_mqtt(scheme: &str, rest: &str) -> Wrong {
    let lower = scheme.to_ascii_lowercase();
    let known = FOREIGN_SCHEMES.iter().find(|(theirs, _)| *theirs == lower).map(|(_, ours)| *ours);
    let label = format!("`{}://` is not MQTT", short(scheme));
    match known.or_else(|| did_you_mean(scheme, SCHEMES)) {
        Some(meant) => Wrong::helped(label, format!("did you mean {meant}://{}?", short(rest))),
        None => Wrong::helped(label, "an address begins with mqtt://, mqtts://, ws:// or wss://"),
    }
}

pub(super) fn path_without_web_socket(scheme: &str, authority: &str, path: &str) -> Wrong {
    let help = format!("write {scheme}://{}", short(authority));
    Wrong::helped(format!("`/{}` has no meaning without WebSocket", short(path)), help)
}

pub(super) fn host_port(text: &str, default_port: u16) -> Result<HostPort, Wrong> {
    if text.contains('@') {
        return Err(Wrong::new("an `@` can't be in an address"));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) if port.starts_with(':') => (host, Some(&port[1..])),
            _ => return Err(Wrong::helped(format!("`{}` has no closing `]`", short(text)), "for example [::1]:502")),
        },
        None if text.matches(':').count() > 1 => {
            return Err(match text.parse::<Ipv6Addr>() {
                Ok(address) => Wrong::helped("an IPv6 address needs brackets", format!("write [{address}]:PORT")),
                Err(_) => Wrong::new(format!("`{}` has more than one `:`", short(text))),
            });
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(default_port), parse_port)?;
    let in_brackets = text.starts_with('[');
    check_host(host, in_brackets)?;
    Ok(HostPort { host: host.into(), port })
}

fn parse_port(port: &str) -> Result<u16, Wrong> {
    match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(Wrong::new(format!("`{}` is not a port: they go from 1 to 65535", short(port)))),
    }
}

fn check_host(host: &str, in_brackets: bool) -> Result<(), Wrong> {
    let wrong = |why: &str| Err(Wrong::new(format!("`{}` {why}", short(host))));
    if in_brackets {
        return match host.parse::<Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => wrong("is not an IPv6 address"),
        };
    }
    if host.is_empty() {
        return Err(Wrong::new("the host is missing"));
    }
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return match host.parse::<Ipv4Addr>() {
            Ok(_) => Ok(()),
            Err(_) => wrong("is not an IPv4 address: it has four numbers from 0 to 255, without leading zeros"),
        };
    }
    if host.len() > MAX_HOST {
        return wrong("is too long for a host name");
    }
    let good = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    if !host.strip_suffix('.').unwrap_or(host).split('.').all(good) {
        return wrong("is not a host name");
    }
    Ok(())
}

fn socket(place: &HostPort) -> Result<SocketAddr, Wrong> {
    match place.host.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, place.port)),
        Err(_) if place.host == "localhost" => {
            Err(Wrong::helped("to listen takes an IP address", "write 127.0.0.1 (or [::1]) instead of localhost"))
        }
        Err(_) => Err(Wrong::new(format!("to listen takes an IP address, and `{}` is a name", short(&place.host)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<R: Read>(reader: &R, text: &str) -> Result<R::Out, Wrong> {
        reader.read(&Scalar { text: text.into(), plain: true })
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        let bus = |host: &str, port| Ok(HostMaybePort { host: host.into(), port });
        assert_eq!(read(&BusAddress, "192.168.1.50:502"), bus("192.168.1.50", Some(502)));
        assert_eq!(read(&BusAddress, "plc-1.local"), bus("plc-1.local", None));
        assert_eq!(read(&BusAddress, "[fe80::1]:1502"), bus("fe80::1", Some(1502)));
        assert_eq!(read(&ListenAddress, "0.0.0.0:4001"), Ok(([0, 0, 0, 0], 4001).into()));
        assert_eq!(read(&ListenAddress, "[::]:4001").map(|a| a.to_string()), Ok("[::]:4001".into()));
        for wrong in ["4001", "0.0.0.0", "modem:4001", "tcp://0.0.0.0:4001", "0.0.0.0:0"] {
            assert!(read(&ListenAddress, wrong).is_err(), "{wrong}");
        }
        assert!(read(&FromNetwork, "10.0.0.0/8").is_ok() && read(&FromNetwork, "fd00::1").is_ok());
        for wrong in ["10.0.0.0/33", "10.0.0/8", "modem", "10.0.0.0/", "10.0.0.0/-1", ""] {
            assert!(read(&FromNetwork, wrong).is_err(), "{wrong}");
        }
        let listener = |text: &str| {
            let listener = read(&ListenerUrl, text).unwrap();
            (listener.address.to_string(), listener.encrypted, listener.web_socket)
        };
        assert_eq!(listener("mqtt://127.0.0.1"), ("127.0.0.1:1883".into(), false, None));
        assert_eq!(listener("mqtts://[::]"), ("[::]:8883".into(), true, None));
        assert_eq!(listener("ws://127.0.0.1:9001"), ("127.0.0.1:9001".into(), false, Some("/mqtt".into())));
        assert_eq!(listener("wss://0.0.0.0:9001/a/b"), ("0.0.0.0:9001".into(), true, Some("/a/b".into())));
        assert_eq!(read(&WebAddress, "[::1]:80").map(|a| a.to_string()), Ok("[::1]:80".into()));
    }

    #[test]
    fn addresses_that_could_not_work_are_refused() {
        for wrong in [
            "192.168.1.500:502",
            "192.168.001.050:502",
            "plc:0",
            "plc:65536",
            "plc:+1",
            "plc:",
            ":502",
            "::1",
            "[::1",
            "a b:1",
            "-x:1",
            "a..b",
            "1:2:3",
            "",
            "tcp://plc:502",
            "me@plc:502",
            "[plc]:502",
        ] {
            assert!(read(&BusAddress, wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "127.0.0.1:1883",
            "mqtts://127.0.0.1:8883/x",
            "ws://127.0.0.1/mqtt?x",
            "ws://127.0.0.1/a b",
            "mqtt://localhost:1883",
            "mqtt://127.0.0.1/x",
            "http://127.0.0.1",
        ] {
            assert!(read(&ListenerUrl, wrong).is_err(), "{wrong}");
        }
        for wrong in ["8080", "127.0.0.1", "http://127.0.0.1:8080", "[::1]", "127.0.0.1:0"] {
            assert!(read(&WebAddress, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_never_repeated() {
        for url in ["mqtt://me:hunter2@host", "mqtts://hunter2@host", "tcp://me:hunter2@plc", "me:hunter2@plc:1"] {
            for error in [
                read(&ListenerUrl, url).map(|_| ()),
                read(&BusAddress, url).map(|_| ()),
                read(&WebAddress, url).map(|_| ()),
            ] {
                let shown = format!("{error:?}");
                assert!(!shown.contains("hunter2"), "{shown}");
            }
        }
    }
}
