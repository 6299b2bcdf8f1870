//! The server's end of TLS 1.2 and 1.3, with or without certificates of clients.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{ServerConfig, version};
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

impl ServerTls {
    /// Reads the files' contents. Errors name the file that is wrong; times are not looked at, see [`ServerTls::doubts`].
    pub fn new(material: ServerMaterial<'_>) -> Result<ServerTls, (Part, MaterialError)> {
        let provider = Arc::new(ring::default_provider());
        let key = material::certified_key(material)?;
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
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Accepted<S>> {
        let stream = self.acceptor.accept(stream).await?;
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
