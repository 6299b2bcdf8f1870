//! Why there is no connection to a cloud broker, and what to try. The texts stay the same while the cause does, so that a log that tells each
//! text once tells each cause once.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::mqtt::{CodecError, ConnAck, Reason};
use crate::transport::{MaterialError, NoUpgrade, Part, TlsProblem};
use crate::uplink::verdict::advice;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::uplink) enum ConnectError {
    #[error("the name {0} does not exist; check the host in url")]
    NoSuchName(String),
    #[error(
        "the name {host} can't be resolved: {problem}; look at the network, and at the name servers in /etc/resolv.conf"
    )]
    Resolve { host: String, problem: String },
    #[error("the name {0} has no address; check the host in url")]
    NoAddress(String),
    #[error("nothing listens at {0} (connection refused); check the port in url, and that the broker runs")]
    Refused(Place),
    #[error("{place} does not answer within {} s; look at the network, its routes and firewalls, and check url", .seconds)]
    Silent { place: Place, seconds: u64 },
    #[error("{place} can't be reached: {source}; look at the network, its routes and firewalls")]
    Unreachable { place: Place, source: io::Error },
    #[error("`{key}` {}: {problem}", .path.display())]
    File { key: &'static str, path: PathBuf, problem: String },
    #[error("there is no TLS with {server}: {problem}")]
    Tls { server: String, problem: TlsProblem },
    #[error("there is no WebSocket with {server}: {problem}")]
    Upgrade { server: String, problem: NoUpgrade },
    #[error("{server} accepts connections and does not answer as an MQTT broker would: {problem}")]
    NoMqtt { server: String, problem: NoGreeting },
    #[error("the cloud refuses the connection: {reason}{said}; {advice}", advice = advice(*.reason))]
    NotAccepted { reason: Reason, said: String },
    #[error("CONNECT can't be written: {0}; check client_id, username and password")]
    Connect(CodecError),
}

impl ConnectError {
    /// Of a CONNACK with a failure.
    pub(super) fn refused_by(connack: &ConnAck) -> ConnectError {
        let mut said = connack.reason_string.as_ref().map(|text| format!(" (it says: {text})")).unwrap_or_default();
        if let Some(server) = &connack.server_reference {
            said.push_str(&format!(" (it names {server}, which is not followed by itself)"));
        }
        ConnectError::NotAccepted { reason: connack.reason, said }
    }

    /// Of a file of the configuration whose content can't be used.
    pub(super) fn unusable(part: Part, path: PathBuf, error: &MaterialError) -> ConnectError {
        ConnectError::File { key: part.key(), path, problem: format!("{error}; {}", error.advice()) }
    }

    /// Of a name that could not be resolved. getaddrinfo's errors have no kind of their own in the standard library.
    pub(super) fn unresolved(host: &str, error: &io::Error) -> ConnectError {
        let text = error.to_string();
        if text.contains("Name or service not known") || text.contains("No address associated") {
            return ConnectError::NoSuchName(host.into());
        }
        let problem = match text.split_once("failed to lookup address information: ") {
            Some((_, why)) => why.to_owned(),
            None => text,
        };
        ConnectError::Resolve { host: host.into(), problem }
    }

    /// Of the addresses of a host, none of which could be connected to: the one failure that says most.
    pub(super) fn unreached(
        host: &str,
        port: u16,
        mut failures: Vec<(IpAddr, io::Error)>,
        seconds: u64,
    ) -> ConnectError {
        // A refusal comes from the machine itself, an error from the network on the way, and silence from nobody.
        let rank = |error: &io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused => 0,
            io::ErrorKind::TimedOut => 2,
            _ => 1,
        };
        failures.sort_by_key(|(address, error)| (rank(error), *address));
        let Some(best) = failures.first().map(|(_, error)| rank(error)) else {
            return ConnectError::NoAddress(host.into());
        };
        failures.retain(|(_, error)| rank(error) == best);
        let tried = failures.iter().map(|(address, _)| *address).collect();
        let place = Place { host: host.into(), port, tried };
        match failures.into_iter().next() {
            Some((_, source)) if best == 1 => ConnectError::Unreachable { place, source },
            _ if best == 0 => ConnectError::Refused(place),
            _ => ConnectError::Silent { place, seconds },
        }
    }
}

/// A host with the addresses that were tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::uplink) struct Place {
    host: String,
    port: u16,
    tried: Vec<IpAddr>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
        }
        if self.tried.iter().any(|address| address.to_string() != self.host) {
            let tried: Vec<String> = self.tried.iter().map(IpAddr::to_string).collect();
            write!(f, " (tried {})", tried.join(", "))?;
        }
        Ok(())
    }
}

/// What came instead of CONNACK.
#[derive(Debug, thiserror::Error)]
pub(in crate::uplink) enum NoGreeting {
    #[error("no CONNACK within {0} s; check the port in url and mqtt_version")]
    Silence(u64),
    #[error("it answers in TLS; use mqtts:// (or wss://) in url")]
    Tls,
    #[error("it speaks HTTP; check the port in url, or use ws:// (or wss://)")]
    Http,
    #[error(
        "it closes the connection without a word; check the port in url (one with TLS wants mqtts://), mqtt_version, and whether the cloud knows \
         client_id; its own log may say more"
    )]
    Closed,
    #[error("{0}; check the port in url and mqtt_version")]
    Other(String),
}

impl NoGreeting {
    /// What the first bytes say about who sent them.
    pub(super) fn of_bytes(inbox: &[u8]) -> Option<NoGreeting> {
        match inbox {
            // An alert, or a handshake's message, of SSL 3 to TLS 1.3 (RFC 8446 §5.1).
            [0x15 | 0x16, 3, 0..=4, ..] => Some(NoGreeting::Tls),
            [b'H', b'T', b'T', b'P', ..] | [b'<', ..] => Some(NoGreeting::Http),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(address: &str, kind: io::ErrorKind) -> (IpAddr, io::Error) {
        (address.parse().expect("an address"), kind.into())
    }

    #[test]
    fn of_several_addresses_the_failures_are_told_that_say_most_in_an_order_that_does_not_change() {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, TimedOut};
        let refused = ConnectError::unreached(
            "broker",
            1883,
            vec![
                failure("10.0.0.3", TimedOut),
                failure("10.0.0.2", ConnectionRefused),
                failure("10.0.0.1", ConnectionRefused),
            ],
            10,
        );
        assert!(
            refused.to_string().starts_with("nothing listens at broker:1883 (tried 10.0.0.1, 10.0.0.2) "),
            "{refused}"
        );
        let away = vec![failure("10.0.0.3", TimedOut), failure("::1", HostUnreachable)];
        let away = ConnectError::unreached("broker", 1883, away, 10).to_string();
        assert!(away.starts_with("broker:1883 (tried ::1) can't be reached"), "{away}");
        let silent = ConnectError::unreached("::1", 1883, vec![failure("::1", TimedOut)], 10).to_string();
        assert!(silent.starts_with("[::1]:1883 does not answer within 10 s"), "{silent}");
        assert!(matches!(ConnectError::unreached("broker", 1, vec![], 10), ConnectError::NoAddress(_)));
    }

    #[test]
    fn a_name_that_does_not_exist_is_told_from_a_name_server_that_does_not_answer() {
        let of = |text: &str| ConnectError::unresolved("brokr", &io::Error::other(text)).to_string();
        let missing = of("failed to lookup address information: Name or service not known");
        assert_eq!(missing, "the name brokr does not exist; check the host in url");
        let away = of("failed to lookup address information: Temporary failure in name resolution");
        assert!(away.contains("resolved: Temporary failure in name resolution; look at the network"), "{away}");
    }

    #[test]
    fn who_answers_in_another_protocol_is_known_by_the_first_bytes() {
        assert!(matches!(NoGreeting::of_bytes(&[0x15, 3, 3, 0, 2, 2, 40]), Some(NoGreeting::Tls)));
        assert!(matches!(NoGreeting::of_bytes(b"HTTP/1.1 400 Bad Request"), Some(NoGreeting::Http)));
        assert!(NoGreeting::of_bytes(&[0x20, 2, 0, 5]).is_none());
    }
}
