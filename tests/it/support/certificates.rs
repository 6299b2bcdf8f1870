//! Certificates that are made when a test runs: nothing in the repository expires.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldway::config::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// An authority, its files in a folder.
pub struct Authority {
    folder: PathBuf,
    name: String,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// Makes one and writes `NAME.pem`.
    pub fn new(folder: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("the authority {name}"));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        fs::write(folder.join(format!("{name}.pem")), &pem).unwrap();
        Authority { folder: folder.into(), name: name.into(), issuer: Issuer::new(params, key), pem }
    }

    /// Its certificate.
    pub fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    /// Signs what `params` says and writes it as `FILE.pem` and `FILE.key`.
    pub fn sign(&self, file: &str, params: &CertificateParams) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (at, key_at) = (self.folder.join(format!("{file}.pem")), self.folder.join(format!("{file}.key")));
        fs::write(&at, certificate.pem()).unwrap();
        fs::write(&key_at, key.serialize_pem()).unwrap();
        (at, key_at)
    }

    /// A server's certificate for 127.0.0.1.
    pub fn server(&self, file: &str) -> (PathBuf, PathBuf) {
        self.sign(file, &named("server", CertificateParams::new(["127.0.0.1".to_string()]).unwrap()))
    }

    /// A server's certificate for this host.
    pub fn server_for(&self, file: &str, host: &str) -> (PathBuf, PathBuf) {
        self.sign(file, &named("server", CertificateParams::new([host.to_string()]).unwrap()))
    }

    /// A client's certificate with this common name.
    pub fn client(&self, file: &str, common_name: &str) -> (PathBuf, PathBuf) {
        self.sign(file, &named(common_name, CertificateParams::default()))
    }

    /// What a listener needs, with certificates of clients if there is an authority for them.
    pub fn files(&self, client_ca: Option<&Authority>) -> TlsFiles {
        let (certificate, private_key) = self.server("server");
        TlsFiles { certificate, private_key, client_ca: client_ca.map(Authority::path) }
    }

    /// A TLS connection over `stream` to a server of this authority.
    pub async fn connect<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        TlsConnector::from(Arc::new(config)).connect("127.0.0.1".try_into().unwrap(), stream).await
    }
}

/// `params` with this common name and no other.
pub fn named(common_name: &str, mut params: CertificateParams) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
