//! Certificates and keys from the bytes of their files, with errors that say what to do.

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

/// The contents of a server's files.
#[derive(Clone, Copy)]
pub struct ServerMaterial<'a> {
    /// PEM: the server's certificate, then those between it and its authority.
    pub certificate: &'a [u8],
    /// PEM: its key.
    pub private_key: &'a [u8],
    /// PEM: the authorities of clients. With it, clients must show a certificate.
    pub client_ca: Option<&'a [u8]>,
}

/// The contents of a client's files.
#[derive(Clone, Copy, Default)]
pub struct ClientMaterial<'a> {
    /// PEM: the authorities one of which signed the server's certificate. `None`: the system's.
    pub ca: Option<&'a [u8]>,
    /// PEM: the client's certificate, then those between it and its authority; and its key.
    pub identity: Option<(&'a [u8], &'a [u8])>,
}

/// Which file, by its key in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Part {
    Certificate,
    PrivateKey,
    ClientCa,
    Ca,
}

impl Part {
    /// As the configuration calls it.
    pub fn key(self) -> &'static str {
        match self {
            Part::Certificate => "certificate",
            Part::PrivateKey => "private_key",
            Part::ClientCa => "client_ca",
            Part::Ca => "ca",
        }
    }
}

/// Why the content of a file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum MaterialError {
    #[error("the file is empty")]
    Empty,
    #[error("this is a certificate in binary form (DER), and PEM is wanted")]
    Der,
    #[error("this is not PEM: it has no `-----BEGIN …-----` line")]
    NotPem,
    #[error("a PEM block in it is damaged: {0}")]
    BadPem(&'static str),
    #[error("there is no certificate in it")]
    NoCertificate,
    #[error("there is a private key in it and no certificate")]
    KeyForCertificate,
    #[error("there is no private key in it")]
    NoKey,
    #[error("there is a certificate in it and no private key")]
    CertificateForKey,
    #[error("the key is encrypted with a passphrase, and nobody is there to type it when the gateway starts")]
    EncryptedKey,
    #[error("this kind of key is not supported")]
    UnsupportedKey,
    #[error("the key does not belong to the certificate")]
    Mismatch,
    #[error("the key belongs to certificate {0} of the file, and the one that the key belongs to has to come first")]
    NotFirst(usize),
    #[error("the certificate has version 1, and TLS wants version 3")]
    Version1,
    #[error("the certificate is not usable: {0}")]
    Unusable(String),
}

impl MaterialError {
    /// What to try.
    pub fn advice(&self) -> &'static str {
        match self {
            MaterialError::Empty | MaterialError::NotPem | MaterialError::NoCertificate | MaterialError::NoKey => {
                "a PEM file has a block from `-----BEGIN CERTIFICATE-----` or `-----BEGIN PRIVATE KEY-----` to `-----END …-----`"
            }
            MaterialError::Der => "convert it: `openssl x509 -inform der -in OLD -out NEW.pem`",
            MaterialError::BadPem(_) => "copy it again, with every line of the block",
            MaterialError::KeyForCertificate | MaterialError::CertificateForKey => {
                "are `certificate` and `private_key` the wrong way round?"
            }
            MaterialError::EncryptedKey => {
                "take the passphrase off: `openssl pkey -in OLD.key -out NEW.key`, and let only the gateway read the new file"
            }
            MaterialError::UnsupportedKey => {
                "RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, and Ed25519 are supported"
            }
            MaterialError::Mismatch => {
                "compare `openssl x509 -noout -pubkey -in CERTIFICATE` with `openssl pkey -pubout -in KEY`: they must be the same"
            }
            MaterialError::NotFirst(_) => "put it before the certificates of its authorities",
            MaterialError::Version1 => {
                "sign it again with an extension: `openssl x509 -req … -extfile <(echo subjectAltName=DNS:NAME)`"
            }
            MaterialError::Unusable(_) => "look at it with `openssl x509 -noout -text -in FILE`",
        }
    }
}

/// All certificates of a file, at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    look_at(pem)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(bad_pem)?;
    if certificates.is_empty() {
        let is_key = contains(pem, "PRIVATE KEY-----");
        return Err(if is_key { MaterialError::KeyForCertificate } else { MaterialError::NoCertificate });
    }
    Ok(certificates)
}

/// The authorities of a file.
pub(super) fn authorities(pem: &[u8]) -> Result<RootCertStore, MaterialError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(unusable)?;
    }
    Ok(store)
}

/// The certificates of a server or a client with their key, which must belong to the first of them.
pub(super) fn certified_key(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, (Part, MaterialError)> {
    let chain = certificates(certificate).map_err(|error| (Part::Certificate, error))?;
    let key = private_key(key).map_err(|error| (Part::PrivateKey, error))?;
    let signer = ring::sign::any_supported_type(&key).map_err(|_| (Part::PrivateKey, MaterialError::UnsupportedKey))?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        // A signer that does not tell its public key can't be compared; ring's all do.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(mismatch(certified)),
        Err(error) => Err((Part::Certificate, unusable(error))),
    }
}

fn mismatch(certified: CertifiedKey) -> (Part, MaterialError) {
    let CertifiedKey { cert, key, .. } = certified;
    let belongs =
        |one: &CertificateDer<'static>| CertifiedKey::new(vec![one.clone()], key.clone()).keys_match().is_ok();
    match cert.iter().position(belongs) {
        Some(at) => (Part::Certificate, MaterialError::NotFirst(at + 1)),
        None => (Part::PrivateKey, MaterialError::Mismatch),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, MaterialError> {
    look_at(pem)?;
    // RFC 1421 and RFC 5958: the two ways in which PEM says that a key is encrypted.
    if contains(pem, "BEGIN ENCRYPTED PRIVATE KEY") || contains(pem, "Proc-Type: 4,ENCRYPTED") {
        return Err(MaterialError::EncryptedKey);
    }
    match PrivateKeyDer::pem_slice_iter(pem).next() {
        Some(key) => key.map_err(bad_pem),
        None if contains(pem, "BEGIN CERTIFICATE") => Err(MaterialError::CertificateForKey),
        None => Err(MaterialError::NoKey),
    }
}

/// What can be seen without reading a block.
fn look_at(pem: &[u8]) -> Result<(), MaterialError> {
    if pem.trim_ascii().is_empty() {
        return Err(MaterialError::Empty);
    }
    // ASN.1 SEQUENCE with a length of two bytes, as every certificate and key begins.
    if pem.starts_with(&[0x30, 0x82]) {
        return Err(MaterialError::Der);
    }
    if contains(pem, "-----BEGIN ") { Ok(()) } else { Err(MaterialError::NotPem) }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn bad_pem(error: pem::Error) -> MaterialError {
    MaterialError::BadPem(match error {
        pem::Error::MissingSectionEnd { .. } => "its `-----END …-----` line is missing",
        pem::Error::IllegalSectionStart { .. } => "its `-----BEGIN …-----` line is incomplete",
        _ => "its text is not base64",
    })
}

/// rustls hands on webpki's error for this as an unnamed one.
pub(super) fn is_version_1(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion"))
}

fn unusable(error: Error) -> MaterialError {
    match error {
        Error::InvalidCertificate(error) if is_version_1(&error) => MaterialError::Version1,
        Error::InvalidCertificate(error) => MaterialError::Unusable(format!("{error:?}")),
        error => MaterialError::Unusable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, Issuer, KeyPair};

    use super::*;
    use crate::model::Timestamp;
    use crate::transport::{Doubt, ServerTls};

    /// A certificate for one name, signed by itself, and its key.
    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["gateway".to_string()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn judge(certificate: &[u8], private_key: &[u8], client_ca: Option<&[u8]>) -> Result<(), (Part, MaterialError)> {
        ServerTls::new(ServerMaterial { certificate, private_key, client_ca }).map(|_| ())
    }

    #[test]
    fn a_certificate_with_its_key_is_taken_and_a_chain_behind_it_too() {
        let (certificate, key) = pair();
        let (other, _) = pair();
        assert_eq!(judge(certificate.as_bytes(), key.as_bytes(), Some(other.as_bytes())), Ok(()));
        // Text around the blocks, as `openssl x509 -text` writes it, does no harm; nor does the key in the same file.
        let bundle = format!("Certificate:\n  Data\n{certificate}{other}{key}");
        assert_eq!(judge(bundle.as_bytes(), bundle.as_bytes(), None), Ok(()));
    }

    #[test]
    fn each_thing_that_can_be_wrong_with_a_file_is_told_apart() {
        let (certificate, key) = pair();
        let (other, _) = pair();
        let (certificate, key) = (certificate.as_bytes(), key.as_bytes());
        let der = CertificateDer::from_pem_slice(certificate).unwrap();
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let old_encrypted =
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let strange = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let backwards = [other.as_bytes(), certificate].concat();
        let half = &certificate[..certificate.len() - 30];
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        for (certificate, key, client_ca, part, expected) in [
            (&b" \n"[..], key, None, Part::Certificate, MaterialError::Empty),
            (&der, key, None, Part::Certificate, MaterialError::Der),
            (b"words", key, None, Part::Certificate, MaterialError::NotPem),
            (half, key, None, Part::Certificate, MaterialError::BadPem("its `-----END …-----` line is missing")),
            (parameters.as_bytes(), key, None, Part::Certificate, MaterialError::NoCertificate),
            (key, key, None, Part::Certificate, MaterialError::KeyForCertificate),
            (certificate, parameters.as_bytes(), None, Part::PrivateKey, MaterialError::NoKey),
            (certificate, certificate, None, Part::PrivateKey, MaterialError::CertificateForKey),
            (certificate, encrypted.as_bytes(), None, Part::PrivateKey, MaterialError::EncryptedKey),
            (certificate, old_encrypted.as_bytes(), None, Part::PrivateKey, MaterialError::EncryptedKey),
            (certificate, strange.as_bytes(), None, Part::PrivateKey, MaterialError::UnsupportedKey),
            (other.as_bytes(), key, None, Part::PrivateKey, MaterialError::Mismatch),
            (&backwards, key, None, Part::Certificate, MaterialError::NotFirst(2)),
            (certificate, key, Some(key), Part::ClientCa, MaterialError::KeyForCertificate),
        ] {
            assert_eq!(judge(certificate, key, client_ca), Err((part, expected)));
        }
    }

    /// Made by `openssl x509 -req` of OpenSSL 3.0, which signs such ones unless it is told to add an extension. Its key is gone, and its time
    /// does not matter.
    const VERSION_1: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBFDCBuwIUZPgmf41xrHDVRvNSRPvRPF4ox4QwCgYIKoZIzj0EAwIwDDEKMAgG\n\
        A1UEAwwBeDAgFw0yNjExMjEwMTAxNDhaGA8yMTI2MTAyODAxMDE0OFowDDEKMAgG\n\
        A1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFwBmIUxzHrSCSI9+iQp\n\
        d7mck90Rg1nGdjq4SHVsl1QXflEk9uNLLlS4IkFNw946GX6hoFR1jLL/9Nuqgwsa\n\
        XBEwCgYIKoZIzj0EAwIDSAAwRQIgcSC5PWeoVAQoaAxdaT3/JIu5t4QO8VBH/aBN\n\
        IMeeTJkCIQDYGC05OoDQxvtTkA1xANDAcYNjjE/gQK6DHIk3lF4zTw==\n\
        -----END CERTIFICATE-----";

    #[test]
    fn a_certificate_of_version_1_is_named_as_such() {
        let (_, key) = pair();
        let expected = (Part::Certificate, MaterialError::Version1);
        assert_eq!(judge(VERSION_1.as_bytes(), key.as_bytes(), None), Err(expected));
    }

    #[test]
    fn a_certificate_out_of_its_time_is_a_doubt() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["gateway".to_string()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let certificate = params.signed_by(&key, &Issuer::new(CertificateParams::default(), &key)).unwrap().pem();
        let key = key.serialize_pem();
        let material =
            ServerMaterial { certificate: certificate.as_bytes(), private_key: key.as_bytes(), client_ca: None };
        let (begin, end) = (Timestamp(1_767_225_600_000), Timestamp(1_798_761_600_000));
        assert_eq!(
            ServerTls::doubts(material, Timestamp(begin.0 - 1)),
            [(Part::Certificate, Doubt::NotYetValid(begin))]
        );
        assert_eq!(ServerTls::doubts(material, begin), []);
        assert_eq!(ServerTls::doubts(material, end), []);
        assert_eq!(ServerTls::doubts(material, Timestamp(end.0 + 1)), [(Part::Certificate, Doubt::Expired(end))]);
    }
}
