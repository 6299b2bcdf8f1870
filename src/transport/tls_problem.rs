//! Why TLS with a server failed, in words for whoever set up the gateway: what the server shows, what it says of us, and what to try.

use std::io;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::material;
use crate::model::Timestamp;

/// A failed handshake. The texts don't change from one attempt to the next while the cause is the same.
#[derive(Debug, thiserror::Error)]
pub enum TlsProblem {
    /// The name can't be in a certificate.
    #[error("`{0}` can't be in a certificate; set `server_name` to the name that is in the server's")]
    NoName(String),
    /// The system keeps no authorities.
    #[error(
        "this system has no certificates of authorities; install the package ca-certificates, or set `ca` to the authority's certificate"
    )]
    NobodyToTrust,
    /// What came is no TLS.
    #[error(
        "it does not speak TLS on this port; check the port in url (8883 is usual for mqtts://, 443 for wss://), or use mqtt:// or ws://"
    )]
    NotTls,
    /// It hung up.
    #[error(
        "it closed the connection in the middle of the TLS handshake; check the port in url (8883 is usual for mqtts://), and that it is a port \
         with TLS"
    )]
    Closed,
    /// Signed by somebody whom we don't know.
    #[error("its certificate is of an authority that is not trusted here; {}", whom_to_trust(*.own_ca))]
    UnknownIssuer {
        /// Whether the trusted ones are those of `ca`.
        own_ca: bool,
    },
    /// Its time is over.
    #[error(
        "its certificate expired on {0}; whoever runs the server has to renew it (unless this machine's clock is wrong: compare `date -u`)"
    )]
    Expired(Day),
    /// Its time has not come.
    #[error(
        "its certificate is not valid before {from}, and this machine's clock says {now}: set the clock (`timedatectl` shows whether it follows a \
         time server)"
    )]
    NotYetValid {
        /// When it begins.
        from: Day,
        /// Today, as far as is known here.
        now: Day,
    },
    /// Another server's.
    #[error(
        "its certificate is for {presented} and not for {expected}; check url, or set `server_name` to a name of the certificate"
    )]
    WrongName {
        /// Whom we called.
        expected: String,
        /// Whose it is.
        presented: String,
    },
    /// Withdrawn.
    #[error("its certificate has been revoked by its authority; ask whoever runs the server")]
    Revoked,
    /// An authority's certificate used as a server's, as `openssl req -x509` makes it.
    #[error(
        "it shows the certificate of an authority as its own; have the authority sign a certificate for the server, with CA:FALSE and its name as \
         subjectAltName, and set `ca` to the authority's"
    )]
    AuthorityAsServer,
    /// Of a kind that nobody should make any more.
    #[error(
        "its certificate has version 1, without the names that TLS compares; it needs one with subjectAltName (version 3)"
    )]
    Version1,
    /// Anything else about the server's certificate.
    #[error("its certificate is not acceptable: {0}")]
    BadCertificate(String),
    /// Mutual TLS is wanted.
    #[error("it wants to see a certificate of this gateway; set `certificate` and `private_key`")]
    WantsCertificate,
    /// Mutual TLS, and it did not like ours.
    #[error(
        "it refuses this gateway's certificate ({0}); check `certificate`, and that the server knows it or its authority"
    )]
    RefusesCertificate(&'static str),
    /// No protocol in common.
    #[error("it does not have the protocol that `alpn` asks for; check `alpn` and the port in url")]
    NoProtocol,
    /// It has no such host.
    #[error("it has no server of this name; check the host in url, or `server_name`")]
    UnknownName,
    /// Nothing newer than TLS 1.1, or ciphers that were given up.
    #[error("it has no version or cipher of TLS in common with us; it must offer TLS 1.2 or 1.3")]
    TooOld,
    /// It ended the handshake for another reason.
    #[error("it ended the TLS handshake with the alert {0}")]
    Alert(String),
    /// Anything else.
    #[error("TLS failed: {0}")]
    Other(String),
    /// The connection below broke.
    #[error("the connection broke in the middle of the TLS handshake: {0}; look at the network")]
    Broken(io::Error),
}

/// A date without its time of day, so that a text that names today stays the same for a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day(Timestamp);

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = self.0.to_string();
        f.write_str(whole.split('T').next().unwrap_or(&whole))
    }
}

impl From<UnixTime> for Day {
    fn from(time: UnixTime) -> Day {
        Day(Timestamp(i64::try_from(time.as_secs()).unwrap_or(i64::MAX).saturating_mul(1_000)))
    }
}

fn whom_to_trust(own_ca: bool) -> &'static str {
    if own_ca {
        "`ca` has to hold the certificate of the authority that signed it: `openssl s_client -showcerts -connect HOST:PORT` shows it"
    } else {
        "set `ca` to the authority's certificate (without it, the system's authorities count)"
    }
}

/// What the client had to say, which tells some alerts apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub own_ca: bool,
    pub shows_certificate: bool,
    pub was_asked: bool,
    pub asks_for_protocol: bool,
}

impl Circumstances {
    /// Of an error during the handshake.
    pub(super) fn problem(self, error: io::Error) -> TlsProblem {
        if let Some(inner) = inner(&error) {
            return self.of(inner);
        }
        match error.kind() {
            _ if self.was_asked && !self.shows_certificate => TlsProblem::WantsCertificate,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                TlsProblem::Closed
            }
            _ => TlsProblem::Broken(error),
        }
    }

    /// Of an error after the handshake, if it is TLS's.
    pub(super) fn late_problem(self, error: &io::Error) -> Option<TlsProblem> {
        inner(error).map(|inner| self.of(inner))
    }

    fn of(self, error: &Error) -> TlsProblem {
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsProblem::NotTls,
            Error::InvalidCertificate(wrong) => self.of_certificate(wrong),
            Error::AlertReceived(alert) => self.of_alert(*alert),
            Error::PeerIncompatible(
                PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::NoKxGroupsInCommon,
            ) => TlsProblem::TooOld,
            Error::NoApplicationProtocol => TlsProblem::NoProtocol,
            other => TlsProblem::Other(other.to_string()),
        }
    }

    fn of_certificate(self, wrong: &CertificateError) -> TlsProblem {
        match wrong {
            CertificateError::UnknownIssuer => TlsProblem::UnknownIssuer { own_ca: self.own_ca },
            CertificateError::ExpiredContext { not_after, .. } => TlsProblem::Expired((*not_after).into()),
            CertificateError::NotValidYetContext { time, not_before } => {
                TlsProblem::NotYetValid { from: (*not_before).into(), now: (*time).into() }
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                TlsProblem::WrongName { expected: expected.to_str().into_owned(), presented: names(presented) }
            }
            CertificateError::Revoked => TlsProblem::Revoked,
            wrong if material::is_version_1(wrong) => TlsProblem::Version1,
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                TlsProblem::AuthorityAsServer
            }
            wrong => TlsProblem::BadCertificate(wrong.to_string()),
        }
    }

    fn of_alert(self, alert: AlertDescription) -> TlsProblem {
        use AlertDescription as A;
        let refuses = |why| {
            if self.shows_certificate { TlsProblem::RefusesCertificate(why) } else { TlsProblem::WantsCertificate }
        };
        match alert {
            A::CertificateRequired | A::NoCertificate => TlsProblem::WantsCertificate,
            A::BadCertificate => refuses("it calls it bad"),
            A::UnsupportedCertificate => refuses("it does not support its kind"),
            A::CertificateRevoked => refuses("it was revoked"),
            A::CertificateExpired => refuses("it has expired"),
            A::CertificateUnknown => refuses("it is not known"),
            A::UnknownCA => refuses("its authority is not known"),
            A::AccessDenied => refuses("it is denied access"),
            // What OpenSSL says with TLS 1.2 when it misses a certificate.
            A::HandshakeFailure if self.was_asked && !self.shows_certificate => TlsProblem::WantsCertificate,
            A::HandshakeFailure | A::ProtocolVersion | A::InsufficientSecurity => TlsProblem::TooOld,
            A::NoApplicationProtocol => TlsProblem::NoProtocol,
            // Some servers choose by the protocol, and say this when there is none for it.
            A::InternalError | A::IllegalParameter if self.asks_for_protocol => TlsProblem::NoProtocol,
            A::UnrecognisedName => TlsProblem::UnknownName,
            other => TlsProblem::Alert(format!("{other:?}")),
        }
    }
}

/// The first few, as they stand in the certificate.
fn names(presented: &[String]) -> String {
    /// More than that helps nobody.
    const SHOWN: usize = 4;
    // "DnsName(\"broker\")", as rustls prints them.
    let plain = |name: &String| match name.split_once('(') {
        Some((_, inner)) => inner.trim_end_matches(')').trim_matches('"').to_owned(),
        None => name.clone(),
    };
    match presented.len() {
        0 => "no host at all".into(),
        many => {
            let more = if many > SHOWN { " and others" } else { "" };
            format!("{}{more}", presented.iter().take(SHOWN).map(plain).collect::<Vec<_>>().join(", "))
        }
    }
}

fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Circumstances =
        Circumstances { own_ca: false, shows_certificate: false, was_asked: false, asks_for_protocol: false };

    fn alert(circumstances: Circumstances, alert: AlertDescription) -> String {
        circumstances.problem(io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(alert))).to_string()
    }

    #[test]
    fn an_alert_is_told_by_what_we_showed_and_asked_for() {
        let shows = Circumstances { shows_certificate: true, was_asked: true, ..PLAIN };
        let asked = Circumstances { was_asked: true, ..PLAIN };
        for (circumstances, description, told) in [
            (asked, AlertDescription::HandshakeFailure, "set `certificate` and `private_key`"),
            (PLAIN, AlertDescription::HandshakeFailure, "TLS 1.2 or 1.3"),
            (asked, AlertDescription::CertificateRequired, "set `certificate` and `private_key`"),
            (shows, AlertDescription::UnknownCA, "its authority is not known"),
            (asked, AlertDescription::BadCertificate, "set `certificate` and `private_key`"),
            (shows, AlertDescription::CertificateExpired, "it has expired"),
            (PLAIN, AlertDescription::NoApplicationProtocol, "check `alpn`"),
            (PLAIN, AlertDescription::UnrecognisedName, "`server_name`"),
            (PLAIN, AlertDescription::DecodeError, "DecodeError"),
        ] {
            let said = alert(circumstances, description);
            assert!(said.contains(told), "{description:?}: {said}");
        }
    }

    #[test]
    fn times_are_told_by_the_day_so_that_a_cause_keeps_its_words() {
        let day = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let said = |now| {
            let wrong = CertificateError::NotValidYetContext { time: day(now), not_before: day(1_767_225_600) };
            PLAIN.of_certificate(&wrong).to_string()
        };
        assert!(
            said(5).contains("not valid before 2026-01-01, and this machine's clock says 1970-01-01"),
            "{}",
            said(5)
        );
        assert_eq!(said(5), said(86_000));
    }

    #[test]
    fn a_certificate_for_somebody_else_says_for_whom() {
        assert_eq!(names(&["DnsName(\"a.example\")".into(), "IpAddress(10.0.0.1)".into()]), "a.example, 10.0.0.1");
        assert_eq!(names(&[]), "no host at all");
        assert!(names(&vec!["x".to_string(); 9]).ends_with("x and others"));
    }
}
