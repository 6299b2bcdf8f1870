//! SIGHUP: what differs begins and ends, and everything else goes on as if nothing had happened.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use fieldway::model::QoS;
use fieldway::mqtt::{Connect, Reason, Version};
use serde_json::Value;

use crate::support::counting_device::CountingDevice;
use crate::support::gateway::GatewayProcess;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Client;
use crate::support::wait::{free_port, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

/// Writes the configuration, has it read, and waits until that is told. Returns what was logged meanwhile.
fn reload(gateway: &GatewayProcess, folder: &Path, yaml: &str) -> String {
    fs::write(folder.join("gateway.yaml"), yaml).unwrap();
    let before = gateway.log().len();
    gateway.signal("HUP");
    let told = wait_for("the reload", PATIENCE, || {
        let log = gateway.log()[before..].to_owned();
        let end = log.find("the configuration was read again")?;
        log[end..].contains('\n').then_some(log)
    });
    // A report comes after its line.
    wait_for("the rest of it", PATIENCE, || {
        let log = gateway.log()[before..].to_owned();
        (!told.contains("is wrong") || log.contains("gateway.yaml: ")).then_some(log)
    })
}

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn connect(id: &str) -> Connect {
    Connect::new(Version::V5, id)
}

fn user(id: &str, name: &str, password: &str) -> Connect {
    let mut connect = connect(id);
    (connect.username, connect.password) = (Some(name.into()), Some(password.to_owned().into()));
    connect
}

/// What is configured beside the part that a test changes.
fn base(port: u16, more: &str) -> String {
    format!(
        "gateway: {{ id: p, topic_root: fw, data_dir: data }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n{more}"
    )
}

fn bus(name: &str, port: u16, poll: &str) -> (String, String) {
    let points = "{ n: { holding: 0, type: u32 } }";
    (
        format!("  {name}: {{ tcp: '127.0.0.1:{port}', protocol: modbus-tcp, timeout: 2s }}\n"),
        format!("  {name}_meter: {{ bus: {name}, unit_id: 1, poll: {poll}, points: {points} }}\n"),
    )
}

fn with_buses(port: u16, buses: &[(String, String)]) -> String {
    let (buses, devices): (Vec<&str>, Vec<&str>) = buses.iter().map(|(bus, device)| (&bus[..], &device[..])).unzip();
    base(port, &format!("buses:\n{}devices:\n{}", buses.concat(), devices.concat()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_reloads_change_one_bus_and_the_other_misses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (steady, changing) = (CountingDevice::start(), CountingDevice::start());
    let port = free_port();
    let yaml =
        |poll: &str| with_buses(port, &[bus("steady", steady.port(), "50ms"), bus("changing", changing.port(), poll)]);
    let gateway = GatewayProcess::start(folder.path(), &yaml("50ms"), port);
    let mut client = Client::connect(address(port), connect("screen")).await;
    assert!(!client.subscribe("fw/steady_meter", QoS::AtMostOnce).await.is_failure());
    let watching = tokio::spawn(async move {
        let (mut seen, mut longest, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
        while seen.len() < 60 {
            let message = client.message().await;
            if !message.retain {
                longest = longest.max(last.elapsed());
            }
            last = Instant::now();
            let value: Value = serde_json::from_slice(&message.payload).unwrap();
            seen.push(value["values"]["n"].as_u64().unwrap());
        }
        (seen, longest)
    });
    for i in 0..10 {
        let told = reload(&gateway, folder.path(), &yaml(&format!("{}ms", 60 + i)));
        assert!(told.contains("buses: changing changed; devices: changing_meter changed"), "{told}");
    }
    let (seen, longest) = watching.await.unwrap();
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "readings are missing: {seen:?}");
    assert!(longest < Duration::from_millis(800), "{longest:?} without a reading");
    let before = changing.reads();
    wait_for("the changed bus to be polled", PATIENCE, || (changing.reads() > before + 3).then_some(()));
    let same = reload(&gateway, folder.path(), &yaml("69ms"));
    assert!(same.contains("says the same"), "{same}");
    let (status, log) = gateway.stop();
    assert!(status.success() && !log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[test]
fn a_configuration_that_is_wrong_or_can_not_be_had_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (device, port, web) = (CountingDevice::start(), free_port(), free_port());
    let good =
        with_buses(port, &[bus("line", device.port(), "50ms")]) + &format!("web: {{ listen: '127.0.0.1:{web}' }}\n");
    let gateway = GatewayProcess::start(folder.path(), &good, port);
    let told = reload(&gateway, folder.path(), &good.replace("modbus-tcp", "modbus-tpc").replace("unit_id", "unitid"));
    assert!(told.contains("is wrong: nothing was changed") && told.contains("problems=2"), "{told}");
    assert!(told.contains("did you mean `unit_id`?") && told.contains("gateway.yaml:4"), "{told}");
    let told = reload(&gateway, folder.path(), &good.replace("topic_root: fw", "topic_root: fx").replace("50ms", "1s"));
    assert!(
        told.contains("`gateway.topic_root` is fw and would be fx") && told.contains("systemctl restart"),
        "{told}"
    );

    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = taken.local_addr().unwrap().port();
    let listeners =
        |more: u16| good.replace("'] }", &format!("', 'mqtt://127.0.0.1:{more}'] }}")).replace("50ms", "1s");
    let told = reload(&gateway, folder.path(), &listeners(taken));
    assert!(told.contains("can't be used") && told.contains("ss -ltnp"), "{told}");
    let told =
        reload(&gateway, folder.path(), &good.replace(&web.to_string(), &taken.to_string()).replace("50ms", "1s"));
    assert!(told.contains("can't be used") && told.contains("web.listen"), "{told}");
    let before = device.reads();
    let since = Instant::now();
    wait_for("the polls to go on as they were", PATIENCE, || (device.reads() > before + 20).then_some(()));
    assert!(since.elapsed() < Duration::from_secs(10), "it still polls every 50 ms");
    std::net::TcpStream::connect(("127.0.0.1", web)).expect("the web pages are still there");

    let told = reload(&gateway, folder.path(), &good.replace(&web.to_string(), &free_port().to_string()));
    assert!(told.contains("in use") && told.contains("the web pages' address"), "{told}");
    std::net::TcpStream::connect(("127.0.0.1", web)).expect_err("the web pages have moved");
    assert!(gateway.stop().0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_goes_while_a_read_is_outstanding_takes_its_topics_along_and_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    // It takes connections and never answers.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (steady, port) = (CountingDevice::start(), free_port());
    let both = [bus("steady", steady.port(), "50ms"), bus("mute", silent.local_addr().unwrap().port(), "1s")];
    let gateway = GatewayProcess::start(folder.path(), &with_buses(port, &both), port);
    let mut client = Client::connect(address(port), connect("screen")).await;
    assert!(!client.subscribe("fw/mute_meter/#", QoS::AtMostOnce).await.is_failure());
    std::thread::sleep(Duration::from_millis(500));
    let since = Instant::now();
    let told = reload(&gateway, folder.path(), &with_buses(port, &both[..1]));
    assert!(told.contains("buses: mute removed; devices: mute_meter removed"), "{told}");
    assert!(
        since.elapsed() < Duration::from_secs(3),
        "{:?}: nobody waits for an answer that may never come",
        since.elapsed()
    );
    let mut last = Vec::new();
    while last.len() < 2
        || !last.iter().any(|(topic, payload): &(String, String)| topic == "fw/mute_meter" && payload.is_empty())
    {
        let message = client.message().await;
        last.push((message.topic.unwrap().to_string(), String::from_utf8_lossy(&message.payload).into_owned()));
    }
    assert!(last.contains(&("fw/mute_meter/availability".into(), "offline".into())), "{last:?}");
    let mut late = Client::connect(address(port), connect("late")).await;
    assert!(!late.subscribe("fw/mute_meter/#", QoS::AtMostOnce).await.is_failure());
    late.expect_nothing().await;

    // A reading device under the same names.
    let again = [both[0].clone(), bus("mute", steady.port(), "50ms")];
    reload(&gateway, folder.path(), &with_buses(port, &again));
    loop {
        let message = late.message().await;
        if message.topic.as_ref().unwrap().as_str() == "fw/mute_meter" {
            assert!(String::from_utf8_lossy(&message.payload).contains("\"n\":"), "{message:?}");
            break;
        }
    }
    assert!(gateway.stop().0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_come_and_go_and_clients_of_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port(), free_port()];
    let listening = |urls: &[String]| {
        let urls: Vec<String> = urls.iter().map(|url| format!("'{url}'")).collect();
        format!("gateway: {{ id: p, data_dir: data }}\nbroker: {{ listeners: [{}] }}\n", urls.join(", "))
    };
    let url = |port: u16| format!("mqtt://127.0.0.1:{port}");
    let gateway = GatewayProcess::start(folder.path(), &listening(&[url(ports[0]), url(ports[1])]), ports[1]);
    let mut stays = Client::connect(address(ports[0]), connect("stays")).await;
    let mut goes = Client::connect(address(ports[1]), connect("goes")).await;
    let told = reload(&gateway, folder.path(), &listening(&[url(ports[0]), url(ports[2])]));
    assert!(
        told.contains(&format!("listeners: 127.0.0.1:{} added, 127.0.0.1:{} removed", ports[2], ports[1])),
        "{told}"
    );
    assert_eq!(goes.closed().await, Some(Reason::ADMINISTRATIVE_ACTION));
    stays.expect_nothing().await;
    Client::connect(address(ports[2]), connect("comes")).await.expect_nothing().await;
    std::net::TcpStream::connect(("127.0.0.1", ports[1])).expect_err("it is closed");

    // The same port on another address: the one has to go before the other can come.
    let told = reload(&gateway, folder.path(), &listening(&[url(ports[0]), format!("mqtt://127.0.0.2:{}", ports[2])]));
    assert!(told.contains("in use"), "{told}");
    Client::connect(([127, 0, 0, 2], ports[2]).into(), connect("there")).await.expect_nothing().await;
    let told =
        reload(&gateway, folder.path(), &listening(&[url(ports[0]), format!("ws://127.0.0.2:{}/mqtt", ports[2])]));
    assert!(told.contains(&format!("listeners: 127.0.0.2:{} changed", ports[2])), "{told}");
    stays.expect_nothing().await;
    assert!(gateway.stop().0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_that_are_what_they_were_keep_their_clients_and_the_others_come_back_as_who_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let hash = |password: &str| fieldway::password::PasswordHash::of(password.as_bytes(), [7; 16]).to_phc();
    let (first, second) = (hash("first"), hash("second"));
    let yaml = |users: &[(&str, &str, &str)]| {
        let users: Vec<String> = users
            .iter()
            .map(|(name, hash, may)| {
                format!(
                    "    - {{ name: {name}, password_hash: '{hash}', may_publish: ['{may}'], may_subscribe: ['#'] }}\n"
                )
            })
            .collect();
        format!(
            "gateway: {{ id: p, data_dir: data }}\nbroker:\n  listeners: ['mqtt://127.0.0.1:{port}']\n  users:\n{}",
            users.concat()
        )
    };
    let gateway = GatewayProcess::start(
        folder.path(),
        &yaml(&[("a", &first, "a/#"), ("b", &first, "b/#"), ("c", &first, "c/#")]),
        port,
    );
    let mut same = Client::connect(address(port), user("1", "a", "first")).await;
    let mut other_rights = Client::connect(address(port), user("2", "b", "first")).await;
    let mut gone = Client::connect(address(port), user("3", "c", "first")).await;
    assert_eq!(other_rights.publish_acked("x", "1", false).await, Reason::NOT_AUTHORIZED);
    let told = reload(&gateway, folder.path(), &yaml(&[("a", &first, "a/#"), ("b", &second, "x")]));
    assert!(told.contains("users: c removed, b changed"), "{told}");
    assert_eq!(other_rights.closed().await, Some(Reason::ADMINISTRATIVE_ACTION));
    assert_eq!(gone.closed().await, Some(Reason::ADMINISTRATIVE_ACTION));
    same.expect_nothing().await;
    // The old password was right a moment ago, and known to be.
    for (name, password) in [("b", "first"), ("c", "first")] {
        let (_, ack) = Client::connect_ack(address(port), user("2", name, password)).await;
        assert_eq!(ack.reason, Reason::BAD_USER_NAME_OR_PASSWORD, "{name}");
    }
    let mut back = Client::connect(address(port), user("2", "b", "second")).await;
    assert!(!back.publish_acked("x", "1", false).await.is_failure());
    assert!(gateway.stop().0.success());
}

fn status(folder: &Path) -> Value {
    let mut command = std::process::Command::new(crate::support::gateway::FIELDWAY);
    let output = command.args(["status", "--json", "--config"]).arg(folder.join("gateway.yaml")).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The next `count` payloads on a topic of a cloud.
fn received(cloud: u16, topic: &str, count: usize) -> tokio::task::JoinHandle<Vec<String>> {
    let mut subscriber = tokio::process::Command::new("mosquitto_sub");
    subscriber.args(["-p", &cloud.to_string(), "-q", "1", "-W", "60", "-t", topic, "-C", &count.to_string()]);
    tokio::spawn(async move {
        let output = subscriber.output().await.unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    })
}

fn subscribed(cloud: &Mosquitto, times: usize) {
    wait_for("the subscription", PATIENCE, || {
        let log = fs::read_to_string(cloud.folder().join("log")).unwrap_or_default();
        (log.matches("Sending SUBACK").count() >= times).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uplinks_come_go_and_change_while_another_delivers_every_message_on_one_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (steady, port, away) = (Mosquitto::start(), free_port(), free_port());
    let yaml = |uplinks: &[String]| base(port, &format!("uplinks:\n{}", uplinks.concat()));
    let a = format!("  a: {{ url: 'mqtt://127.0.0.1:{}', forward: [{{ topic: 'load/#' }}] }}\n", steady.port());
    let b = |cloud: u16, more: &str, topic: &str| {
        format!("  b: {{ url: 'mqtt://127.0.0.1:{cloud}', client_id: b{more}, forward: [{{ topic: '{topic}' }}] }}\n")
    };
    let gateway = GatewayProcess::start(folder.path(), &yaml(&[a.clone(), b(away, "", "n/#")]), port);
    let everything = received(steady.port(), "load/#", 1_000);
    subscribed(&steady, 1);
    let load = tokio::spawn(async move {
        let mut client = Client::connect(address(port), connect("load")).await;
        for n in 0..1_000 {
            assert!(!client.publish_acked("load/x", n.to_string(), false).await.is_failure());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut client = Client::connect(address(port), connect("publisher")).await;
    client.publish_acked("kept/x", "state", true).await;
    for n in 0..20 {
        assert!(!client.publish_acked("n/x", n.to_string(), false).await.is_failure());
    }
    // Gone with messages waiting, and back with another address: they are there.
    let told = reload(&gateway, folder.path(), &yaml(std::slice::from_ref(&a)));
    assert!(told.contains("uplinks: b removed"), "{told}");
    assert!(gateway.log().contains("messages wait in its queue"), "{}", gateway.log());
    client.publish_acked("n/x", "while it was gone", false).await;
    let other = Mosquitto::start();
    let there = received(other.port(), "#", 22);
    subscribed(&other, 1);
    reload(&gateway, folder.path(), &yaml(&[a.clone(), b(other.port(), "", "n/#")]));
    wait_for("the backlog to go", PATIENCE, || (status(folder.path())["queues"]["b"]["depth"] == 0).then_some(()));
    // Another window: it connects anew. Other rules: it does not.
    let told = reload(&gateway, folder.path(), &yaml(&[a.clone(), b(other.port(), ", window: 7", "n/#")]));
    assert!(told.contains("uplinks: b changed"), "{told}");
    client.publish_acked("n/x", "20", false).await;
    wait_for("it to go", PATIENCE, || (status(folder.path())["queues"]["b"]["depth"] == 0).then_some(()));
    let before = status(folder.path())["uplinks"]["b"]["connects"].clone();
    reload(&gateway, folder.path(), &yaml(&[a.clone(), b(other.port(), ", window: 7", "m/#")]));
    client.publish_acked("n/x", "by the old rules", false).await;
    client.publish_acked("m/x", "21", false).await;
    let expected: Vec<String> = (0..22).map(|n| n.to_string()).collect();
    assert_eq!(there.await.unwrap(), expected, "{}", gateway.log());
    assert_eq!(status(folder.path())["uplinks"]["b"]["connects"], before);
    // A new one is told what is retained.
    let third = received(other.port(), "kept/#", 1);
    subscribed(&other, 2);
    let c = format!(
        "  c: {{ url: 'mqtt://127.0.0.1:{}', client_id: c, forward: [{{ topic: 'kept/#' }}] }}\n",
        other.port()
    );
    reload(&gateway, folder.path(), &yaml(&[c, a.clone()]));
    assert_eq!(third.await.unwrap(), ["state"]);

    load.await.unwrap();
    let numbers = everything.await.unwrap();
    assert!(numbers.iter().enumerate().all(|(n, number)| *number == n.to_string()), "{numbers:?}");
    assert_eq!(status(folder.path())["uplinks"]["a"]["connects"], 1);
    assert!(gateway.stop().0.success());
}
