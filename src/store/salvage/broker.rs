//! The broker's state out of a damaged database. A session that can be read keeps its numbers, since packet ids follow from them; of what waits
//! for it, what the checksums vouch for is kept.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, warn};

use super::next_rows;
use crate::store::broker_row::{DeliveryRow, RetainedColumns, SessionColumns, SubscriptionColumns};
use crate::store::sqlite::{Database, DbError, Mark, Wreck};
use crate::store::state::{SessionId, StoredDelivery};

/// Where a session's counter can't be read, as many numbers are passed over: half of those that packet ids are made of, so that none
/// comes again soon which the client may still hold.
const PASSED_OVER: u64 = 30_000;

/// Row numbers that no table has reached.
const BEYOND: u64 = 1 << 48;

/// A session that could be read.
struct Found {
    next_n: Option<u64>,
    /// Deliveries that there were.
    depth: u64,
    recorded: BTreeSet<u64>,
    highest: u64,
}

/// Copies what can be read into `database`, which is new.
pub(super) async fn salvage(wreck: &mut Wreck, database: &mut Database) -> Result<(), DbError> {
    // A database of the first version has no such tables; of another, the log has said that nothing can be read.
    if !wreck.has_broker_tables().await {
        return Ok(());
    }
    let mut sessions = copy_sessions(wreck, database).await?;
    let kept = copy_deliveries(wreck, database, &mut sessions).await?;
    let retained = copy_retained(wreck, database).await?;
    save_marks(database, &sessions).await?;
    let lost = sessions.values().map(|found| found.depth).sum::<u64>().saturating_sub(kept);
    if sessions.is_empty() && retained == 0 {
        return Ok(());
    }
    warn!(
        sessions = sessions.len(),
        messages = kept,
        lost,
        retained,
        "the broker's sessions and retained messages were salvaged from the damaged database"
    );
    Ok(())
}

/// Sessions, with all that is small.
async fn copy_sessions(wreck: &mut Wreck, database: &mut Database) -> Result<BTreeMap<SessionId, Found>, DbError> {
    let mut sessions = BTreeMap::new();
    let mut last_session = wreck.last_session().await.unwrap_or(0);
    let mut after = 0;
    loop {
        let rows = next_rows(
            after,
            BEYOND,
            |row: &SessionColumns| unsigned(row.id),
            async |after, rows| wreck.sessions(after, rows).await,
        )
        .await;
        let Some(last) = rows.last() else { break };
        after = unsigned(last.id);
        last_session = last_session.max(after);
        let mut tx = database.begin().await?;
        for record in rows.into_iter().filter_map(|columns: SessionColumns| columns.check().ok()) {
            let id = record.id;
            tx.save_session(&SessionColumns::of(&record)).await?;
            let subscriptions = or_none(wreck.subscriptions(id).await);
            for (_, subscription) in subscriptions.into_iter().filter_map(|columns| columns.check().ok()) {
                tx.subscribe(&SubscriptionColumns::of(id, &subscription)).await?;
            }
            let received = or_none(wreck.received(id).await);
            let received: Vec<_> = received.iter().filter_map(|n| Some((id, u16::try_from(*n).ok()?))).collect();
            tx.receive(&received).await?;
            let recorded: BTreeSet<u64> = or_none(wreck.recorded(id).await).into_iter().collect();
            tx.wait_for_completion(&recorded.iter().map(|n| (id, *n)).collect::<Vec<_>>()).await?;
            let mark = or_none(wreck.mark(id).await);
            let found = Found {
                next_n: mark.map(|mark| mark.next_n),
                depth: mark.map_or(0, |mark| mark.depth),
                highest: recorded.last().copied().unwrap_or(0),
                recorded,
            };
            sessions.insert(id, found);
        }
        tx.commit().await?;
    }
    let mut tx = database.begin().await?;
    tx.save_last_session(last_session).await?;
    tx.commit().await?;
    Ok(sessions)
}

async fn copy_deliveries(
    wreck: &mut Wreck,
    database: &mut Database,
    sessions: &mut BTreeMap<SessionId, Found>,
) -> Result<u64, DbError> {
    let (mut kept, mut after) = (0, 0);
    loop {
        let rows =
            next_rows(after, BEYOND, |(id, _)| *id, async |after, rows| wreck.deliveries(after, rows).await).await;
        let Some((last, _)) = rows.last() else { return Ok(kept) };
        after = *last;
        let mut whole: Vec<(SessionId, u64, StoredDelivery)> = Vec::new();
        for (_, columns) in rows {
            let (session, n) = (SessionId(u64::try_from(columns.session).unwrap_or(0)), columns.number());
            let Some(found) = sessions.get_mut(&session) else { continue };
            if let Ok(delivery) = columns.check()
                && !found.recorded.contains(&n)
            {
                found.highest = found.highest.max(n);
                whole.push((session, n, delivery));
            }
        }
        kept += whole.len() as u64;
        let rows: Vec<_> = whole.iter().map(|(session, n, delivery)| DeliveryRow::of(*session, *n, delivery)).collect();
        let mut tx = database.begin().await?;
        tx.queue(&rows).await?;
        tx.commit().await?;
    }
}

async fn copy_retained(wreck: &mut Wreck, database: &mut Database) -> Result<i64, DbError> {
    let (mut kept, mut after) = (0_i64, 0);
    loop {
        let rows = next_rows(
            after,
            BEYOND,
            |row: &RetainedColumns| unsigned(row.id),
            async |after, rows| wreck.retained(after, rows).await,
        )
        .await;
        let Some(last) = rows.last() else { return Ok(kept) };
        after = unsigned(last.id);
        let whole = rows.into_iter().filter_map(|columns: RetainedColumns| columns.check().ok());
        let rows: Vec<_> = whole.zip(kept + 1..).map(|(kept, id)| RetainedColumns::of(id, &kept)).collect();
        kept += i64::try_from(rows.len()).unwrap_or(0);
        let mut tx = database.begin().await?;
        tx.retain(&rows).await?;
        tx.commit().await?;
    }
}

async fn save_marks(database: &mut Database, sessions: &BTreeMap<SessionId, Found>) -> Result<(), DbError> {
    let counted: BTreeMap<SessionId, Mark> =
        database.count_deliveries().await?.into_iter().map(|mark| (mark.session, mark)).collect();
    let marks: Vec<Mark> = sessions
        .iter()
        .map(|(session, found)| {
            let (depth, bytes) = counted.get(session).map_or((0, 0), |mark| (mark.depth, mark.bytes));
            let behind = found.highest + 1;
            let next_n = found.next_n.map_or(behind + PASSED_OVER, |next| next.max(behind));
            Mark { session: *session, next_n, depth, bytes }
        })
        .collect();
    let mut tx = database.begin().await?;
    tx.save_marks(&marks).await?;
    tx.commit().await
}

fn unsigned(id: i64) -> u64 {
    u64::try_from(id).unwrap_or(0)
}

/// What a part of the wreck has, or nothing if it can't be read.
fn or_none<T: Default>(read: Result<T, DbError>) -> T {
    read.unwrap_or_else(|problem| {
        error!(error = %problem, "a part of a session can't be read from the damaged database");
        T::default()
    })
}
