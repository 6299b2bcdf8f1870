//! TLS and WebSocket towards real and stand-in clouds: what is shown, what is trusted, and certificates that change.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, rustls};

use super::*;
use crate::support::certificates::Authority;
use crate::support::mosquitto::{Mosquitto, Watcher};
use crate::support::wait::free_port;

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = Message> {
    range.map(|n| message("out/readings", n.to_string(), QoS::AtLeastOnce))
}

/// An address of loopback over TLS, WebSocket or both.
pub(super) fn server(port: u16, encrypted: bool, path: Option<&str>) -> ServerConfig {
    ServerConfig { encrypted, web_socket: path.map(Into::into), ..ServerConfig::plain("127.0.0.1", port) }
}

/// A mosquitto with a listener of the kind wanted, and a plain one beside it for watchers; `lines` belong to the first.
fn cloud(lines: &str) -> (Mosquitto, u16) {
    let port = free_port();
    // The first listener is mosquitto's own of `with`; it is plain.
    let lines =
        format!("allow_anonymous true\npersistence true\nlistener {port} 127.0.0.1\nallow_anonymous true\n{lines}");
    let cloud = Mosquitto::with(&lines, free_port());
    (cloud, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_in_order_over_each_transport_in_both_versions() {
    let folder = tempfile::tempdir().expect("a folder");
    let (servers, clients) = (Authority::new(folder.path(), "servers"), Authority::new(folder.path(), "clients"));
    let at = folder.path().display();
    let (certificate, key) = servers.server("server");
    let identity = Some(clients.client("plant-7", "plant-7"));
    let tls = format!("certfile {}\nkeyfile {}\n", certificate.display(), key.display());
    let trusting = UplinkTls { ca: Some(servers.path()), ..UplinkTls::default() };
    let mutual = UplinkTls { identity, ..trusting.clone() };
    for (name, lines, encrypted, path, files) in [
        ("TLS 1.2", format!("{tls}tls_version tlsv1.2\n"), true, None, &trusting),
        ("TLS 1.3", format!("{tls}tls_version tlsv1.3\n"), true, None, &trusting),
        ("mutual TLS", format!("{tls}cafile {at}/clients.pem\nrequire_certificate true\n"), true, None, &mutual),
        ("WebSocket", "protocol websockets\n".into(), false, Some("/mqtt"), &UplinkTls::default()),
        ("secure WebSocket", format!("{tls}protocol websockets\n"), true, Some("/mqtt"), &trusting),
    ] {
        let (cloud, port) = cloud(&lines);
        let watcher = Watcher::start(&cloud, "watcher", "out/#");
        for (n, version) in [Version::V5, Version::V311].into_iter().enumerate() {
            let data = tempfile::tempdir().expect("a folder");
            let settings = Settings {
                servers: vec![server(port, encrypted, path)],
                tls: files.clone(),
                ..settings(cloud.address(), version)
            };
            let mut north = North::start(data.path(), settings).await;
            north.keep(numbered(0..300)).await;
            // Larger than a frame, a record and a buffer.
            north.keep([message("out/readings", vec![b'x'; 100_000], QoS::AtLeastOnce)]).await;
            north.until_drained().await;
            north.stop().await;
            let arrived = || (watcher.lines().len() == 301 * (n + 1)).then_some(());
            tokio::task::block_in_place(|| crate::support::wait::wait_for(name, PATIENCE, arrived));
            let lines = watcher.lines();
            let numbers =
                lines.iter().skip(301 * n).take(300).map(|line| line.strip_prefix("out/readings ").expect("ours"));
            assert!(numbers.eq((0..300).map(|n| n.to_string())), "{name}, {version:?}");
        }
    }
}

/// The name and the protocol that the server at `called` is asked for, if its certificate is for `host`.
async fn asked(
    authority: &Authority,
    host: &str,
    called: &str,
    protocols: &[&str],
    tls: UplinkTls,
) -> (Option<String>, Option<String>) {
    let (certificate, key) = authority.server_for("asked", host);
    let chain = vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).expect("they belong together");
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let data = tempfile::tempdir().expect("a folder");
    let servers = vec![ServerConfig { host: called.into(), ..server(address.port(), true, None) }];
    let north = North::start(data.path(), Settings { servers, tls, ..settings(address, Version::V5) }).await;
    let (stream, _) = timeout(PATIENCE, listener.accept()).await.expect("in time").expect("a client");
    let stream = timeout(PATIENCE, TlsAcceptor::from(Arc::new(config)).accept(stream)).await.expect("in time");
    let stream = stream.expect("it trusts us");
    let (_, session) = stream.get_ref();
    let protocol = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    let name = session.server_name().map(Into::into);
    north.stop().await;
    (name, protocol)
}

#[tokio::test]
async fn the_server_is_told_the_name_and_the_protocol_that_are_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let trusting = UplinkTls { ca: Some(authority.path()), ..UplinkTls::default() };
    let (name, protocol) = asked(&authority, "localhost", "localhost", &["mqtt"], trusting.clone()).await;
    assert_eq!((name.as_deref(), protocol), (Some("localhost"), None));
    let amazon = UplinkTls { alpn: Some("x-amzn-mqtt-ca".into()), ..trusting.clone() };
    let (_, protocol) = asked(&authority, "localhost", "localhost", &["http/1.1", "x-amzn-mqtt-ca"], amazon).await;
    assert_eq!(protocol.as_deref(), Some("x-amzn-mqtt-ca"));
    // Through a tunnel: the address is one thing, whom it leads to another.
    let named = UplinkTls { server_name: Some("broker.example.com".into()), ..trusting };
    let (name, _) = asked(&authority, "broker.example.com", "127.0.0.1", &[], named).await;
    assert_eq!(name.as_deref(), Some("broker.example.com"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_and_authority_are_taken_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (servers, clients) = (Authority::new(folder.path(), "servers"), Authority::new(folder.path(), "clients"));
    let old = Authority::new(folder.path(), "old");
    let (certificate, key) = servers.server("server");
    let at = folder.path().display();
    let lines = format!(
        "certfile {}\nkeyfile {}\ncafile {at}/clients.pem\nrequire_certificate true\n",
        certificate.display(),
        key.display()
    );
    let (cloud, port) = cloud(&lines);
    let (certificate, key) = old.client("plant-7", "plant-7");
    let tls = UplinkTls {
        ca: Some(servers.path()),
        identity: Some((certificate.clone(), key.clone())),
        ..UplinkTls::default()
    };
    let settings = Settings { servers: vec![server(port, true, None)], tls, ..settings(cloud.address(), Version::V5) };
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings).await;
    let why = north.until_offline().await;
    assert!(why.contains("it refuses this gateway's certificate") && why.contains("check `certificate`"), "{why}");

    // Half of a renewal: told, and tried again.
    let (new_certificate, new_key) = clients.client("next", "plant-7");
    fs::rename(new_certificate, &certificate).expect("renamed");
    let is_told =
        |status: &UplinkStatus| matches!(&status.state, UplinkState::Offline(why) if why.contains("does not belong"));
    let status = north.until("the mismatch", is_told).await;
    let UplinkState::Offline(why) = status.state else { unreachable!("it was waited for") };
    assert!(why.contains(&format!("`private_key` {}", key.display())), "{why}");
    fs::rename(new_key, &key).expect("renamed");
    north.until("a connection", |status| status.state == UplinkState::Online).await;
    north.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_file_is_read_for_each_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let passwords = folder.path().join("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["plant", "renewed"])
        .status();
    assert!(made.expect("mosquitto_passwd is needed; ./tests/run says how to install it").success());
    let cloud =
        Mosquitto::with(&format!("allow_anonymous false\npassword_file {}\n", passwords.display()), free_port());
    let token = folder.path().join("token");
    fs::write(&token, "expired\n").expect("written");
    let with = Settings {
        username: Some("plant".into()),
        password_file: Some(token.clone()),
        ..settings(cloud.address(), Version::V311)
    };
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), with).await;
    let why = north.until_offline().await;
    assert!(why.contains("password_file") && !why.contains("expired"), "{why}");
    fs::remove_file(&token).expect("removed");
    let is_told = |status: &UplinkStatus| matches!(&status.state, UplinkState::Offline(why) if why.contains("there is no such file"));
    north.until("the missing file", is_told).await;
    fs::write(&token, "renewed\n").expect("written");
    north.until("a connection", |status| status.state == UplinkState::Online).await;
    north.stop().await;
}

/// The whole program, because the folder of the system's certificates is told by the environment.
#[test]
fn without_a_ca_the_systems_authorities_are_trusted() {
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "system");
    let (certificate, key) = authority.server_for("server", "localhost");
    let (_cloud, port) = cloud(&format!("certfile {}\nkeyfile {}\n", certificate.display(), key.display()));
    let said = |trusted: &Path, expected: &str| {
        let run = tempfile::tempdir().expect("a folder");
        let yaml = format!(
            "gateway: {{ id: plant-7, data_dir: data }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{}'] }}\n\
             uplinks: {{ cloud: {{ url: 'mqtts://localhost:{port}', forward: [{{ topic: '#' }}] }} }}\n",
            free_port()
        );
        fs::write(run.path().join("gateway.yaml"), yaml).expect("written");
        let log = run.path().join("log");
        let file = fs::File::create(&log).expect("a log");
        let mut gateway = Command::new(crate::support::gateway::FIELDWAY)
            .args(["run", "--config"])
            .arg(run.path().join("gateway.yaml"))
            .env("SSL_CERT_FILE", trusted)
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn()
            .expect("it starts");
        let look = || fs::read_to_string(&log).ok().filter(|log| log.contains(expected));
        let log = crate::support::wait::wait_for(expected, PATIENCE, look);
        gateway.kill().expect("it runs");
        gateway.wait().expect("it ends");
        log
    };
    said(&authority.path(), "connected");
    let stranger = Authority::new(folder.path(), "stranger");
    let log = said(&stranger.path(), "an authority that is not trusted here");
    assert!(log.contains("set `ca` to the authority's certificate"), "{log}");
    fs::write(folder.path().join("empty"), "").expect("written");
    said(&folder.path().join("empty"), "install the package ca-certificates");
}
