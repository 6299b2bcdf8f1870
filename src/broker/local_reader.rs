//! Who reads a subscription of the gateway itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::local_room::LocalRoom;
use super::words::Published;
use crate::model::{Message, Publisher};

/// The way to a reader.
#[derive(Debug, Clone)]
pub(super) enum LocalReader {
    /// What finds no room is dropped and counted.
    Lossy(mpsc::Sender<Message>, Arc<AtomicU64>),
    /// What finds no room was refused by the hub before it came here.
    Kept(mpsc::Sender<(Arc<Published>, Publisher)>, Arc<LocalRoom>),
}

impl LocalReader {
    /// The room that the hub takes for it.
    pub fn room(&self) -> Option<Arc<LocalRoom>> {
        match self {
            LocalReader::Lossy(..) => None,
            LocalReader::Kept(_, room) => Some(room.clone()),
        }
    }

    /// Gives it a message. False when it is gone.
    pub fn give(&self, published: &Arc<Published>, by: Publisher) -> bool {
        match self {
            LocalReader::Lossy(sender, dropped) => match sender.try_send(published.message.clone()) {
                Err(TrySendError::Full(_)) => {
                    dropped.fetch_add(1, Ordering::Relaxed);
                    true
                }
                sent => sent.is_ok(),
            },
            // Its channel has a place for each message that there was room for, so it can only be closed.
            LocalReader::Kept(sender, _) => sender.try_send((published.clone(), by)).is_ok(),
        }
    }
}
