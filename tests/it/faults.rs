//! Disks and files that fail: each ends in what `docs/queue.md` says, with its message, and readings go on here.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fieldway::model::{Durability, Message, Name, QoS, Topic, WhenFull};
use fieldway::store::{
    Append, Entry, GapReason, Limits, Opened, Peek, QueueId, QueueSpec, Refusal, Ticket, Urgency, Work,
};
use serde_json::Value;

use crate::store::{block_on, open, sql};
use crate::support::counting_device::CountingDevice;
use crate::support::gateway::GatewayProcess;
use crate::support::peers::Peer;
use crate::support::small_disk::SmallDisk;
use crate::support::wait::{free_port, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

fn spec() -> QueueSpec {
    QueueSpec {
        name: Name::new("cloud").unwrap(),
        limits: Limits { max_size: 1 << 30, max_age: Duration::from_secs(86_400), when_full: WhenFull::DropOldest },
        durability: Durability::Full,
        commit_every: Duration::from_millis(5),
    }
}

/// Keeps messages of `size` bytes, so many a commit; says how many were refused, and why.
async fn keep(opened: &mut Opened, ticket: &mut u64, messages: u64, size: usize) -> (usize, Option<Refusal>) {
    for _ in 0..messages {
        *ticket += 1;
        let message = Message::new(Topic::new("t").unwrap(), vec![7; size], QoS::AtLeastOnce, false);
        let what = Work::Message { queue: QueueId::normal(0), message };
        opened.appends.send(Append { ticket: Ticket(*ticket), what, urgency: Urgency::Awaited }).await.unwrap();
    }
    let (mut refused, mut why) = (0, None);
    loop {
        let report = opened.reports.recv().await.unwrap();
        refused += report.refused.len();
        why = report.refused.into_iter().map(|(_, why)| why).next().or(why);
        if report.through == Ticket(*ticket) {
            return (refused, why);
        }
    }
}

#[test]
fn a_queue_stops_growing_before_the_disk_is_full_and_drops_by_its_policy() {
    let disk = SmallDisk::mount(32);
    block_on(async {
        let mut opened = open(disk.path(), vec![spec()]).await;
        let mut ticket = 0;
        for _ in 0..40 {
            let refused = keep(&mut opened, &mut ticket, 1000, 1000).await;
            assert_eq!(refused, (0, None), "nothing is refused: the oldest go");
        }
        let status = opened.queues[0].status.borrow().clone();
        assert!(status.error.is_none() && status.dropped > 10_000, "{status:?}");
        assert_eq!(status.depth + status.dropped, ticket);
        let used: u64 =
            ["queue.db", "queue.db-wal"].map(|name| fs::metadata(disk.path().join(name)).unwrap().len()).iter().sum();
        assert!(used < 24 << 20, "{used} bytes of 32 MiB, of which the reserve has 8");
        assert!(disk.path().join("queue.reserve").exists());
        opened.store.close().await.unwrap();
        let mut opened = open(disk.path(), vec![spec()]).await;
        let gap = opened.gaps.recv().await.unwrap();
        assert_eq!(gap.loss.reason, GapReason::DiskFull, "{gap:?}");
        opened.store.close().await.unwrap();
    });
}

#[test]
fn on_a_disk_that_others_have_filled_what_was_delivered_is_deleted_all_the_same() {
    let disk = SmallDisk::mount(48);
    block_on(async {
        let mut opened = open(disk.path(), vec![spec()]).await;
        let mut ticket = 0;
        keep(&mut opened, &mut ticket, 8000, 1000).await;
        disk.fill();
        // Until the log is full too, it is used.
        for _ in 0..40 {
            keep(&mut opened, &mut ticket, 100, 1000).await;
            if !disk.path().join("queue.reserve").exists() {
                break;
            }
        }
        // Whatever became of that: the cloud has it all, and it goes.
        let queue = &mut opened.queues[0];
        let mut status = queue.status.clone();
        let drained = async {
            loop {
                let rows = queue.rows.read(1000, u64::MAX).await.unwrap();
                match rows.last().map(Entry::n) {
                    Some(last) => queue.receipts.acknowledge(last),
                    None if status.borrow_and_update().depth == 0 => break,
                    None => status.changed().await.unwrap(),
                }
            }
        };
        let drained = tokio::time::timeout(PATIENCE, drained).await;
        assert!(drained.is_ok(), "what was delivered is deleted on a full disk: {:?}", queue.status.borrow());
        assert!(queue.status.borrow().error.is_none());

        disk.free();
        assert_eq!(keep(&mut opened, &mut ticket, 10, 1000).await, (0, None));
        let reserve = disk.path().join("queue.reserve");
        let remade = async {
            while !reserve.exists() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, remade).await.expect("the reserve is made anew");
        opened.store.close().await.unwrap();
    });
    block_on(async {
        let opened = open(disk.path(), vec![spec()]).await;
        assert_eq!(opened.queues[0].status.borrow().depth, 10, "nothing that was delivered comes again");
        opened.store.close().await.unwrap();
    });
}

#[test]
fn a_drained_file_becomes_small_again_and_so_does_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let length = |name: &str| fs::metadata(folder.path().join(name)).map_or(0, |file| file.len());
    block_on(async {
        let mut opened = open(folder.path(), vec![spec()]).await;
        let mut ticket = 0;
        keep(&mut opened, &mut ticket, 30_000, 1000).await;
        let large = length("queue.db");
        assert!(large > 20 << 20, "{large}");
        let queue = &mut opened.queues[0];
        let mut read = 0;
        while read < ticket - 5 {
            let rows = queue.rows.read(4000, u64::MAX).await.unwrap();
            read = rows.last().map_or(read, Entry::n).min(ticket - 5);
            queue.receipts.acknowledge(read);
        }
        queue.receipts.release_above(read);
        let shrunk = async {
            while length("queue.db") > 1 << 20 || length("queue.db-wal") > 1 << 20 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, shrunk).await.expect("what is not needed is given back to the disk");
        let left = queue.rows.read(100, u64::MAX).await.unwrap();
        assert!(left.iter().map(Entry::n).eq(ticket - 4..=ticket), "and what waits is there: {left:?}");
        assert_eq!(keep(&mut opened, &mut ticket, 10, 1000).await, (0, None));
        opened.store.close().await.unwrap();
    });
}

#[test]
fn a_database_is_looked_at_beside_a_gateway_and_on_a_disk_that_can_not_be_written() {
    let disk = SmallDisk::mount(32);
    block_on(async {
        let mut opened = open(disk.path(), vec![spec()]).await;
        let mut ticket = 0;
        keep(&mut opened, &mut ticket, 10, 100).await;
        let count = async || {
            let mut peek = Peek::open(disk.path()).await.unwrap().expect("it is there");
            let queues = peek.queues().await.unwrap();
            let messages = peek.messages(&queues[0], 0).await.unwrap();
            peek.close().await;
            assert_eq!(queues[0].depth, messages.len() as u64);
            queues[0].depth
        };
        assert_eq!(count().await, 10, "beside it");
        opened.store.close().await.unwrap();
        assert_eq!(count().await, 10, "after it");
        disk.read_only();
        assert_eq!(count().await, 10, "on a disk that can't be written");
    });
}

/// A gateway with a device that is read all the time, an uplink to nowhere, and its store in `data`.
struct Plant {
    folder: tempfile::TempDir,
    yaml: String,
    port: u16,
}

impl Plant {
    fn new(data: &Path) -> Plant {
        let (device, port) = (CountingDevice::start(), free_port());
        let yaml = format!(
            "gateway: {{ id: plant, topic_root: fw, data_dir: '{data}' }}\n\
             broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
             buses: {{ plc: {{ tcp: '127.0.0.1:{device}', protocol: modbus-tcp }} }}\n\
             devices:\n\
             \x20 counter:\n\
             \x20   bus: plc\n\
             \x20   unit_id: 1\n\
             \x20   poll: 20ms\n\
             \x20   points: {{ reads: {{ holding: 0, type: u32 }} }}\n\
             uplinks:\n\
             \x20 cloud:\n\
             \x20   url: mqtt://127.0.0.1:{cloud}\n\
             \x20   forward: [{{ topic: 'fw/counter', to: 'cloud/counter', qos: 1 }}]\n",
            data = data.display(),
            device = device.port(),
            cloud = free_port(),
        );
        Plant { folder: tempfile::tempdir().unwrap(), yaml, port }
    }

    fn start(&self) -> GatewayProcess {
        GatewayProcess::start(self.folder.path(), &self.yaml, self.port)
    }

    /// New readings arrive here.
    fn readings_go_on(&self) {
        let mut subscriber = Peer::mosquitto_sub(self.port, &["-t", "fw/counter"]);
        let mut next = || {
            let line = subscriber.line();
            let payload = line.strip_prefix("fw/counter ").unwrap_or_else(|| panic!("{line}"));
            let reading: Value = serde_json::from_str(payload).unwrap();
            reading["values"]["reads"].as_u64().unwrap()
        };
        let first = next();
        for _ in 0..5 {
            next();
        }
        assert!(next() > first);
    }

    fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("gateway.yaml")
    }
}

fn says(gateway: &GatewayProcess, text: &str) {
    wait_for(text, PATIENCE, || gateway.log().contains(text).then_some(()));
}

#[test]
fn while_the_disk_is_full_readings_go_on_here_and_the_queue_when_there_is_room_again() {
    let disk = SmallDisk::mount(32);
    let plant = Plant::new(disk.path());
    let gateway = plant.start();
    plant.readings_go_on();
    disk.fill();
    plant.readings_go_on();
    let shown = queue_of(&plant);
    assert_eq!((&shown["running"], &shown["queues"]["cloud"]["configured"]), (&true.into(), &true.into()), "{shown}");
    disk.free();
    wait_for("the queue goes on", PATIENCE, || {
        let queue = &queue_of(&plant)["queues"]["cloud"];
        (queue["error"].is_null() && queue["depth"].as_u64() > shown["queues"]["cloud"]["depth"].as_u64()).then_some(())
    });
    let (status, log) = gateway.stop();
    assert!(status.success(), "{log}");
}

#[test]
fn a_disk_that_turns_read_only_costs_the_cloud_and_nobody_here() {
    let disk = SmallDisk::mount(32);
    let plant = Plant::new(disk.path());
    let gateway = plant.start();
    plant.readings_go_on();
    wait_for("something to wait", PATIENCE, || {
        queue_of(&plant)["queues"]["cloud"]["depth"].as_u64().filter(|n| *n > 0)
    });
    // What keeps files open for writing keeps a disk from being remounted, so it is done while the gateway is away.
    let (status, _) = gateway.stop();
    assert!(status.success());
    disk.read_only();
    let gateway = plant.start();
    says(&gateway, "the queue can't be opened");
    says(&gateway, "ead-only");
    plant.readings_go_on();
    let output = fieldway(&["queue", "export", "cloud", "--config", plant.config().to_str().unwrap()]);
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    assert!(output.status.success() && lines > 0, "what waits can still be taken out: {output:?}");
    gateway.kill();
}

#[test]
fn a_database_of_a_newer_version_is_left_alone_and_readings_go_on_here() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async { open(folder.path(), vec![spec()]).await.store.close().await.unwrap() });
    sql(folder.path(), "INSERT INTO _sqlx_migrations VALUES (99, 'later', 0, 1, x'00', 0)");
    let before = fs::read(folder.path().join("queue.db")).unwrap();
    let plant = Plant::new(folder.path());
    let gateway = plant.start();
    says(&gateway, "was written by a newer fieldway");
    plant.readings_go_on();
    let error = queue_of(&plant)["queues"]["cloud"]["error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("install that version")), "{error}");
    gateway.kill();
    assert!(fs::read(folder.path().join("queue.db")).unwrap() == before, "not a byte of it has changed");
}

#[test]
fn a_second_gateway_on_the_same_directory_ends_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let plant = Plant::new(folder.path());
    let gateway = plant.start();
    let second = Plant::new(folder.path());
    let (status, log) = GatewayProcess::start_unready(second.folder.path(), &second.yaml).ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("another fieldway is using"), "{log}");
    plant.readings_go_on();
    gateway.kill();
}

#[test]
fn whatever_is_damaged_the_gateway_runs_and_says_what_it_found() {
    type Harm = fn(&Path);
    let damage: [(&str, &str, Harm); 6] = [
        ("header", "queue.db is damaged", |file| overwrite(file, 0, &[0x55; 100])),
        ("page", "queue.db is damaged", |file| {
            // It is found when the file is checked: this one was not closed.
            overwrite(file, 4096 * 60, &[0; 8192]);
            fs::write(file.with_file_name("queue.db.suspect"), "").unwrap();
        }),
        ("cut off", "queue.db is damaged", |file| {
            fs::File::options().write(true).open(file).unwrap().set_len(50_000).unwrap();
        }),
        ("emptied", "queue.db is empty", |file| drop(fs::File::create(file).unwrap())),
        ("no database at all", "queue.db is damaged", |file| fs::write(file, "what is this?".repeat(1000)).unwrap()),
        ("torn log", "the gateway runs", |file| {
            fs::write(file.with_file_name("queue.db-wal"), vec![0x55; 10_000]).unwrap()
        }),
    ];
    for (what, message, harm) in damage {
        let folder = tempfile::tempdir().unwrap();
        block_on(async {
            let mut opened = open(folder.path(), vec![spec()]).await;
            keep(&mut opened, &mut 0, 500, 1000).await;
            opened.store.close().await.unwrap();
        });
        harm(&folder.path().join("queue.db"));
        let plant = Plant::new(folder.path());
        let gateway = plant.start();
        says(&gateway, message);
        plant.readings_go_on();
        wait_for(what, PATIENCE, || queue_of(&plant)["queues"]["cloud"]["depth"].as_u64().filter(|n| *n > 0));
        gateway.kill();
        let is_aside = fs::read_dir(folder.path())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("queue.db.corrupt-"));
        assert_eq!(is_aside, message.contains("damaged"), "{what}");
    }
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    fs::File::options().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

fn fieldway(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_fieldway")).args(args).output().unwrap()
}

/// What `fieldway queue --json` says.
fn queue_of(plant: &Plant) -> Value {
    let output = fieldway(&["queue", "--json", "--config", plant.config().to_str().unwrap()]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn check_warns_of_messages_for_an_uplink_that_the_configuration_does_not_have() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let misspelt = QueueSpec { name: Name::new("clodu").unwrap(), ..spec() };
        let mut opened = open(folder.path(), vec![misspelt]).await;
        keep(&mut opened, &mut 0, 7, 10).await;
        opened.store.close().await.unwrap();
    });
    let plant = Plant::new(folder.path());
    fs::write(plant.config(), &plant.yaml).unwrap();
    let output = fieldway(&["check", "--config", plant.config().to_str().unwrap()]);
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && warning.contains("7 messages wait for an uplink \"clodu\""), "{warning}");
    let shown = queue_of(&plant);
    assert_eq!(shown["running"], false);
    assert_eq!(
        shown["queues"]["clodu"],
        serde_json::json!({
            "depth": 7, "high": 0, "bytes": 7 * 75, "oldest": shown["queues"]["clodu"]["oldest"], "dropped": 0, "set_aside": 0,
            "configured": false,
        })
    );
}
