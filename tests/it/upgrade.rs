//! Databases of earlier versions, as they left them (`tests/golden/store`), taken up by this one; and starts that are cut off meanwhile.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fieldway::model::QoS;
use fieldway::mqtt::{Connect, Version};

use crate::store::sql;
use crate::support::chance::Chance;
use crate::support::gateway::GatewayProcess;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Client;
use crate::support::wait::free_port;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/store");

/// Makes the database that a version of this schema had left: three messages for the uplink `cloud` and, from the second on, as many for
/// the session `reader`, and one retained.
fn leave(folder: &Path, schema: u32) {
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let python = std::env::var("FIELDWAY_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('PRAGMA journal_mode=WAL')\nc.executescript(open(sys.argv[2]).read())";
    let mut made = Command::new(python);
    made.args(["-c", script]).arg(data.join("queue.db")).arg(format!("{GOLDEN}/schema-{schema}.sql"));
    let output = made.output().expect("python3 runs; ./tests/run says what the tests need");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn configuration(port: u16, cloud: u16) -> String {
    format!(
        "gateway: {{ id: plant-7, data_dir: data }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         uplinks: {{ cloud: {{ url: 'mqtt://127.0.0.1:{cloud}', queue: {{ max_age: 3650d }}, \
         forward: [{{ topic: 'n/#', to: 'cloud/{{rest}}', qos: 1 }}] }} }}\n"
    )
}

/// Everything that was left is there.
async fn everything_is_there(folder: &Path, schema: u32) {
    let (cloud, port) = (Mosquitto::start(), free_port());
    let mut subscriber = tokio::process::Command::new("mosquitto_sub");
    subscriber.args(["-p", &cloud.port().to_string(), "-q", "1", "-t", "cloud/#", "-C", "3", "-W", "30"]);
    let subscriber = tokio::spawn(async move { subscriber.output().await.unwrap() });
    crate::support::wait::wait_for("the subscription", Duration::from_secs(10), || {
        let log = fs::read_to_string(cloud.folder().join("log")).unwrap_or_default();
        log.contains("Sending SUBACK").then_some(())
    });
    let gateway = GatewayProcess::start(folder, &configuration(port, cloud.port()), port);
    let received = String::from_utf8(subscriber.await.unwrap().stdout).unwrap();
    assert_eq!(received.lines().collect::<Vec<_>>(), ["1", "2", "3"], "schema {schema}:\n{}", gateway.log());
    if schema >= 2 {
        let mut connect = Connect::new(Version::V311, "reader");
        connect.clean_start = false;
        let (mut reader, ack) = Client::connect_ack(([127, 0, 0, 1], port).into(), connect).await;
        assert!(ack.session_present, "schema {schema}");
        for n in 1..=3 {
            let message = reader.message().await;
            assert_eq!(message.payload, n.to_string(), "schema {schema}");
            reader.acknowledge(message.packet_id).await;
        }
        assert!(!reader.subscribe("kept/a", QoS::AtMostOnce).await.is_failure());
        assert_eq!(reader.message().await.payload, "retained", "schema {schema}");
    }
    let (status, log) = gateway.stop();
    assert!(status.success() && !log.contains("ERROR"), "{log}");
    let newest = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
    assert_eq!(sql(&folder.join("data"), "SELECT max(version) FROM _sqlx_migrations"), newest.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_each_earlier_version_is_taken_up_with_all_that_is_in_it() {
    for schema in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        leave(folder.path(), schema);
        everything_is_there(folder.path(), schema).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_is_cut_off_at_any_moment_is_finished_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    leave(folder.path(), 1);
    let mut chance = Chance::seeded_or_new();
    let versions = |folder: &Path| sql(&folder.join("data"), "SELECT count(*) FROM _sqlx_migrations");
    for _ in 0..15 {
        // From before the first statement to after the last.
        let gateway = GatewayProcess::start_unready(folder.path(), &configuration(free_port(), 1));
        std::thread::sleep(Duration::from_millis(60).mul_f64(chance.fraction()));
        gateway.kill();
    }
    println!("seed {}: {} migrations are done", chance.seed(), versions(folder.path()));
    everything_is_there(folder.path(), 1).await;
}

#[test]
fn a_database_of_a_newer_version_is_left_alone_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    leave(folder.path(), 3);
    let checksum = "INSERT INTO _sqlx_migrations VALUES (99, 'of the future', CURRENT_TIMESTAMP, 1, X'00', 1)";
    sql(&folder.path().join("data"), checksum);
    let before = fs::read(folder.path().join("data/queue.db")).unwrap();
    let gateway = GatewayProcess::start_unready(folder.path(), &configuration(free_port(), 1));
    let (status, log) = gateway.ended();
    assert_eq!(status.code(), Some(1), "{log}");
    for expected in ["written by a newer fieldway", "version 99", "install that version again", "move the file away"] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    assert_eq!(fs::read(folder.path().join("data/queue.db")).unwrap(), before);
}
