//! `fieldway backup` of a gateway that is at work, and `fieldway restore` of it elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use fieldway::model::QoS;
use fieldway::mqtt::{Connect, Version};

use crate::store::sql;
use crate::support::gateway::{FIELDWAY, GatewayProcess};
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Client;
use crate::support::wait::{free_port, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

fn fieldway(command: &str, file: &Path, config: &Path, more: &[&str]) -> Output {
    Command::new(FIELDWAY).arg(command).arg(file).arg("--config").arg(config).args(more).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    said(output)
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// A gateway's folder with everything that a configuration can refer to; its cloud is reached through a file of its own.
fn gateway(folder: &Path, port: u16, cloud: u16) -> String {
    fs::create_dir_all(folder.join("conf.d")).unwrap();
    fs::create_dir_all(folder.join("devices/acme")).unwrap();
    fs::write(folder.join("cloud.password"), "secret\n").unwrap();
    fs::set_permissions(folder.join("cloud.password"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(
        folder.join("devices/acme/m1.yaml"),
        "about: { maker: A, model: M1, source: its manual }\npoints: { u: { holding: 1 } }\n",
    )
    .unwrap();
    let cloud = format!(
        "uplinks:\n  cloud:\n    url: mqtt://127.0.0.1:{cloud}\n    username: plant\n    password_file: ../cloud.password\n\
         \x20   forward: [{{ topic: 'n/#', to: 'cloud/{{rest}}', qos: 1 }}]\n"
    );
    fs::write(folder.join("conf.d/cloud.yaml"), cloud).unwrap();
    let yaml = format!(
        "gateway: {{ id: plant-7, data_dir: data }}\ninclude: conf.d/*.yaml\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         buses: {{ b: {{ tcp: '127.0.0.1:1', protocol: modbus-tcp }} }}\n\
         devices: {{ m: {{ bus: b, unit_id: 1, template: acme/m1 }} }}\n"
    );
    fs::write(folder.join("gateway.yaml"), &yaml).unwrap();
    yaml
}

fn persistent(id: &str) -> Connect {
    let mut connect = Connect::new(Version::V5, id.to_owned());
    (connect.clean_start, connect.session_expiry_s) = (false, 3600);
    connect
}

/// Publishes numbered messages until it is told to stop; the last one that was acknowledged is in `acknowledged`.
async fn publish(port: u16, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicU32>) {
    let mut client = Client::connect(([127, 0, 0, 1], port).into(), Connect::new(Version::V5, "publisher")).await;
    for n in 1.. {
        let reason = client.publish_acked("n/x", n.to_string(), false).await;
        assert!(!reason.is_failure(), "{reason}");
        acknowledged.store(n, Ordering::SeqCst);
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_backup_under_load_is_there_after_its_restore() {
    let (temp, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (port, nobody) = (free_port(), free_port());
    let yaml = gateway(temp.path(), port, nobody);
    let running = GatewayProcess::start(temp.path(), &yaml, port);
    let address = ([127, 0, 0, 1], port).into();
    let mut reader = Client::connect(address, persistent("reader")).await;
    assert!(!reader.subscribe("n/#", QoS::AtLeastOnce).await.is_failure());
    drop(reader);
    let mut keeper = Client::connect(address, Connect::new(Version::V5, "keeper")).await;
    assert!(!keeper.publish_acked("kept/a", "retained", true).await.is_failure());

    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let publisher = tokio::spawn(publish(port, stop.clone(), acknowledged.clone()));
    wait_for("some load", PATIENCE, || (acknowledged.load(Ordering::SeqCst) > 200).then_some(()));
    let before = acknowledged.load(Ordering::SeqCst);
    let archive = temp.path().join("gateway.tar.zst");
    let told = succeeded(&fieldway("backup", &archive, &temp.path().join("gateway.yaml"), &[]));
    assert!(told.contains("passwords and keys") && told.contains("4 files"), "{told}");
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    wait_for("the load to go on", PATIENCE, || (acknowledged.load(Ordering::SeqCst) > before + 20).then_some(()));
    stop.store(true, Ordering::SeqCst);
    publisher.await.unwrap();
    let epoch = |folder: &Path| sql(&folder.join("data"), "SELECT epoch FROM queues");
    running.kill();

    // Elsewhere, with a cloud that answers.
    let config = new.path().join("gateway.yaml");
    let told = succeeded(&fieldway("restore", &archive, &config, &[]));
    assert!(told.contains("plant-7") && told.contains("may be sent again"), "{told}");
    for file in ["gateway.yaml", "conf.d/cloud.yaml", "cloud.password", "devices/acme/m1.yaml"] {
        assert_eq!(fs::read(temp.path().join(file)).unwrap(), fs::read(new.path().join(file)).unwrap(), "{file}");
    }
    let mode = fs::metadata(new.path().join("cloud.password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_ne!(epoch(temp.path()), epoch(new.path()), "a consumer must not take new messages for old ones");
    assert_eq!(sql(&new.path().join("data"), "SELECT fresh FROM queues"), "1");
    let leftovers: Vec<PathBuf> = fs::read_dir(new.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(leftovers.len(), 5, "{leftovers:?}");

    let cloud = Mosquitto::start();
    let subscriber = |more: &[&str]| {
        let mut command = tokio::process::Command::new("mosquitto_sub");
        command.args(["-p", &cloud.port().to_string(), "-q", "1", "-t", "cloud/#", "-c", "-i", "watcher"]).args(more);
        command
    };
    // It ends when it is subscribed, and its session takes what comes from then on.
    assert!(subscriber(&["-E"]).status().await.unwrap().success());
    let mut subscriber = subscriber(&["-C", &before.to_string()]);
    let subscriber = subscriber.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let part = new.path().join("conf.d/cloud.yaml");
    fs::write(&part, fs::read_to_string(&part).unwrap().replace(&nobody.to_string(), &cloud.port().to_string()))
        .unwrap();
    let restored = GatewayProcess::start(new.path(), &yaml, port);
    let output = tokio::time::timeout(PATIENCE, subscriber.wait_with_output()).await.expect("all come").unwrap();
    let numbers: Vec<u32> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.into_iter().eq(1..=before), "each that was acknowledged before, in order");

    let (mut reader, ack) = Client::connect_ack(address, persistent("reader")).await;
    assert!(ack.session_present);
    for n in 1..=before {
        let message = reader.message().await;
        assert_eq!(message.payload, n.to_string());
        reader.acknowledge(message.packet_id).await;
    }
    let mut keeper = Client::connect(address, Connect::new(Version::V5, "keeper")).await;
    assert!(!keeper.subscribe("kept/a", QoS::AtMostOnce).await.is_failure());
    assert_eq!(keeper.message().await.payload, "retained");
    assert!(restored.stop().0.success());
}

#[tokio::test]
async fn nothing_is_replaced_by_accident_and_what_is_replaced_is_kept() {
    let temp = tempfile::tempdir().unwrap();
    let port = free_port();
    let yaml = gateway(temp.path(), port, 1);
    let config = temp.path().join("gateway.yaml");
    let archive = temp.path().join("a.tar.zst");
    let running = GatewayProcess::start(temp.path(), &yaml, port);
    wait_for("the gateway", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    succeeded(&fieldway("backup", &archive, &config, &[]));
    let told = failed(&fieldway("restore", &archive, &config, &["--force"]));
    assert!(told.contains("another fieldway is using") && told.contains("nothing was changed"), "{told}");
    assert!(running.stop().0.success());

    let told = failed(&fieldway("restore", &archive, &config, &[]));
    assert!(told.contains("--force moves it aside"), "{told}");
    let changed = yaml.replace("plant-7", "plant-8");
    fs::write(&config, &changed).unwrap();
    let told = succeeded(&fieldway("restore", &archive, &config, &["--force"]));
    assert!(told.contains("queue.db.before-restore-"), "{told}");
    assert_eq!(fs::read_to_string(&config).unwrap(), yaml);
    let aside = |folder: &Path, name: &str| {
        let found = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut found = found.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(name));
        found.next().unwrap_or_else(|| panic!("no {name} in {}", folder.display()))
    };
    assert_eq!(fs::read_to_string(aside(temp.path(), "gateway.yaml.before-restore-")).unwrap(), changed);
    assert!(fs::metadata(aside(&temp.path().join("data"), "queue.db.before-restore-")).unwrap().len() > 0);
    // It runs with what was put back.
    let running = GatewayProcess::start(temp.path(), &yaml, port);
    assert!(running.stop().0.success());
}

#[test]
fn a_backup_that_is_damaged_foreign_or_hostile_changes_nothing() {
    let (temp, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    gateway(temp.path(), free_port(), 1);
    let archive = temp.path().join("good.tar.zst");
    succeeded(&fieldway("backup", &archive, &temp.path().join("gateway.yaml"), &[]));
    let good = fs::read(&archive).unwrap();
    let plain = zstd::decode_all(&good[..]).unwrap();
    let config = new.path().join("inside/gateway.yaml");
    let refused = |what: &str, bytes: &[u8]| {
        let bad = temp.path().join("bad.tar.zst");
        fs::write(&bad, bytes).unwrap();
        let told = failed(&fieldway("restore", &bad, &config, &["--force"]));
        let left: Vec<_> =
            fs::read_dir(new.path().join("inside")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{what}: {left:?}");
        told
    };
    let zipped = |tar: &[u8]| zstd::encode_all(tar, 1).unwrap();
    assert!(refused("half", &good[..good.len() / 2]).contains("damaged"));
    assert!(refused("text", b"not an archive").contains("no backup"));
    assert!(refused("another tar", &zipped(&tar(&[("hello", b"x")]))).contains("no backup"));
    let mut flipped = plain.clone();
    let at = plain.windows(6).rposition(|window| window == b"secret").unwrap();
    flipped[at] ^= 1;
    assert!(refused("a changed byte", &zipped(&flipped)).contains("wrong checksum"));
    let manifest = |path: &str, more: &str| {
        format!(
            "{{\"program\":\"fieldway\",\"format\":1,\"version\":\"9.9\",\"made\":\"\",\"gateway\":\"a\",\"configuration\":\"gateway.yaml\",\
             \"schema\":null,\"files\":[{{\"path\":\"config/gateway.yaml\",\"size\":2,\"mode\":511,\
             \"sha256\":\"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"}},\
             {{\"path\":\"{path}\",\"size\":2,\"mode\":511,\
             \"sha256\":\"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"}}{more}]}}"
        )
    };
    let packed = |manifest: &str, path: &str| {
        zipped(&tar(&[("manifest.json", manifest.as_bytes()), ("config/gateway.yaml", b"{}"), (path, b"{}")]))
    };
    let told = refused("a way out", &packed(&manifest("config/../../x", ""), "config/../../x"));
    assert!(told.contains("can't be in one"), "{told}");
    let told = refused("another path than it says", &packed(&manifest("config/x", ""), "../x"));
    assert!(told.contains("something else"), "{told}");
    let told =
        refused("a newer one", &packed(&manifest("config/x", "").replace("\"format\":1", "\"format\":2"), "config/x"));
    assert!(told.contains("newer fieldway (9.9)"), "{told}");
    let huge = manifest("config/x", "").replace("\"size\":2", "\"size\":99999999999");
    assert!(refused("a bomb", &packed(&huge, "config/x")).contains("larger than a gateway can be"));
}

/// A tar as hostile as need be: the writer of the tests asks nobody whether a path is allowed.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, content) in files {
        let mut header = [0_u8; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(*content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}
