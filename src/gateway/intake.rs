//! Readings on their way from the buses to the hub.

use tokio::sync::mpsc;

use crate::broker::{HubClosed, HubHandle};
use crate::poll::Event;
use crate::route::ReadingRouter;

/// Publishes what the buses report until the last bus has ended. While the hub has no room it waits, and so do the buses.
///
/// A device's availability is published before its points when it returns, and before their faults when it goes.
pub async fn run(
    mut events: mpsc::Receiver<Event>,
    mut router: ReadingRouter,
    hub: HubHandle,
) -> Result<(), HubClosed> {
    while let Some(event) = events.recv().await {
        match event {
            Event::Round(round) => {
                for message in router.round(&round) {
                    hub.publish(message).await?;
                }
            }
            Event::Availability { device, online, .. } => {
                if let Some(message) = router.availability(&device.name, online) {
                    hub.publish(message).await?;
                }
            }
        }
    }
    Ok(())
}
