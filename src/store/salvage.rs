//! What can still be read of a damaged database goes into its successor, row by row, as far as the checksums vouch for it.

mod broker;

use std::path::Path;

use tracing::{error, warn};

use super::episode::{GapReason, Loss};
use super::record::Record;
use super::roster;
use super::row::{Columns, Entry, Stored};
use super::sqlite::{Database, DbError, Wreck};
use crate::model::Priority;
use crate::random;

/// Rows that are copied in one transaction; where a page among them can't be read, fewer and fewer.
const ROWS: [u32; 4] = [256, 32, 4, 1];

/// Copies what can be read of the database at `wreck` into `database`, which is new. Its messages keep their order and get new
/// numbers in a new generation: how far the old one had come is not to be relied upon.
pub(super) async fn salvage(wreck: &Path, database: &mut Database) -> Result<(), DbError> {
    let nothing = |problem: &DbError| {
        error!(error = %problem, "nothing can be read from the damaged database; sqlite3's .recover may find more in the file");
    };
    let mut wreck = match Wreck::open(wreck).await {
        Ok(wreck) => wreck,
        Err(problem) => {
            nothing(&problem);
            return Ok(());
        }
    };
    let known = wreck.records().await;
    if let Err(problem) = &known {
        nothing(problem);
    }
    // The queues of removed uplinks were being deleted.
    for old in known.unwrap_or_default().into_iter().filter(|record| roster::owner(&record.name).is_some()) {
        let copied = copy(&mut wreck, &old, database).await;
        if let Err(problem) = copied {
            wreck.close().await;
            return Err(problem);
        }
    }
    let salvaged = broker::salvage(&mut wreck, database).await;
    wreck.close().await;
    salvaged
}

async fn copy(wreck: &mut Wreck, old: &Record, database: &mut Database) -> Result<(), DbError> {
    database.create_queue(&old.name, random::generation()).await?;
    let records = database.records().await?;
    let Some(mut record) = records.into_iter().find(|record| record.name == old.name) else {
        return Err(DbError::damaged("a queue that was just made is not there"));
    };
    let mut after = old.done;
    loop {
        let rows = next_rows(
            after,
            old.next_n,
            |row: &Columns| row.n,
            async |after, rows| wreck.rows(old.id, after, rows).await,
        )
        .await;
        let Some(last) = rows.last() else { break };
        after = last.n;
        let whole: Vec<(u64, Stored)> =
            rows.into_iter().filter_map(stored).zip(record.next_n..).map(|(s, n)| (n, s)).collect();
        let rows: Vec<(u64, &Stored)> = whole.iter().map(|(n, stored)| (*n, stored)).collect();
        record.next_n += rows.len() as u64;
        record.depth += rows.len() as u64;
        record.bytes += whole.iter().map(|(_, stored)| stored.bytes).sum::<u64>();
        let mut tx = database.begin().await?;
        tx.append(record.id, &rows).await?;
        tx.save(&record).await?;
        tx.commit().await?;
    }
    let lost = old.depth.saturating_sub(record.depth);
    record.dropped = old.dropped + lost;
    record.set_aside = old.set_aside;
    let loss = Loss { dropped: lost, from: None, to: None, reason: GapReason::Damaged };
    record.untold = if lost > 0 { Some(loss) } else { old.untold };
    let mut tx = database.begin().await?;
    tx.save(&record).await?;
    tx.commit().await?;
    let (uplink, class) = roster::owner(&old.name).unwrap_or((&old.name, Priority::Normal));
    if class == Priority::High && old.depth == 0 {
        return Ok(());
    }
    warn!(uplink, messages = record.depth, lost, "messages were salvaged from the damaged database");
    Ok(())
}

fn stored(columns: Columns) -> Option<Stored> {
    match columns.check() {
        Entry::Whole(row) => Some(Stored::new(row.message, row.queued)),
        Entry::Damaged { .. } => None,
    }
}

/// The next rows that `read` finds after a number; empty at the end. What lies in pages that can't be read is passed over, up to `limit`.
///
/// A damaged tree may lead to rows that were read before: such an answer counts as none, or a salvage would never end.
async fn next_rows<T>(
    after: u64,
    limit: u64,
    number: impl Fn(&T) -> u64,
    mut read: impl AsyncFnMut(u64, u32) -> Result<Vec<T>, DbError>,
) -> Vec<T> {
    let mut read = async |after, rows| {
        let found = read(after, rows).await.ok()?;
        let rising =
            found.is_sorted_by(|a, b| number(a) < number(b)) && found.first().is_none_or(|row| number(row) > after);
        rising.then_some(found)
    };
    for rows in ROWS {
        if let Some(found) = read(after, rows).await {
            return found;
        }
    }
    // The next row lies in a page that can't be read. Look further and further on until one can ...
    let (mut bad, mut step) = (after, 1_u64);
    let mut good = loop {
        let ahead = after.saturating_add(step);
        match read(ahead, 1).await {
            Some(_) => break ahead,
            None if ahead >= limit => return Vec::new(),
            None => (bad, step) = (ahead, step.saturating_mul(2)),
        }
    };
    // ... and then for the first that can.
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        match read(middle, 1).await {
            Some(_) => good = middle,
            None => bad = middle,
        }
    }
    read(good, 1).await.unwrap_or_default()
}
