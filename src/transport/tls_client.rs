//! The client's end of TLS 1.2 and 1.3: whom it trusts, and what it shows of itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::{ResolvesClientCert, Resumption};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SignatureScheme, version};

use super::certificate::{self, Doubt};
use super::material::{self, ClientMaterial, MaterialError, Part};
use super::tls_problem::{Circumstances, TlsProblem};
use crate::model::Timestamp;

/// What a client trusts and shows, for one connection: a renewed certificate is taken by making another one.
pub struct ClientTls {
    config: Arc<ClientConfig>,
    identity: Arc<Identity>,
    own_ca: bool,
    trusted: usize,
}

impl ClientTls {
    /// Reads the files' contents and, without `ca`, the system's certificates. Blocks for some milliseconds. Errors name the file that is
    /// wrong; times are not looked at, see [`ClientTls::doubts`].
    ///
    /// `alpn` is the protocol that is asked for within the handshake; `None` asks for none.
    pub fn new(material: ClientMaterial<'_>, alpn: Option<&str>) -> Result<ClientTls, (Part, MaterialError)> {
        let identity = Arc::new(Identity::of(material)?);
        let roots = match material.ca {
            Some(pem) => material::authorities(pem).map_err(|error| (Part::Ca, error))?,
            None => the_systems(),
        };
        let trusted = roots.len();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| (Part::Ca, MaterialError::Unusable(error.to_string())))?;
        let mut config = builder.with_root_certificates(roots).with_client_cert_resolver(identity.clone());
        config.alpn_protocols = alpn.into_iter().map(|name| name.as_bytes().to_vec()).collect();
        // The configuration lives as long as its one connection, so there is nothing to resume.
        config.resumption = Resumption::disabled();
        Ok(ClientTls { config: Arc::new(config), identity, own_ca: material.ca.is_some(), trusted })
    }

    /// Looks at the files' contents as [`ClientTls::new`] does, without the system's certificates.
    pub fn check(material: ClientMaterial<'_>) -> Result<(), (Part, MaterialError)> {
        Identity::of(material)?;
        material.ca.map_or(Ok(()), |pem| material::authorities(pem).map(drop).map_err(|error| (Part::Ca, error)))
    }

    /// Certificates that are out of their time at `now`: a warning, because the clock may be what is wrong.
    pub fn doubts(material: ClientMaterial<'_>, now: Timestamp) -> Vec<(Part, Doubt)> {
        let certificate = material.identity.map(|(certificate, _)| certificate);
        let files = [(Part::Certificate, certificate), (Part::Ca, material.ca)];
        let files = files.into_iter().filter_map(|(part, pem)| Some((part, material::certificates(pem?).ok()?)));
        let doubts = files.flat_map(|(part, certificates)| {
            certificates.into_iter().filter_map(move |der| Some((part, certificate::doubt(&der, now)?)))
        });
        doubts.collect()
    }

    /// The handshake with the server that `name`'s certificate belongs to; a host name is sent along (SNI, RFC 6066 §3), an address is
    /// not. It takes as long as the server likes: bound it.
    pub async fn connect<S>(&self, name: &str, stream: S) -> Result<TlsStream<S>, TlsProblem>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = server_name(name).ok_or_else(|| TlsProblem::NoName(name.into()))?;
        if self.trusted == 0 {
            return Err(TlsProblem::NobodyToTrust);
        }
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(name, stream).await.map_err(|error| self.circumstances().problem(error))
    }

    /// What an error that came after the handshake says about it: with TLS 1.3 a server looks at the client's certificate when the client
    /// is done already. `None` when it is about something else.
    pub fn explain(&self, error: &io::Error) -> Option<TlsProblem> {
        self.circumstances().late_problem(error)
    }

    /// Whether the server asked for a certificate and was shown none.
    pub fn owes_a_certificate(&self) -> bool {
        self.identity.asked.load(Ordering::Relaxed) && self.identity.key.is_none()
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            own_ca: self.own_ca,
            shows_certificate: self.identity.key.is_some(),
            was_asked: self.identity.asked.load(Ordering::Relaxed),
            asks_for_protocol: !self.config.alpn_protocols.is_empty(),
        }
    }
}

/// Whether a certificate can be for this host: a DNS name or an address.
pub fn is_server_name(name: &str) -> bool {
    server_name(name).is_some()
}

fn server_name(name: &str) -> Option<ServerName<'static>> {
    // A name with its final dot is absolute, and certificates and SNI have it without (RFC 6066 §3).
    ServerName::try_from(name.strip_suffix('.').unwrap_or(name).to_owned()).ok()
}

/// Those that can be read of what the system has.
fn the_systems() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// The client's certificate, and whether a server wanted to see it.
#[derive(Debug)]
struct Identity {
    key: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl Identity {
    fn of(material: ClientMaterial<'_>) -> Result<Identity, (Part, MaterialError)> {
        let key = material.identity.map(|(certificate, key)| material::certified_key(certificate, key)).transpose()?;
        Ok(Identity { key: key.map(Arc::new), asked: AtomicBool::new(false) })
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}
