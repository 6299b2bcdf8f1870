//! Power loss: the database and its log as a disk may have them, cut off and torn anywhere after what was last synced. What was
//! committed is there, nothing is there by half, and no number is used twice.
//!
//! The files are copied after each commit, when all that they hold is synced. What is written between two copies is what a power cut
//! may leave in part: frames at the end of the log, in the order in which they were written and torn anywhere; pages that a
//! checkpoint carries from the synced log into the file, any of them, in any order; and a log that is begun anew over the old one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fieldway::model::{Durability, Message, Name, QoS, Topic, WhenFull};
use fieldway::store::{Append, Entry, Limits, Opened, QueueId, QueueSpec, Ticket, Urgency, Work};

use crate::store::{block_on, open};
use crate::support::chance::Chance;

const PAGE: usize = 4096;
const STEPS: usize = 40;
const CUTS: usize = 6;

fn spec() -> QueueSpec {
    QueueSpec {
        name: Name::new("cloud").unwrap(),
        limits: Limits { max_size: 1 << 30, max_age: Duration::from_secs(86_400), when_full: WhenFull::DropOldest },
        durability: Durability::Full,
        commit_every: Duration::from_millis(5),
    }
}

/// What is on disk, and what was promised by then.
#[derive(Debug, Clone)]
struct Copy {
    file: Vec<u8>,
    log: Vec<u8>,
    promised: Promised,
}

/// What the outside knows: QoS 2 messages up to `recorded` were answered with PUBREL, those up to `done` are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Promised {
    last: u64,
    done: u64,
    recorded: u64,
}

fn copy(dir: &Path, promised: Promised) -> Copy {
    let read = |name: &str| fs::read(dir.join(name)).unwrap_or_default();
    Copy { file: read("queue.db"), log: read("queue.db-wal"), promised }
}

/// A day in the life of a queue, copied after each commit.
async fn record(dir: &Path, chance: &mut Chance) -> Vec<Copy> {
    let mut opened = open(dir, vec![spec()]).await;
    let mut promised = Promised::default();
    let mut copies = vec![copy(dir, promised)];
    let mut marks = opened.queues[0].receipts.marks();
    for step in 1..=STEPS {
        if step % 10 == 0 {
            // What is in the log goes into the file, and then the log goes.
            opened.store.close().await.unwrap();
            copies.push(copy(dir, promised));
            opened = open(dir, vec![spec()]).await;
            marks = opened.queues[0].receipts.marks();
        }
        match (chance.fraction() * 10.0) as u32 {
            0..=4 => {
                let messages = 1 + (chance.fraction() * 150.0) as u64;
                keep(&mut opened, &mut promised.last, messages).await;
            }
            5..=6 => {
                // The cloud has answered with PUBREC; before PUBREL goes out, that is on disk.
                let queue = &mut opened.queues[0];
                let read = queue.rows.read(80, u64::MAX).await.unwrap();
                let Some(last) = read.last().map(Entry::n) else { continue };
                queue.receipts.record(last);
                marks.wait_for(|marks| marks.recorded >= last).await.unwrap();
                promised.recorded = promised.recorded.max(last);
            }
            _ if promised.done < promised.recorded => {
                let queue = &opened.queues[0];
                queue.receipts.acknowledge(promised.recorded);
                let left = promised.last - promised.recorded;
                let mut status = queue.status.clone();
                status.wait_for(|status| status.depth == left).await.unwrap();
                promised.done = promised.recorded;
            }
            _ => {}
        }
        copies.push(copy(dir, promised));
    }
    opened.store.close().await.unwrap();
    copies
}

async fn keep(opened: &mut Opened, ticket: &mut u64, messages: u64) {
    for n in *ticket + 1..=*ticket + messages {
        let message = Message::new(Topic::new("t").unwrap(), payload(n), QoS::ExactlyOnce, false);
        let what = Work::Message { queue: QueueId::normal(0), message };
        opened.appends.send(Append { ticket: Ticket(n), what, urgency: Urgency::Awaited }).await.unwrap();
    }
    *ticket += messages;
    while opened.reports.recv().await.unwrap().through < Ticket(*ticket) {}
}

fn payload(n: u64) -> Vec<u8> {
    format!("{n:0700}").into_bytes()
}

/// The log as it may be on disk while `after` is written over `before`.
fn torn_log(before: &[u8], after: &[u8], chance: &mut Chance) -> Vec<u8> {
    let written = common(before, after);
    let upto = written + (chance.fraction() * (after.len() - written + 1) as f64) as usize;
    let mut log = before.to_vec();
    log.resize(before.len().max(upto), 0);
    log[..upto].copy_from_slice(&after[..upto]);
    if chance.fraction() < 0.5 && upto > written {
        // The last sector holds anything.
        let from = upto.saturating_sub(512).max(written);
        log[from..upto].iter_mut().for_each(|byte| *byte = (chance.fraction() * 256.0) as u8);
    }
    log
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The file while a checkpoint brings it from `before` to `after`: any of the pages that differ, one of them perhaps by half.
fn torn_file(before: &[u8], after: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut file = before.to_vec();
    file.resize(before.len().max(after.len()), 0);
    for at in (0..after.len()).step_by(PAGE) {
        let end = (at + PAGE).min(after.len());
        if before.get(at..end) != Some(&after[at..end]) {
            let half = at + (end - at) / 2;
            match (chance.fraction() * 4.0) as u32 {
                0 => {}
                1 => file[at..half].copy_from_slice(&after[at..half]),
                _ => file[at..end].copy_from_slice(&after[at..end]),
            }
        }
    }
    file
}

#[test]
fn after_a_power_cut_at_any_moment_what_was_committed_is_there_and_nothing_twice() {
    let mut chance = Chance::seeded_or_new();
    let seed = chance.seed();
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let copies = record(dir.path(), &mut chance).await;
        let checkpoints = copies.windows(2).filter(|pair| pair[0].file != pair[1].file).count();
        assert!(checkpoints > 0, "the log was brought into the file meanwhile (seed {seed})");
        for (step, pair) in copies.windows(2).enumerate() {
            let [before, after] = pair else { unreachable!("windows of two") };
            for cut in 0..CUTS {
                let (file, log) = match cut % 2 {
                    0 => (before.file.clone(), torn_log(&before.log, &after.log, &mut chance)),
                    // A checkpoint begins when the log is synced, and the log goes when the file is.
                    _ => {
                        let log = if after.log.starts_with(&before.log) { &after.log } else { &before.log };
                        (torn_file(&before.file, &after.file, &mut chance), log.clone())
                    }
                };
                let told = format!("step {step}, cut {cut}, seed {seed}");
                let dir = tempfile::tempdir().unwrap();
                fs::write(dir.path().join("queue.db"), file).unwrap();
                if !log.is_empty() {
                    fs::write(dir.path().join("queue.db-wal"), log).unwrap();
                }
                check(dir.path(), before.promised, after.promised, &told).await;
            }
        }
    });
}

/// The queue opens, as it was before or after the commit that was cut off, and goes on.
async fn check(dir: &Path, before: Promised, after: Promised, told: &str) {
    let mut opened = open(dir, vec![spec()]).await;
    let aside = fs::read_dir(dir)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("corrupt"));
    assert_eq!(aside.count(), 0, "it is not damaged: {told}");
    let queue = &mut opened.queues[0];
    let found = Promised { last: queue.last, done: queue.done, recorded: queue.recorded };
    let between = |found: u64, before: u64, after: u64| (before..=after).contains(&found);
    assert!(
        between(found.last, before.last, after.last)
            && between(found.done, before.done, after.done)
            && between(found.recorded, before.recorded, after.recorded),
        "{found:?} is neither {before:?} nor {after:?} nor between: {told}"
    );
    let mut rows = Vec::new();
    loop {
        let more = queue.rows.read(usize::MAX >> 1, u64::MAX).await.unwrap();
        if more.is_empty() {
            break;
        }
        rows.extend(more);
    }
    let expected = found.done + 1..=found.last;
    assert!(rows.iter().map(Entry::n).eq(expected.clone()), "{} rows, not {expected:?}: {told}", rows.len());
    for entry in &rows {
        let Entry::Whole(row) = entry else { panic!("{entry:?} {told}") };
        assert_eq!(row.message.payload, payload(row.n), "{told}");
    }
    // A number that the cloud may have seen is not given to another message.
    let mut last = found.last;
    keep(&mut opened, &mut last, 1).await;
    assert!(last > before.last);
    opened.store.close().await.unwrap();
}
