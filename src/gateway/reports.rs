//! What the gateway says of itself: health, and gaps in what it forwards.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::broker::{HubClosed, HubHandle};
use crate::clock::Clock;
use crate::route::{GatewayTopics, HealthReport};
use crate::store::Gap;

use super::status::StatusBoard;

/// How often the state is looked at; [`HealthReport`] decides whether it is worth a message.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Publishes `{root}/gateway/health` when it is due, until `cancel`.
pub async fn health(
    board: Arc<StatusBoard>,
    topics: GatewayTopics,
    hub: HubHandle,
    clock: Clock,
    cancel: CancellationToken,
) -> Result<(), HubClosed> {
    let mut report = HealthReport::default();
    loop {
        board.beat(clock.now());
        if let Some(json) = report.due(clock.now(), &board.snapshot()) {
            let publish = hub.publish(topics.health_message(json));
            tokio::select! {
                published = publish => published?,
                () = cancel.cancelled() => return Ok(()),
            }
        }
        tokio::select! {
            () = clock.sleep(LOOK_EVERY) => {}
            () = cancel.cancelled() => return Ok(()),
        }
    }
}

/// Publishes `{root}/gateway/gap` for each episode of loss, until `cancel` or until the store has closed.
pub async fn gaps(
    mut gaps: mpsc::Receiver<Gap>,
    topics: GatewayTopics,
    hub: HubHandle,
    cancel: CancellationToken,
) -> Result<(), HubClosed> {
    loop {
        let gap = tokio::select! {
            gap = gaps.recv() => gap,
            () = cancel.cancelled() => return Ok(()),
        };
        let Some(Gap { uplink, loss }) = gap else {
            // The writer has ended; whether it should have is for its owner to tell.
            cancel.cancelled().await;
            return Ok(());
        };
        let message = topics.gap_message(&uplink, loss.dropped, [loss.from, loss.to], loss.reason.as_str());
        hub.publish(message).await?;
    }
}
