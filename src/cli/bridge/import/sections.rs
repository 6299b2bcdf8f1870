//! What a mosquitto.conf(5) says of its bridges.

/// One `connection`.
#[derive(Debug, Default)]
pub(super) struct Bridge {
    pub name: String,
    /// Where it begins.
    pub line: usize,
    pub addresses: Vec<String>,
    pub topics: Vec<Topic>,
    pub client_id: Option<String>,
    pub username: Option<String>,
    pub password_line: Option<usize>,
    pub ca: Option<String>,
    pub certificate: Option<String>,
    pub private_key: Option<String>,
    pub alpn: Option<String>,
    pub is_v5: bool,
    /// Seconds.
    pub keep_alive: u32,
    pub strips_retain: bool,
}

/// One `topic` line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pattern: String,
    pub direction: Direction,
    pub qos: u8,
    local_prefix: String,
    remote_prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Out,
    In,
    Both,
}

impl Topic {
    /// The topics here.
    pub(super) fn local(&self) -> String {
        format!("{}{}", self.local_prefix, self.pattern)
    }

    /// The topics there.
    pub(super) fn remote(&self) -> String {
        format!("{}{}", self.remote_prefix, self.pattern)
    }
}

/// Options of bridges that we have no like of, or need none for, with what to know of them.
const OTHERS: &[(&str, &str)] = &[
    ("cleansession", "the session at the cloud is kept, so that nothing is lost or sent twice"),
    ("local_cleansession", "there is no session to clean here"),
    ("try_private", "loops are prevented without the cloud's help"),
    ("start_type", "an uplink always connects by itself"),
    ("restart_timeout", "it tries again after 1 s to 60 s"),
    ("idle_timeout", "an uplink stays connected"),
    ("threshold", "an uplink stays connected"),
    ("notifications", "the gateway's state is the last will and is forwarded by the rules"),
    ("notifications_local_only", "the gateway's state is the last will and is forwarded by the rules"),
    ("notification_topic", "the gateway's state is the last will and is forwarded by the rules"),
    ("round_robin", "addresses are tried in order"),
    ("bridge_attempt_unsubscribe", "what is no longer accepted is unsubscribed"),
    ("bridge_max_packet_size", "what the cloud says is too large is put aside"),
    ("bridge_max_topic_alias", "topic aliases are chosen by the uplink"),
    ("bridge_receive_maximum", "`window` bounds what is in flight"),
    ("bridge_session_expiry_interval", "the session at the cloud is kept"),
    ("bridge_tcp_keepalive", "a dead connection is noticed by MQTT's keep-alive"),
    ("bridge_tcp_user_timeout", "a dead connection is noticed by MQTT's keep-alive"),
    ("bridge_bind_address", "the system chooses the address that is sent from"),
    ("bridge_capath", "write one file with the authorities as `ca`"),
    ("bridge_insecure", "the cloud's certificate is always checked against its name"),
    ("bridge_tls_version", "TLS 1.2 and 1.3 are spoken"),
    ("bridge_tls_use_os_certs", "the system's authorities are used without `ca`"),
    ("bridge_require_ocsp", "OCSP is not asked"),
    ("bridge_ciphers", "the ciphers are rustls's"),
    ("bridge_ciphers_tls1.3", "the ciphers are rustls's"),
    ("bridge_identity", "there is no TLS with a shared key; use certificates"),
    ("bridge_psk", "there is no TLS with a shared key; use certificates"),
    ("local_clientid", "the gateway needs no client of its own broker"),
    ("local_username", "the gateway needs no client of its own broker"),
    ("local_password", "the gateway needs no client of its own broker"),
];

/// The bridges of a file, and what of it is no part of them: line numbers with a sentence.
pub(super) fn read(text: &str) -> (Vec<Bridge>, Vec<(usize, String)>) {
    let mut bridges: Vec<Bridge> = Vec::new();
    let mut lost = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        if key == "connection" {
            bridges.push(Bridge { name: value.to_owned(), line: number, keep_alive: 60, ..Bridge::default() });
            continue;
        }
        let told = match bridges.last_mut() {
            Some(bridge) => bridge.take(number, key, value),
            None => Err("it is no part of a bridge".into()),
        };
        if let Err(why) = told {
            // The value may be a secret.
            lost.push((number, format!("{key}: {why}")));
        }
    }
    (bridges, lost)
}

impl Bridge {
    /// Takes an option of this connection, or says why it has no place here.
    fn take(&mut self, number: usize, key: &str, value: &str) -> Result<(), String> {
        let text = || Some(value.to_owned());
        match key {
            "address" | "addresses" => self.addresses.extend(value.split_whitespace().map(address)),
            "topic" => self.topics.push(topic(value)?),
            "clientid" | "remote_clientid" => self.client_id = text(),
            "username" | "remote_username" => self.username = text(),
            "password" | "remote_password" => self.password_line = Some(number),
            "bridge_cafile" => self.ca = text(),
            "bridge_certfile" => self.certificate = text(),
            "bridge_keyfile" => self.private_key = text(),
            "bridge_alpn" => self.alpn = text(),
            "bridge_protocol_version" => match value {
                "mqttv50" => self.is_v5 = true,
                "mqttv311" => self.is_v5 = false,
                _ => return Err(format!("{value} is not spoken; it is MQTT 3.1.1 now")),
            },
            "bridge_outgoing_retain" => self.strips_retain = value == "false",
            "keepalive_interval" => match value.parse::<u32>() {
                Ok(seconds @ 1..=65_535) => self.keep_alive = seconds,
                _ => return Err(format!("{value} is no interval from 1 to 65535 seconds; it is 60 s now")),
            },
            // The default, and what an uplink does anyway.
            "cleansession" if value == "false" => {}
            "start_type" if value == "automatic" => {}
            other => {
                let known = OTHERS.iter().find(|(name, _)| *name == other);
                return Err(known
                    .map_or("it is no option of a bridge, or one of a later mosquitto", |(_, why)| why)
                    .into());
            }
        }
        Ok(())
    }
}

/// mosquitto takes `host:port`; 1883 is left out of a URL, and IPv6 addresses may come without brackets.
fn address(text: &str) -> String {
    let host = text.strip_suffix(":1883").unwrap_or(text);
    if host.matches(':').count() > 1 && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// `pattern [[[out | in | both] qos-level] local-prefix remote-prefix]`
fn topic(value: &str) -> Result<Topic, String> {
    let words = words(value);
    let word = |index: usize| words.get(index).map(String::as_str);
    let empty = |text: Option<&str>| text.filter(|text| *text != "\"\"").unwrap_or_default().to_owned();
    let direction = match word(1) {
        None | Some("out") => Direction::Out,
        Some("in") => Direction::In,
        Some("both") => Direction::Both,
        Some(other) => return Err(format!("`{other}` is none of out, in and both")),
    };
    let qos = match word(2).map(str::parse) {
        None => 0,
        Some(Ok(qos @ 0..=2)) => qos,
        Some(_) => return Err(format!("{} is no QoS", words[2])),
    };
    let topic =
        Topic { pattern: empty(word(0)), direction, qos, local_prefix: empty(word(3)), remote_prefix: empty(word(4)) };
    if topic.local().is_empty() || topic.remote().is_empty() {
        return Err("it names no topic".into());
    }
    let filters = [topic.local(), topic.remote()];
    for filter in &filters {
        crate::model::Filter::new(filter).map_err(|error| format!("{filter}: {error}"))?;
    }
    Ok(topic)
}

fn words(value: &str) -> Vec<String> {
    value.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_line_says_as_much_as_it_has_words() {
        let topics = |value: &str| topic(value).map(|t| (t.local(), t.remote(), t.direction, t.qos));
        let same = |text: &str, direction, qos| Ok((text.to_owned(), text.to_owned(), direction, qos));
        assert_eq!(topics("a/#"), same("a/#", Direction::Out, 0));
        assert_eq!(topics("# both 2"), same("#", Direction::Both, 2));
        assert_eq!(topics("t/+ in 1 here/ there/"), Ok(("here/t/+".into(), "there/t/+".into(), Direction::In, 1)));
        assert_eq!(topics("\"\" out 1 here there"), Ok(("here".into(), "there".into(), Direction::Out, 1)));
        assert_eq!(topics("# out 1 \"\" site/"), Ok(("#".into(), "site/#".into(), Direction::Out, 1)));
        assert!(topics("# up").is_err() && topics("# out 3").is_err() && topics("\"\"").is_err());
    }
}
