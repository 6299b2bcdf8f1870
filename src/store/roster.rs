//! Which queues the database has: those of the configuration are made or taken up, those of removed uplinks go.
//!
//! An uplink has two queues, named `cloud` and `cloud/high`; a queue that is being deleted is `cloud/removed-7`. No uplink's name has a slash.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::open::QueueSpec;
use super::record::Record;
use super::sqlite::{Database, DbError};
use crate::model::Priority;
use crate::random;

/// A queue with more rows is deleted in portions, beside the other work: a table of ten million rows is read through when it is dropped.
const AT_ONCE: u64 = 50_000;

const HIGH: &str = "/high";
const REMOVED: &str = "/removed-";

/// The queues that were found.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Of each uplink, by [`Priority`].
    pub records: Vec<[Record; 2]>,
    /// Queues of removed uplinks, to be deleted in portions.
    pub dying: Vec<i64>,
}

/// The name of an uplink's queue.
pub(super) fn queue_name(uplink: &str, class: Priority) -> String {
    match class {
        Priority::Normal => uplink.to_owned(),
        Priority::High => format!("{uplink}{HIGH}"),
    }
}

/// The uplink that a queue belongs to, and its class; `None` for one that is being deleted.
pub(super) fn owner(queue: &str) -> Option<(&str, Priority)> {
    match queue.split_once('/') {
        None => Some((queue, Priority::Normal)),
        Some((uplink, "high")) => Some((uplink, Priority::High)),
        Some(_) => None,
    }
}

/// Takes up the queues of `queues`, makes those that there are not, and removes the others.
pub(super) async fn call(database: &mut Database, queues: &[QueueSpec]) -> Result<Roster, DbError> {
    let known = database.records().await?;
    let is_new = |queue: &&QueueSpec| !known.iter().any(|record| record.name == queue.name.as_str());
    let newcomer = queues.iter().find(is_new).map(|queue| queue.name.to_string());
    remove(database, &known, queues, newcomer.as_deref()).await?;
    for class in Priority::ALL {
        for queue in queues {
            let name = queue_name(&queue.name, class);
            if !known.iter().any(|record| record.name == name) {
                database.create_queue(&name, random::generation()).await?;
            }
        }
    }
    let mut roster = Roster::default();
    let known = database.records().await?;
    for queue in queues {
        let normal = take_up(database, &known, &queue_name(&queue.name, Priority::Normal)).await?;
        let high = take_up(database, &known, &queue_name(&queue.name, Priority::High)).await?;
        roster.records.push([normal, high]);
    }
    roster.dying = known.iter().filter(|record| owner(&record.name).is_none()).map(|record| record.id).collect();
    Ok(roster)
}

/// The queues of one more uplink: taken up, or made.
pub(super) async fn take_in(database: &mut Database, queue: &QueueSpec) -> Result<[Record; 2], DbError> {
    let known = database.records().await?;
    for class in Priority::ALL {
        let name = queue_name(&queue.name, class);
        if !known.iter().any(|record| record.name == name) {
            database.create_queue(&name, random::generation()).await?;
        }
    }
    let known = database.records().await?;
    let normal = take_up(database, &known, &queue_name(&queue.name, Priority::Normal)).await?;
    Ok([normal, take_up(database, &known, &queue_name(&queue.name, Priority::High)).await?])
}

async fn take_up(database: &mut Database, known: &[Record], name: &str) -> Result<Record, DbError> {
    let found = known.iter().find(|record| record.name == name);
    let mut record = found.cloned().ok_or_else(|| DbError::damaged("a queue that was just made is not there"))?;
    // They are written in one transaction; should they still disagree, no number may be given out twice.
    record.next_n = record.next_n.max(database.highest(record.id).await? + 1).max(record.done + 1);
    Ok(record)
}

/// Removes the queues of uplinks that nobody names any more. When another uplink is new at the same time, a name may have been changed or
/// misspelt: then what waits is kept until the next start, so that there is a way back.
async fn remove(
    database: &mut Database,
    known: &[Record],
    queues: &[QueueSpec],
    newcomer: Option<&str>,
) -> Result<(), DbError> {
    let mut removed: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in known {
        if let Some((uplink, _)) = owner(&record.name)
            && !queues.iter().any(|queue| queue.name.as_str() == uplink)
        {
            removed.entry(uplink).or_default().push(record);
        }
    }
    for (uplink, records) in removed {
        let messages: u64 = records.iter().map(|record| record.depth).sum();
        if let (Some(newcomer), true) = (newcomer, messages > 0) {
            warn!(
                uplink,
                messages,
                newcomer,
                "messages wait for an uplink that is not in the configuration any more, while another one is new; if it was renamed or \
                 misspelt, give it its old name again: with this configuration they are deleted at the next start"
            );
            continue;
        }
        for record in records {
            if record.depth > AT_ONCE {
                database.rename_queue(record.id, &format!("{uplink}{REMOVED}{}", record.id)).await?;
            } else {
                database.drop_queue(record.id).await?;
            }
        }
        if messages > 0 {
            warn!(
                uplink,
                messages,
                "the uplink is not in the configuration any more: its queue is deleted, with the messages in it"
            );
        } else {
            info!(uplink, "the uplink is not in the configuration any more: its queue, which was empty, is removed");
        }
    }
    Ok(())
}
