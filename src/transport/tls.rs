//! The server's end of TLS 1.2 and 1.3, with or without certificates of clients.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage, ServerConfig, version};
use tokio_rustls::server::TlsStream;

use super::certificate::{self, Doubt, NoName};
use super::material::{self, MaterialError, Part, ServerMaterial};
use crate::model::Timestamp;

/// What a server shows its clients and asks of them. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    asks_for_certificates: bool,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("asks_for_certificates", &self.asks_for_certificates).finish_non_exhaustive()
    }
}

/// A client after the handshake.
pub struct Accepted<S> {
    /// Its bytes, decrypted.
    pub stream: TlsStream<S>,
    /// The common name of its certificate; `None` when none was asked for.
    pub name: Option<Result<String, NoName>>,
}

/// Why a handshake failed, in words for whoever set up the client.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum HandshakeError {
    #[error("it does not speak TLS, and this listener speaks nothing else")]
    NotTls,
    #[error("it showed no certificate, and this listener has a `client_ca`")]
    NoCertificate,
    #[error("its certificate is of an authority that is not in `client_ca`")]
    Stranger,
    #[error("its certificate has expired, or is not valid yet; is this machine's clock right?")]
    OutOfTime,
    #[error("its certificate has version 1 and TLS wants version 3; `openssl x509 -req` makes one with `-extfile`")]
    Version1,
    #[error(
        "it does not trust this listener's certificate: give it the authority's, or look at the names in the certificate"
    )]
    NotTrusted,
    #[error("it went away in the middle")]
    Gone,
    #[error("{0}")]
    Other(io::Error),
}

impl HandshakeError {
    fn of(error: io::Error) -> HandshakeError {
        if matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ) {
            return HandshakeError::Gone;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => HandshakeError::NotTls,
            Some(Error::NoCertificatesPresented) => HandshakeError::NoCertificate,
            Some(Error::AlertReceived(
                AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::CertificateUnknown,
            )) => HandshakeError::NotTrusted,
            Some(Error::InvalidCertificate(wrong)) => match wrong {
                CertificateError::UnknownIssuer => HandshakeError::Stranger,
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => HandshakeError::OutOfTime,
                wrong if material::is_version_1(wrong) => HandshakeError::Version1,
                _ => HandshakeError::Other(error),
            },
            _ => HandshakeError::Other(error),
        }
    }
}

impl ServerTls {
    /// Reads the files' contents. Errors name the file that is wrong; times are not looked at, see [`ServerTls::doubts`].
    pub fn new(material: ServerMaterial<'_>) -> Result<ServerTls, (Part, MaterialError)> {
        let provider = Arc::new(ring::default_provider());
        let key = material::certified_key(material.certificate, material.private_key)?;
        let unusable = |part, error: &dyn std::fmt::Display| (part, MaterialError::Unusable(error.to_string()));
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| unusable(Part::Certificate, &error))?;
        let builder = match material.client_ca {
            Some(pem) => builder
                .with_client_cert_verifier(client_verifier(pem, provider).map_err(|error| (Part::ClientCa, error))?),
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        Ok(ServerTls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            asks_for_certificates: material.client_ca.is_some(),
        })
    }

    /// Certificates that are out of their time at `now`: a warning, because the clock may be what is wrong.
    pub fn doubts(material: ServerMaterial<'_>, now: Timestamp) -> Vec<(Part, Doubt)> {
        let files = [(Part::Certificate, Some(material.certificate)), (Part::ClientCa, material.client_ca)];
        let files = files.into_iter().filter_map(|(part, pem)| Some((part, material::certificates(pem?).ok()?)));
        let doubts = files.flat_map(|(part, certificates)| {
            certificates.into_iter().filter_map(move |der| Some((part, certificate::doubt(&der, now)?)))
        });
        doubts.collect()
    }

    /// The handshake. It takes as long as the client likes: bound it.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Accepted<S>, HandshakeError> {
        let stream = self.acceptor.accept(stream).await.map_err(HandshakeError::of)?;
        let name = self.asks_for_certificates.then(|| {
            let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
            shown.first().map_or(Err(NoName::Missing), |der| certificate::common_name(der))
        });
        Ok(Accepted { stream, name })
    }
}

fn client_verifier(
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn tokio_rustls::rustls::server::danger::ClientCertVerifier>, MaterialError> {
    let roots = Arc::new(material::authorities(pem)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    builder.build().map_err(|error| MaterialError::Unusable(error.to_string()))
}
