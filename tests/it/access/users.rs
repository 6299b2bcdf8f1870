//! Users: who is let in, what each may do, and how each version is told.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fieldway::broker::Limits;
use fieldway::config::UserConfig;
use fieldway::model::{Filter, Message, QoS, Topic};
use fieldway::mqtt::{Connect, Reason, Version, Will};

use super::{broker, filters, listener, paho, user};
use crate::support::gateway::{FIELDWAY, GatewayProcess};
use crate::support::mqtt::{Client, TestBroker, start};
use crate::support::wait::free_port;

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

fn login(version: Version, client_id: &str, user: Option<&str>, password: Option<&str>) -> Connect {
    Connect {
        username: user.map(Into::into),
        password: password.map(|password| Bytes::copy_from_slice(password.as_bytes())),
        ..Connect::new(version, client_id)
    }
}

/// Users `hmi`, who has rights, and `nobody`, who has none, both with the password "password".
fn with_users(more: Vec<UserConfig>) -> TestBroker {
    let hmi = UserConfig {
        may_subscribe: filters(&["plant/#", "$SYS/#", "clients/%c/#"]),
        may_publish: filters(&["plant/+/set", "clients/%c/#", "users/%u"]),
        deny: filters(&["plant/secret/#", "plant/boiler/set"]),
        ..user("hmi", Some("password"))
    };
    broker(vec![listener(None, None)], [vec![hmi, user("nobody", Some("password"))], more].concat())
}

async fn hmi(test: &TestBroker, version: Version, client_id: &str) -> Client {
    Client::connect(test.address, login(version, client_id, Some("hmi"), Some("password"))).await
}

async fn answer(test: &TestBroker, connect: Connect) -> Reason {
    Client::connect_ack(test.address, connect).await.1.reason
}

#[tokio::test]
async fn only_a_right_name_and_password_open_the_door() {
    let test = with_users(vec![UserConfig { may_publish: filters(&["#"]), ..user("by-certificate", None) }]);
    for version in VERSIONS {
        let ask = async |user, password| answer(&test, login(version, "c", user, password)).await;
        assert_eq!(ask(Some("hmi"), Some("password")).await, Reason::SUCCESS);
        assert_eq!(ask(Some("hmi"), Some("Password")).await, Reason::BAD_USER_NAME_OR_PASSWORD);
        assert_eq!(ask(Some("HMI"), Some("password")).await, Reason::BAD_USER_NAME_OR_PASSWORD);
        assert_eq!(ask(Some("by-certificate"), Some("")).await, Reason::BAD_USER_NAME_OR_PASSWORD);
        assert_eq!(ask(None, None).await, Reason::NOT_AUTHORIZED, "nobody is anonymous");
    }
    let ask = async |user, password| answer(&test, login(Version::V5, "c", user, password)).await;
    assert_eq!(ask(Some("hmi"), None).await, Reason::BAD_USER_NAME_OR_PASSWORD);
    assert_eq!(ask(None, Some("password")).await, Reason::BAD_USER_NAME_OR_PASSWORD);
    // The password that was right a moment ago is known again, and a wrong one is still wrong.
    assert_eq!(ask(Some("hmi"), Some("password")).await, Reason::SUCCESS);
}

#[tokio::test]
async fn a_right_that_is_missing_is_told_as_each_version_can() {
    let test = with_users(vec![]);
    let mut inside = test.broker.hub().subscribe(Filter::new("#").unwrap()).await.unwrap();
    for version in VERSIONS {
        let mut client = hmi(&test, version, "panel").await;
        let denied = if version == Version::V5 { Reason::NOT_AUTHORIZED } else { Reason::UNSPECIFIED };
        assert_eq!(client.subscribe("plant/#", QoS::AtLeastOnce).await, Reason::GRANTED_QOS_1);
        assert_eq!(client.subscribe("plant/secret/#", QoS::AtLeastOnce).await, denied);
        assert_eq!(client.subscribe("#", QoS::AtLeastOnce).await, denied);
        assert_eq!(client.subscribe("clients/panel/in", QoS::AtMostOnce).await, Reason::SUCCESS);
        assert_eq!(client.subscribe("clients/+/in", QoS::AtMostOnce).await, denied);
        assert_eq!(client.subscribe("$SYS/nothing/#", QoS::AtMostOnce).await, Reason::SUCCESS);
        // What is refused reaches nobody; 3.1.1 can only be told that it was received.
        let refused = if version == Version::V5 { Reason::NOT_AUTHORIZED } else { Reason::SUCCESS };
        for topic in ["plant/boiler/set", "plant/boiler", "clients/other/x", "users/nobody"] {
            assert_eq!(client.publish_acked(topic, "x", true).await, refused, "{topic}");
            client.publish(topic, "x", QoS::AtMostOnce, false).await;
        }
        client.expect_nothing().await;
        let id = client.publish("plant/pump/set", "on", QoS::AtLeastOnce, false).await;
        let (mut message, mut acked) = (None, false);
        while message.is_none() || !acked {
            match client.receive().await {
                Some(fieldway::mqtt::Packet::Publish(publish)) => message = Some(publish),
                Some(fieldway::mqtt::Packet::PubAck(ack)) => acked = ack.packet_id == id && !ack.reason.is_failure(),
                other => panic!("{other:?}"),
            }
        }
        let message = message.unwrap();
        assert_eq!(message.topic.as_deref(), Some("plant/pump/set"));
        client.acknowledge(message.packet_id).await;
        assert!(!client.publish_acked("users/hmi", "x", false).await.is_failure());
        for allowed in ["plant/pump/set", "users/hmi"] {
            assert_eq!(inside.recv().await.unwrap().topic.as_str(), allowed);
        }
    }
}

#[tokio::test]
async fn what_is_denied_is_not_read_through_a_wider_subscription() {
    let test = with_users(vec![]);
    let publish = async |topic: &str, retain| {
        let message = Message::new(Topic::new(topic).unwrap(), "x", QoS::AtLeastOnce, retain);
        test.broker.hub().publish_committed(message).await.unwrap();
    };
    publish("plant/secret/retained", true).await;
    publish("plant/open/retained", true).await;
    for version in VERSIONS {
        let mut client = hmi(&test, version, "panel").await;
        assert!(!client.subscribe("plant/#", QoS::AtLeastOnce).await.is_failure());
        assert_eq!(client.message().await.topic.as_deref(), Some("plant/open/retained"));
        assert!(!client.subscribe("plant/+/live", QoS::AtMostOnce).await.is_failure());
        publish("plant/secret/live", false).await;
        publish("plant/open/live", false).await;
        assert_eq!(client.message().await.topic.as_deref(), Some("plant/open/live"));
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_will_is_authorised_like_a_publish() {
    let test = with_users(vec![]);
    for version in VERSIONS {
        let with_will = |topic: &str| {
            let message = Message::new(Topic::new(topic).unwrap(), "gone", QoS::AtMostOnce, false);
            Connect {
                will: Some(Box::new(Will { message, delay_s: 0 })),
                ..login(version, "w", Some("hmi"), Some("password"))
            }
        };
        assert_eq!(answer(&test, with_will("plant/pump/set")).await, Reason::SUCCESS);
        assert_eq!(answer(&test, with_will("plant/boiler/set")).await, Reason::NOT_AUTHORIZED);
        assert_eq!(answer(&test, with_will("elsewhere")).await, Reason::NOT_AUTHORIZED);
    }
}

#[tokio::test]
async fn whoever_does_not_log_in_has_the_rights_of_anonymous_alone() {
    let anonymous = UserConfig { may_subscribe: filters(&["plant/+"]), ..user("anonymous", None) };
    let test = with_users(vec![anonymous]);
    for version in VERSIONS {
        let mut client = Client::connect(test.address, login(version, "c", None, None)).await;
        assert!(!client.subscribe("plant/+", QoS::AtMostOnce).await.is_failure());
        assert!(client.subscribe("plant/#", QoS::AtMostOnce).await.is_failure());
        client.publish_acked("plant/pump/set", "x", false).await;
        client.expect_nothing().await;
        let ask = login(version, "c", Some("anonymous"), Some("password"));
        assert_eq!(answer(&test, ask).await, Reason::BAD_USER_NAME_OR_PASSWORD);
    }
}

#[tokio::test]
async fn a_client_identifier_opens_nothing_that_is_not_its_own() {
    let test = with_users(vec![]);
    for id in ["#", "+", "x/#", "+/+", "panel/../other", "%u", "$SYS"] {
        let mut client = hmi(&test, Version::V5, id).await;
        for filter in ["clients/#", "clients/+/in", "clients/panel/in", "clients/x/in"] {
            assert_eq!(client.subscribe(filter, QoS::AtMostOnce).await, Reason::NOT_AUTHORIZED, "{id} {filter}");
        }
        assert_eq!(client.publish_acked("clients/panel/x", "x", false).await, Reason::NOT_AUTHORIZED, "{id}");
    }
}

#[tokio::test]
async fn nobody_takes_over_a_client_of_another_user() {
    let other = UserConfig { may_subscribe: filters(&["#"]), ..user("other", Some("password")) };
    let anonymous = UserConfig { may_subscribe: filters(&["#"]), ..user("anonymous", None) };
    let test = with_users(vec![other, anonymous]);
    let mut panel = hmi(&test, Version::V5, "panel").await;
    let as_other = login(Version::V5, "panel", Some("other"), Some("password"));
    let mut twin = Client::connect(test.address, as_other.clone()).await;
    let mut nobody = Client::connect(test.address, login(Version::V5, "panel", None, None)).await;
    // Nor by a name that is made to look like that of the other.
    let mut forger = Client::connect(test.address, login(Version::V5, "hmi\u{1F}panel", None, None)).await;
    for client in [&mut panel, &mut twin, &mut nobody, &mut forger] {
        client.expect_nothing().await;
    }
    // Of one user there is one client of a name, as always.
    let mut again = Client::connect(test.address, as_other).await;
    assert_eq!(twin.closed().await, Some(Reason::SESSION_TAKEN_OVER));
    again.expect_nothing().await;
    panel.expect_nothing().await;
}

/// The gateway publishes and subscribes without an identifier and past all rights; a client has an identifier, whatever it calls itself.
#[tokio::test]
async fn no_client_can_take_the_gateways_own_place() {
    let test = with_users(vec![]);
    let mut inside = test.broker.hub().subscribe(Filter::new("#").unwrap()).await.unwrap();
    for id in ["", "fieldway", "gateway", "local", "auto-0", "$hub", "\u{feff}"] {
        let mut client = hmi(&test, Version::V5, id).await;
        assert_eq!(
            client.publish_acked("fieldway/plant-7/gateway/state", "offline", true).await,
            Reason::NOT_AUTHORIZED
        );
        assert_eq!(client.subscribe("fieldway/#", QoS::AtMostOnce).await, Reason::NOT_AUTHORIZED);
    }
    let own = Message::new(Topic::new("fieldway/plant-7/gateway/state").unwrap(), "online", QoS::AtLeastOnce, true);
    test.broker.hub().publish_committed(own.clone()).await.unwrap();
    assert_eq!(inside.recv().await.unwrap().payload, own.payload);
}

#[tokio::test]
async fn wrong_passwords_are_answered_ever_more_slowly_and_right_ones_at_once() {
    let test = with_users(vec![]);
    let ask = async |user: &str, password: &str| {
        let began = Instant::now();
        let reason = answer(&test, login(Version::V5, "c", Some(user), Some(password))).await;
        (reason == Reason::SUCCESS, began.elapsed())
    };
    let mut waits = Vec::new();
    for user in ["hmi", "nobody-of-this-name", "hmi"] {
        let (is_in, wait) = ask(user, "guess").await;
        assert!(!is_in);
        waits.push(wait);
    }
    assert!(waits[0] >= Duration::from_millis(250) && waits[1] >= 2 * Duration::from_millis(250), "{waits:?}");
    assert!(waits[2] >= Duration::from_secs(1), "{waits:?}");
    let (is_in, wait) = ask("hmi", "password").await;
    assert!(is_in && wait < Duration::from_millis(900), "{wait:?}");
}

#[tokio::test]
async fn clients_are_served_while_many_logins_are_checked() {
    let slow = UserConfig { may_publish: filters(&["#"]), ..user("slow", Some("a password of its own")) };
    let anonymous =
        UserConfig { may_subscribe: filters(&["#"]), may_publish: filters(&["#"]), ..user("anonymous", None) };
    let test = with_users(vec![slow, anonymous]);
    let address = test.address;
    let flood: Vec<_> = (0..40)
        .map(|n| {
            tokio::spawn(Client::connect_ack(address, login(Version::V5, &format!("f{n}"), Some("slow"), Some("no"))))
        })
        .collect();
    let mut client = Client::connect(address, Connect::new(Version::V5, "c")).await;
    for _ in 0..50 {
        let began = Instant::now();
        client.expect_nothing().await;
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    }
    flood.iter().for_each(|login| login.abort());
}

#[tokio::test]
async fn connections_from_one_address_are_limited_but_not_those_of_this_machine() {
    let test = start(Limits { connections_per_address: 3, ..Limits::default() }, Vec::new());
    let mut clients = Vec::new();
    for n in 0..10 {
        clients.push(Client::connect(test.address, Connect::new(Version::V5, format!("c{n}"))).await);
    }
}

#[tokio::test]
async fn the_hash_that_passwd_prints_lets_its_user_in() {
    let port = free_port();
    let entry = std::process::Command::new(FIELDWAY)
        .args(["passwd", "--name", "hmi"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            child.stdin.take().unwrap().write_all("correct horse ärinä\n".as_bytes())?;
            child.wait_with_output()
        })
        .unwrap();
    assert!(entry.status.success());
    let entry = String::from_utf8(entry.stdout).unwrap().replace("may_subscribe: []", "may_subscribe: [\"#\"]");
    let entry = entry.replace("may_publish: []", "may_publish: [\"#\"]").replace('\n', "\n    ");
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "gateway: {{ id: plant-7, data_dir: data }}\nbroker:\n  listeners: [mqtt://127.0.0.1:{port}]\n  users:\n    {entry}"
    );
    let gateway = GatewayProcess::start(folder.path(), yaml.trim_end(), port);
    let address = ([127, 0, 0, 1], port).into();
    let with = |password: &str| serde_json::json!({ "user": "hmi", "password": password });
    let (code, said) = paho(address, &with("correct horse ärinä")).await;
    assert_eq!(code, Some(0), "{said}\n{}", gateway.log());
    let (code, said) = paho(address, &with("wrong horse")).await;
    assert!(code == Some(3) && said.contains("Bad user name or password"), "{said}");
    let log = gateway.log();
    assert!(log.contains("WARN") && log.contains("a login failed") && log.contains("peer=127.0.0.1:"), "{log}");
    assert!(!log.contains("horse") && !log.contains("argon2id$"), "{log}");
}

#[test]
fn passwd_refuses_what_can_be_no_password() {
    for input in [&b""[..], b"\n", b"\xff\xff\n"] {
        let output = std::process::Command::new(FIELDWAY)
            .arg("passwd")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .and_then(|mut child| {
                use std::io::Write;
                child.stdin.take().unwrap().write_all(input)?;
                child.wait_with_output()
            })
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}
