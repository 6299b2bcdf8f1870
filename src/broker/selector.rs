//! What an uplink wants of each message, as the hub asks for it.

use crate::model::{Message, Monotonic, Publisher, QoS, Stamp};

/// Something that an uplink is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// At QoS 0: now or never.
    Live(Message),
    /// To be queued; `is_urgent` before what is not.
    Queued {
        /// As it leaves.
        message: Message,
        /// Which of the uplink's two queues.
        is_urgent: bool,
    },
    /// A piece of a batch: kept until its batch closes, and then queued as one message with the others.
    Piece {
        /// The batch, in a number that no other batch of this uplink has.
        batch: u64,
        /// How its pieces are put together, in a number that the store passes on.
        bundle: u8,
        /// Which of the uplink's two queues the batch is for.
        is_urgent: bool,
        /// Topic, QoS and retain flag of the batch; the payload is this piece.
        message: Message,
    },
    /// The batch has all its pieces.
    Close {
        /// Which.
        batch: u64,
    },
}

/// Chooses what an uplink gets, now and later. It must not block.
pub trait Selector: Send {
    /// A message was published.
    fn take(&mut self, by: &Publisher, message: &Message, at: Stamp, out: &mut Vec<Outgoing>);

    /// Whether it wants messages like this one, by its topic.
    fn wants(&mut self, message: &Message) -> bool;

    /// When it lets something go for no other reason than the time.
    fn next_due(&self) -> Option<Monotonic> {
        None
    }

    /// Lets go what is due.
    fn tick(&mut self, _at: Stamp, _out: &mut Vec<Outgoing>) {}

    /// Lets everything go that waits in it: the hub stops.
    fn flush(&mut self, _at: Stamp, _out: &mut Vec<Outgoing>) {}
}

/// A choice that is made of each message by itself.
impl<F: FnMut(&Message) -> Option<Message> + Send> Selector for F {
    fn wants(&mut self, message: &Message) -> bool {
        self(message).is_some()
    }

    fn take(&mut self, _by: &Publisher, message: &Message, _at: Stamp, out: &mut Vec<Outgoing>) {
        out.extend(self(message).map(|message| match message.qos {
            QoS::AtMostOnce => Outgoing::Live(message),
            _ => Outgoing::Queued { message, is_urgent: false },
        }));
    }
}
