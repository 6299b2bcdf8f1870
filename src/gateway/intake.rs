//! Readings on their way from the buses to the hub.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::broker::{HubClosed, HubHandle};
use crate::model::{Device, DevicePoints, Message};
use crate::poll::Event;
use crate::route::ReadingRouter;

/// What can be asked of the intake, between two readings.
pub enum Request {
    /// How the points of every device are doing.
    Points(oneshot::Sender<Vec<DevicePoints>>),
    /// From now on these are the devices. The tasks of buses that are changed have ended.
    Devices(Vec<Arc<Device>>),
}

/// Publishes what the buses report until the last bus has ended. While the hub has no room it waits, and so do the buses.
pub async fn run(
    mut events: mpsc::Receiver<Event>,
    mut requests: mpsc::Receiver<Request>,
    mut router: ReadingRouter,
    hub: HubHandle,
) -> Result<(), HubClosed> {
    loop {
        let messages = tokio::select! {
            event = events.recv() => match event {
                Some(event) => of_event(&mut router, &event),
                None => return Ok(()),
            },
            Some(request) = requests.recv() => {
                // What those who have ended had to say comes first: it is about the devices as they were.
                for _ in 0..events.len() {
                    if let Ok(event) = events.try_recv() {
                        for message in of_event(&mut router, &event) {
                            hub.publish(message).await?;
                        }
                    }
                }
                of_request(&mut router, request)
            }
        };
        for message in messages {
            hub.publish(message).await?;
        }
    }
}

fn of_event(router: &mut ReadingRouter, event: &Event) -> Vec<Message> {
    match event {
        Event::Round(round) => router.round(round),
        Event::Availability { device, online, .. } => router.availability(&device.name, *online).into_iter().collect(),
    }
}

fn of_request(router: &mut ReadingRouter, request: Request) -> Vec<Message> {
    match request {
        Request::Points(answer) => {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(router.points());
            Vec::new()
        }
        Request::Devices(devices) => router.replace(devices.iter()).unwrap_or_else(|error| {
            error!(%error, "the devices stay as they were: a topic of a new one is too long for MQTT");
            Vec::new()
        }),
    }
}
