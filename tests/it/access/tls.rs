//! TLS: both versions, certificates of clients, new certificates without a restart.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fieldway::broker::{Broker, Limits};
use fieldway::clock::Clock;
use fieldway::config::{self, BrokerConfig, Outside, TlsFiles, UserConfig};
use rcgen::{CertificateParams, DistinguishedName};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{broker, filters, listener, output, paho, text, user};
use crate::support::certificates::{Authority, named};
use crate::support::gateway::{FIELDWAY, GatewayProcess};
use crate::support::mqtt::{PATIENCE, TestBroker};
use crate::support::wait::free_port;

/// Publishes with mosquitto_pub over TLS; whether it was taken.
async fn published(test: &TestBroker, more: &[&str]) -> bool {
    let port = test.address.port().to_string();
    let mut args = vec!["-h", "127.0.0.1", "-p", &port, "-V", "5", "-q", "1", "-t", "t", "-m", "x"];
    args.extend(more);
    let output = output("mosquitto_pub", &args).await;
    // A PUBACK that refuses is a warning to mosquitto_pub.
    output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("Not authorized")
}

#[tokio::test]
async fn mosquitto_and_paho_exchange_messages_over_tls_1_2_and_1_3() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    let test = broker(vec![listener(None, Some(&authority.files(None)))], vec![]);
    let (port, ca) = (test.address.port().to_string(), authority.path());
    for tls in ["tlsv1.2", "tlsv1.3"] {
        // Retained, so that it does not matter who is first.
        let both = ["-h", "127.0.0.1", "-p", &port, "--cafile", text(&ca), "--tls-version", tls, "-t", tls];
        let published = output("mosquitto_pub", &[&both[..], &["-r", "-m", "greeting"]].concat()).await;
        assert!(published.status.success(), "{published:?}");
        let received = output("mosquitto_sub", &[&both[..], &["-C", "1"]].concat()).await;
        assert_eq!(received.stdout, b"greeting\n", "{received:?}");
    }
    for (version, tls) in [("5", "1.3"), ("3.1.1", "1.2")] {
        let (code, said) = paho(test.address, &json!({ "version": version, "ca": ca, "tls": tls })).await;
        assert_eq!(code, Some(0), "{said}");
    }
}

#[tokio::test]
async fn a_client_certificate_says_who_the_user_is() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    let clients = Authority::new(folder.path(), "clients");
    let stranger = Authority::new(folder.path(), "strangers");
    let users = vec![
        UserConfig {
            may_publish: filters(&["t", "echo/+"]),
            may_subscribe: filters(&["echo/+"]),
            ..user("press-1", None)
        },
        user("press-2", None),
        UserConfig { may_publish: filters(&["#"]), ..user("anonymous", None) },
    ];
    let test = broker(vec![listener(None, Some(&authority.files(Some(&clients))))], users);
    let ca = authority.path();
    let ca = ["--cafile", text(&ca)];
    let with = async |pair: (std::path::PathBuf, std::path::PathBuf), more: &[&str]| {
        let pair = ["--cert", text(&pair.0), "--key", text(&pair.1)];
        published(&test, &[&ca[..], &pair[..], more].concat()).await
    };
    assert!(with(clients.client("press-1", "press-1"), &[]).await);
    // A login beside the certificate says nothing.
    assert!(with(clients.client("press-1", "press-1"), &["-u", "press-2", "-P", "x"]).await);
    assert!(!with(clients.client("press-2", "press-2"), &[]).await, "press-2 has no right");
    assert!(!with(clients.client("nobody", "nobody"), &[]).await, "there is no such user");
    assert!(!with(clients.client("anonymous", "anonymous"), &[]).await, "anonymous is for those without a login");
    assert!(!with(stranger.client("press-1-too", "press-1"), &[]).await, "another authority's certificate");
    assert!(!published(&test, &ca).await, "no certificate at all");
    let mut nameless = CertificateParams::default();
    nameless.distinguished_name = DistinguishedName::new();
    assert!(!with(clients.sign("nameless", &nameless), &[]).await, "no common name");
    let mut twice = named("press-1", CertificateParams::default());
    twice.distinguished_name.push(rcgen::DnType::CustomDnType(vec![2, 5, 4, 3]), "press-2");
    assert!(!with(clients.sign("twice", &twice), &[]).await, "two common names");

    let (certificate, key) = clients.client("press-1", "press-1");
    let given = json!({ "version": "3.1.1", "ca": authority.path(), "certificate": certificate, "key": key });
    let (code, said) = paho(test.address, &given).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn new_certificates_are_used_after_a_reload_and_broken_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let old = Authority::new(folder.path(), "old");
    let files = old.files(None);
    let test = broker(vec![listener(None, Some(&files)), listener(None, None)], vec![]);
    let trusts = async |authority: &Authority| {
        let stream = TcpStream::connect(test.address).await.unwrap();
        authority.connect(stream).await.is_ok()
    };
    let there = old.connect(TcpStream::connect(test.address).await.unwrap()).await.unwrap();
    assert!(trusts(&old).await);

    fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nhalf of a file").unwrap();
    test.broker.reload_certificates().await;
    assert!(trusts(&old).await, "a broken file must not take the old certificate away");

    let new = Authority::new(folder.path(), "new");
    let (certificate, key) = new.server("next");
    fs::rename(certificate, &files.certificate).unwrap();
    test.broker.reload_certificates().await;
    assert!(trusts(&old).await, "the new certificate and the old key do not belong together");
    fs::rename(key, &files.private_key).unwrap();
    test.broker.reload_certificates().await;
    assert!(trusts(&new).await && !trusts(&old).await);
    drop(there);
}

#[tokio::test]
async fn files_that_can_not_be_used_are_an_error_of_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    let files = authority.files(None);
    let start = |files: &TlsFiles| {
        let config = BrokerConfig { listeners: vec![listener(None, Some(files))], ..BrokerConfig::default() };
        let ((to_store, _), (_, from_store)) = (mpsc::channel(1), mpsc::channel(1));
        let broker = Broker::start(&config, Limits::default(), vec![], to_store, from_store, None, Clock::start());
        broker.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(start(&files), "");
    let (_, other_key) = authority.server("other");
    let error = start(&TlsFiles { private_key: other_key, ..files.clone() });
    assert!(error.contains("private_key") && error.contains("does not belong to the certificate"), "{error}");
    fs::remove_file(&files.certificate).unwrap();
    let error = start(&files);
    assert!(error.contains("cannot read certificate") && error.contains("server.pem"), "{error}");
}

/// The whole way: the configuration's files, `check`, SIGHUP, and what the log says of clients that fail.
#[tokio::test]
async fn the_gateway_reads_its_certificates_again_at_sighup_and_says_why_clients_fail() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(folder.path(), "old"), Authority::new(folder.path(), "new"));
    Authority::new(folder.path(), "clients");
    let mut params = CertificateParams::new(["127.0.0.1".to_string()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    old.sign("server", &params);
    let (port, mutual) = (free_port(), free_port());
    let files = "certificate: server.pem, private_key: server.key";
    let yaml = format!(
        "gateway: {{ id: plant-7, data_dir: data }}\nbroker:\n  listeners:\n    \
         - {{ url: mqtts://127.0.0.1:{port}, {files} }}\n    \
         - {{ url: mqtts://127.0.0.1:{mutual}, {files}, client_ca: clients.pem }}\n"
    );
    let config = folder.path().join("gateway.yaml");
    fs::write(&config, &yaml).unwrap();
    let check = output(FIELDWAY, &["check", text(&config)]).await;
    let warned = String::from_utf8(check.stderr).unwrap();
    assert!(check.status.success() && warned.contains("gateway.yaml:4:14: certificate"), "{warned}");
    assert!(warned.contains("it expired on 2020-01-01") && warned.contains("server.pem"), "{warned}");
    assert!(warned.contains("every user of this machine can read it; `chmod o-r` it"), "{warned}");
    let check = output(FIELDWAY, &["check", "--json", text(&config)]).await;
    let json: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!((&json["ok"], &json["warnings"][0]["line"]), (&json!(true), &json!(4)));

    old.server("server");
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let connect = async |authority: &Authority, port| {
        authority.connect(TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await
    };
    assert!(connect(&old, port).await.is_ok() && connect(&new, port).await.is_err());
    // In TLS 1.3 the server's opinion of the client comes after the client's part of the handshake.
    let mut nobody = connect(&old, mutual).await.unwrap();
    assert!(nobody.read_u8().await.is_err());
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01a").await.unwrap();
    let _ = plain.read_to_end(&mut Vec::new()).await;
    new.server("server");
    gateway.signal("HUP");
    let within = async {
        while connect(&new, port).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, within).await.expect("the new certificate is used after SIGHUP");
    let log = gateway.log();
    for line in [
        "the certificates were read again",
        "it does not trust this listener's certificate",
        "it showed no certificate, and this listener has a `client_ca`",
        "it does not speak TLS",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
}

#[test]
fn a_key_that_the_gateway_may_not_read_is_told_with_what_to_do() {
    let text = "gateway: { id: a }\nbroker:\n  listeners:\n    - { url: mqtts://127.0.0.1:8883, certificate: c.pem, private_key: c.key }\n";
    let outside = Outside { read: &|_| Err(std::io::ErrorKind::PermissionDenied.into()), ..Outside::nothing() };
    let report = config::parse(text.as_bytes(), Path::new("/etc/fieldway/gateway.yaml"), &outside).unwrap_err();
    let report = report.to_string();
    assert!(report.contains("cannot read the private key /etc/fieldway/c.key: permission denied"), "{report}");
    assert!(report.contains("gateway.yaml:4:") && report.contains("`chmod g+r`"), "{report}");
}
