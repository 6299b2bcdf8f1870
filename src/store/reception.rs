//! What an uplink has from its cloud: the packet ids of QoS 2 messages that the cloud has not released, and what it is subscribed to.
//!
//! A message's id is kept in the commit of all that the message causes ([`Work::Received`](super::Work::Received)). Its release, and what is
//! subscribed to, come from the uplink's task and are numbered, so that it can wait for the commit that has them.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::channel::Ticket;
use super::queue::Bell;
use super::sqlite::{DbError, Transaction};
use crate::model::Filter;

/// A QoS 2 message of a cloud, by what the cloud repeats it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Intake {
    /// The uplink that it came through: an index into the list that the store was opened with.
    pub uplink: usize,
    /// Its packet id.
    pub packet_id: u16,
}

/// What is kept of what comes through one uplink, as its task has it.
#[derive(Debug)]
pub struct Reception {
    /// Which uplink.
    pub uplink: usize,
    /// The packet ids that were kept and not released when the store was opened.
    pub received: Vec<u16>,
    /// What the cloud's session was subscribed to then.
    pub subscribed: Vec<Filter>,
    /// The number of the last order that is on disk.
    pub carried_out: watch::Receiver<u64>,
    orders: Arc<Mutex<Orders>>,
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Orders {
    given: u64,
    released: Vec<u16>,
    subscribed: Option<(u64, Vec<Filter>)>,
}

impl Reception {
    /// The cloud has released a packet id: it is forgotten with the next commit. Returns the number of this order; once
    /// [`Reception::carried_out`] has come to it, PUBCOMP may be sent.
    pub fn release(&self, packet_id: u16) -> u64 {
        self.order(|orders| orders.released.push(packet_id))
    }

    /// The session at the cloud is subscribed to these, and to nothing else.
    pub fn subscribed(&self, filters: Vec<Filter>) -> u64 {
        self.order(|orders| orders.subscribed = Some((orders.given, filters)))
    }

    fn order(&self, add: impl FnOnce(&mut Orders)) -> u64 {
        let mut orders = lock(&self.orders);
        orders.given += 1;
        add(&mut orders);
        let number = orders.given;
        drop(orders);
        // The cloud waits for its PUBCOMP.
        self.bell.hurry.store(true, Ordering::Relaxed);
        self.bell.notify.notify_one();
        number
    }
}

fn lock(orders: &Mutex<Orders>) -> MutexGuard<'_, Orders> {
    // Nothing panics halfway through a change, so a poisoned lock holds sound values.
    orders.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same for all uplinks, as the writer has it.
#[derive(Debug, Default)]
pub(super) struct Receptions(Vec<Inlet>);

#[derive(Debug)]
struct Inlet {
    /// The queue's id in the database.
    id: i64,
    orders: Arc<Mutex<Orders>>,
    carried_out: watch::Sender<u64>,
    /// Ids for the next commit.
    arriving: Vec<(Ticket, u16)>,
    /// Ids of a commit that was reported as failed: they may be on disk all the same.
    undone: Vec<u16>,
}

/// What a transaction did; it counts once that is committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carried {
    inlet: usize,
    through: u64,
    released: usize,
}

impl Receptions {
    /// Adds an uplink whose queue has this id, or begins it anew.
    pub(super) fn put(
        &mut self,
        uplink: usize,
        id: i64,
        received: Vec<u16>,
        subscribed: Vec<Filter>,
        bell: Arc<Bell>,
    ) -> Reception {
        let orders = Arc::new(Mutex::new(Orders::default()));
        let (sender, carried_out) = watch::channel(0);
        let inlet = Inlet { id, orders: orders.clone(), carried_out: sender, arriving: Vec::new(), undone: Vec::new() };
        match self.0.get_mut(uplink) {
            Some(before) => *before = inlet,
            None => self.0.push(inlet),
        }
        Reception { uplink, received, subscribed, carried_out, orders, bell }
    }

    /// Takes an id for the next commit; false when there is no such uplink.
    pub(super) fn take(&mut self, ticket: Ticket, intake: Intake) -> bool {
        let inlet = self.0.get_mut(intake.uplink);
        inlet.map(|inlet| inlet.arriving.push((ticket, intake.packet_id))).is_some()
    }

    pub(super) fn has_work(&self) -> bool {
        self.0.iter().any(|inlet| {
            let orders = lock(&inlet.orders);
            let ordered = !orders.released.is_empty() || orders.subscribed.is_some();
            ordered || !inlet.arriving.is_empty() || !inlet.undone.is_empty()
        })
    }

    /// Does what there is to do in a transaction, without the ids of `excluded` tickets.
    pub(super) async fn write(
        &self,
        tx: &mut Transaction<'_>,
        excluded: &HashSet<Ticket>,
    ) -> Result<Vec<Carried>, DbError> {
        let mut carried = Vec::new();
        for (index, inlet) in self.0.iter().enumerate() {
            let (through, released, subscribed) = {
                let orders = lock(&inlet.orders);
                (orders.given, orders.released.clone(), orders.subscribed.clone())
            };
            for packet_id in inlet.undone.iter().chain(&released) {
                tx.let_go(inlet.id, *packet_id).await?;
            }
            if let Some((_, filters)) = &subscribed {
                tx.set_subscribed(inlet.id, filters).await?;
            }
            // After the releases: an id that was released for a session that is gone may be in use again.
            for (_, packet_id) in inlet.arriving.iter().filter(|(ticket, _)| !excluded.contains(ticket)) {
                tx.take_in(inlet.id, *packet_id).await?;
            }
            carried.push(Carried { inlet: index, through, released: released.len() });
        }
        Ok(carried)
    }

    /// The transaction is committed.
    pub(super) fn settle(&mut self, carried: &[Carried]) {
        for Carried { inlet, through, released } in carried {
            let inlet = &mut self.0[*inlet];
            inlet.arriving.clear();
            inlet.undone.clear();
            let mut orders = lock(&inlet.orders);
            orders.released.drain(..released);
            orders.subscribed.take_if(|(number, _)| *number <= *through);
            drop(orders);
            inlet.carried_out.send_if_modified(|before| std::mem::replace(before, *through) != *through);
        }
    }

    /// The ids that came are not kept; these are their tickets. The orders wait for another commit.
    pub(super) fn refuse(&mut self) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        for inlet in &mut self.0 {
            inlet.undone.extend(inlet.arriving.iter().map(|(_, packet_id)| *packet_id));
            tickets.extend(inlet.arriving.drain(..).map(|(ticket, _)| ticket));
        }
        tickets
    }
}
