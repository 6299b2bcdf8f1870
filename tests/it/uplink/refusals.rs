//! Every way in which a cloud can be unreachable, wrong or unwilling: told once, with its cause and what to try.

use fieldway::mqtt::{ConnAck, Reason};
use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::transports::server;
use super::*;
use crate::support::certificates::{Authority, named};
use crate::support::cloud::Cloud;
use crate::support::gateway::GatewayProcess;
use crate::support::mosquitto::Mosquitto;
use crate::support::peers::Peer;
use crate::support::wait::{free_port, wait_for};

/// What an uplink says about a server that it can't use.
async fn told(settings: Settings) -> String {
    let data = tempfile::tempdir().expect("a folder");
    let mut north = North::start(data.path(), settings).await;
    let why = north.until_offline().await;
    north.stop().await;
    why
}

fn towards(server: ServerConfig, tls: UplinkTls) -> Settings {
    Settings { servers: vec![server], tls, ..settings(([127, 0, 0, 1], 1).into(), Version::V5) }
}

fn assert_tells(why: &str, parts: &[&str]) {
    for part in parts {
        assert!(why.contains(part), "{part:?} is not in: {why}");
    }
}

/// A TLS broker with this certificate, and more lines in its configuration.
fn broker(pair: &(std::path::PathBuf, std::path::PathBuf), lines: &str) -> (Mosquitto, u16) {
    let port = free_port();
    let lines = format!(
        "allow_anonymous true\nlistener {port} 127.0.0.1\nallow_anonymous true\ncertfile {}\nkeyfile {}\n{lines}",
        pair.0.display(),
        pair.1.display()
    );
    (Mosquitto::with(&lines, free_port()), port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_certificate_that_is_not_acceptable_is_told_with_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "theirs"));
    let for_loopback = || named("server", CertificateParams::new(["127.0.0.1".to_string()]).expect("a name"));
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = for_loopback();
        change(&mut params);
        params
    };
    let expired = with(|params| params.not_after = date_time_ymd(2020, 2, 3));
    let early =
        with(|params| (params.not_before, params.not_after) = (date_time_ymd(2090, 5, 6), date_time_ymd(2091, 1, 1)));
    let authority = with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    for (file, pair, parts) in [
        (
            "stranger",
            theirs.sign("stranger", &for_loopback()),
            &["authority that is not trusted", "`ca` has to hold"][..],
        ),
        ("expired", ours.sign("expired", &expired), &["expired on 2020-02-03"]),
        (
            "early",
            ours.sign("early", &early),
            &["not valid before 2090-05-06", "this machine's clock says 20", "set the clock"],
        ),
        (
            "named",
            ours.server_for("named", "broker.example.com"),
            &["is for broker.example.com and not for 127.0.0.1", "`server_name`"],
        ),
        ("authority", ours.sign("authority", &authority), &["certificate of an authority as its own", "CA:FALSE"]),
    ] {
        let (_broker, port) = broker(&pair, "");
        let tls = UplinkTls { ca: Some(ours.path()), ..UplinkTls::default() };
        let why = told(towards(server(port, true, None), tls)).await;
        assert_tells(&why, &[&["there is no TLS with 127.0.0.1:"], parts].concat());
        assert!(!why.contains("WebSocket"), "{file}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_another_certificate_of_ours_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (servers, clients) = (Authority::new(folder.path(), "servers"), Authority::new(folder.path(), "clients"));
    let strangers = Authority::new(folder.path(), "strangers");
    let pair = servers.server("server");
    let expired = {
        let mut params = named("plant-7", CertificateParams::default());
        params.not_after = date_time_ymd(2020, 2, 3);
        clients.sign("expired", &params)
    };
    for version in ["tlsv1.2", "tlsv1.3"] {
        let ask = format!("tls_version {version}\ncafile {}\nrequire_certificate true\n", clients.path().display());
        let (_broker, port) = broker(&pair, &ask);
        let with = |identity| UplinkTls { ca: Some(servers.path()), identity, ..UplinkTls::default() };
        for (identity, parts) in [
            (None, &["it wants to see a certificate", "set `certificate` and `private_key`"][..]),
            (
                Some(strangers.client("stranger", "plant-7")),
                &["it refuses this gateway's certificate (its authority is not known)"],
            ),
            (Some(expired.clone()), &["it refuses this gateway's certificate (it has expired)"]),
        ] {
            let why = told(towards(server(port, true, None), with(identity))).await;
            assert_tells(&why, parts);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_another_kind_is_told_with_the_address_that_would_fit() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.server("server");
    let (encrypted, port) = broker(&pair, "");
    let tls = UplinkTls { ca: Some(authority.path()), ..UplinkTls::default() };
    let plain = encrypted.port();
    let why = told(towards(server(plain, true, None), tls.clone())).await;
    assert_tells(&why, &["there is no TLS with", "8883 is usual"]);
    let why = told(towards(server(port, false, None), UplinkTls::default())).await;
    assert_tells(&why, &["mqtts://"]);
    let why = told(towards(server(plain, false, Some("/mqtt")), UplinkTls::default())).await;
    assert_tells(&why, &["there is no WebSocket with", "check the port in url"]);

    // A web server, which answers in HTTP whatever it is asked.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let web = listener.local_addr().expect("it is bound").port();
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    for (server, parts) in [
        (server(web, false, None), &["it speaks HTTP", "ws://"][..]),
        (server(web, true, None), &["it does not speak TLS on this port"]),
        (server(web, false, Some("/mqtt")), &["HTTP status 400", "path in url"]),
    ] {
        let tls = if server.encrypted { tls.clone() } else { UplinkTls::default() };
        assert_tells(&told(towards(server, tls)).await, parts);
    }
    answering.abort();
}

#[tokio::test]
async fn a_host_that_is_not_there_is_told_by_what_is_missing() {
    let at = |host: &str, port| towards(ServerConfig::plain(host, port), UplinkTls::default());
    let why = told(at("no-such-host.invalid", 1883)).await;
    assert_tells(&why, &["the name no-such-host.invalid", "url"]);
    let why = told(at("127.0.0.1", free_port())).await;
    assert_tells(&why, &["nothing listens at 127.0.0.1:", "(connection refused)", "check the port in url"]);
    let why = told(at("localhost", free_port())).await;
    assert_tells(&why, &["nothing listens at localhost:", "127.0.0.1"]);
}

#[tokio::test]
async fn each_refusal_in_connack_is_told_with_what_to_look_at() {
    for (reason, parts) in [
        (Reason::BAD_USER_NAME_OR_PASSWORD, &["bad user name or password", "check username and password_file"][..]),
        (Reason::NOT_AUTHORIZED, &["not authorized", "client_id"]),
        (Reason::CLIENT_ID_NOT_VALID, &["check client_id"]),
        (Reason::BANNED, &["banned", "ask whoever runs it"]),
        (Reason::QUOTA_EXCEEDED, &["quota exceeded", "tried again more slowly"]),
        (Reason::SERVER_BUSY, &["server busy"]),
        (Reason::SERVER_UNAVAILABLE, &["server unavailable"]),
        (Reason::UNSUPPORTED_PROTOCOL_VERSION, &["mqtt_version"]),
    ] {
        let cloud = Cloud::listen().await;
        let settings = settings(cloud.address(), Version::V5);
        let refusing = async { cloud.accept(ConnAck::new(reason)).await };
        let (why, _) = tokio::join!(told(settings), refusing);
        assert_tells(&why, &[&["the cloud refuses the connection: "], parts].concat());
    }
    let cloud = Cloud::listen().await;
    let settings = settings(cloud.address(), Version::V5);
    let moved = ConnAck {
        server_reference: Some("other.example.com:8883".into()),
        reason_string: Some("moved in spring".into()),
        ..ConnAck::new(Reason::SERVER_MOVED)
    };
    let (why, _) = tokio::join!(told(settings), cloud.accept(moved));
    assert_tells(
        &why,
        &["it says: moved in spring", "it names other.example.com:8883, which is not followed", "check url"],
    );
}

/// The return codes of 3.1.1 (§3.2.2.3), byte by byte.
#[tokio::test]
async fn so_is_each_return_code_of_an_older_cloud() {
    for (code, parts) in [
        (1, &["mqtt_version"][..]),
        (2, &["check client_id"]),
        (3, &["server unavailable"]),
        (4, &["check username and password_file"]),
        (5, &["client_id"]),
    ] {
        let cloud = Cloud::listen().await;
        let settings = settings(cloud.address(), Version::V311);
        let refusing = async {
            let mut peer = cloud.accept_raw().await;
            peer.read().await;
            // CONNACK of two bytes, no session, the code.
            peer.send_raw(&[0x20, 0x02, 0x00, code]).await;
            peer
        };
        let (why, _) = tokio::join!(told(settings), refusing);
        assert_tells(&why, parts);
    }
}

/// The whole program: what its log and its health say while a cloud is away for a while.
#[test]
fn a_cause_is_in_the_log_once_however_often_it_is_tried_and_in_health_all_the_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mqtt, closed) = (free_port(), free_port());
    let yaml = format!(
        "gateway: {{ id: plant-7, data_dir: data }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{mqtt}'] }}\n\
         uplinks: {{ cloud: {{ url: 'mqtt://127.0.0.1:{closed}', forward: [{{ topic: '#' }}] }} }}\n"
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, mqtt);
    let mut health = Peer::mosquitto_sub(mqtt, &["-t", "fieldway/plant-7/gateway/health"]);
    while !health.line().contains("nothing listens at") {}
    // A broker at last: by then it was tried several times.
    std::thread::sleep(Duration::from_secs(3));
    let broker = Mosquitto::with("allow_anonymous true\n", closed);
    let connected = || gateway.log().contains("connected").then_some(());
    wait_for("a connection", PATIENCE, connected);
    let (_, log) = gateway.stop();
    drop(broker);
    assert_eq!(log.matches("nothing listens at").count(), 1, "{log}");
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
}
