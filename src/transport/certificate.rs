//! What stands in a certificate: whom it names and when it holds. The only file that names x509-parser.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::model::Timestamp;

/// Why a certificate names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoName {
    /// No CN in the subject, or an empty one.
    #[error("the certificate's subject has no common name (CN), which would be the user")]
    Missing,
    /// Which of them would be the user?
    #[error("the certificate's subject has more than one common name (CN), so it does not say who the user is")]
    Several,
    /// It is in an encoding of old.
    #[error("the certificate's common name (CN) is no UTF-8 text")]
    NotText,
    /// It is no certificate.
    #[error("the certificate can't be read")]
    Unreadable,
}

/// Something about a certificate that is not wrong but will be noticed by its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Its time is over.
    #[error("it expired on {0}; clients will refuse it, so renew it")]
    Expired(Timestamp),
    /// Its time has not come.
    #[error("it is not valid before {0}; is this machine's clock right?")]
    NotYetValid(Timestamp),
}

/// The subject's common name.
pub(super) fn common_name(der: &[u8]) -> Result<String, NoName> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| NoName::Unreadable)?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next().ok_or(NoName::Missing)?;
    if names.next().is_some() {
        return Err(NoName::Several);
    }
    match name.as_str() {
        Ok("") => Err(NoName::Missing),
        Ok(name) => Ok(name.into()),
        Err(_) => Err(NoName::NotText),
    }
}

/// Whether `now` is outside of its time; nothing for what can't be read.
pub(super) fn doubt(der: &[u8], now: Timestamp) -> Option<Doubt> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let (begin, end) = (milliseconds(validity.not_before.timestamp()), milliseconds(validity.not_after.timestamp()));
    if now.0 > end.0 {
        return Some(Doubt::Expired(end));
    }
    (now.0 < begin.0).then_some(Doubt::NotYetValid(begin))
}

fn milliseconds(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1_000))
}
