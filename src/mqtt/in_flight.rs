//! What has been sent and not acknowledged, in the order of sending, found by packet id.
//!
//! A doubly linked list laid in a vector, and a table from id to place: an acknowledgement costs the same wherever its message
//! stands, and nothing moves. Memory follows the most that were in flight at once and the highest id used.

/// No place.
const NONE: u16 = u16::MAX;

/// Items by packet id, in order of insertion. Holds at most 65,534.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    slots: Vec<Slot<T>>,
    /// The place of each id, [`NONE`] when it is not in use; as long as the highest id so far needs.
    by_id: Vec<u16>,
    free: u16,
    first: u16,
    last: u16,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    id: u16,
    previous: u16,
    /// The next in order, or the next free slot.
    next: u16,
    item: Option<T>,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        InFlight { slots: Vec::new(), by_id: Vec::new(), free: NONE, first: NONE, last: NONE, len: 0 }
    }
}

impl<T> InFlight<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    fn place(&self, id: u16) -> Option<usize> {
        match self.by_id.get(usize::from(id)) {
            Some(&place) if place != NONE => Some(usize::from(place)),
            _ => None,
        }
    }

    pub fn contains(&self, id: u16) -> bool {
        self.place(id).is_some()
    }

    pub fn get_mut(&mut self, id: u16) -> Option<&mut T> {
        let place = self.place(id)?;
        self.slots[place].item.as_mut()
    }

    /// Appends; gives the item back when the id is in use or the table is full.
    pub fn push(&mut self, id: u16, item: T) -> Result<(), T> {
        if self.contains(id) || (self.free == NONE && self.slots.len() >= usize::from(NONE)) {
            return Err(item);
        }
        let slot = Slot { id, previous: self.last, next: NONE, item: Some(item) };
        let place = if self.free == NONE {
            self.slots.push(slot);
            (self.slots.len() - 1) as u16
        } else {
            let place = self.free;
            self.free = self.slots[usize::from(place)].next;
            self.slots[usize::from(place)] = slot;
            place
        };
        match self.last {
            NONE => self.first = place,
            last => self.slots[usize::from(last)].next = place,
        }
        self.last = place;
        if self.by_id.len() <= usize::from(id) {
            self.by_id.resize(usize::from(id) + 1, NONE);
        }
        self.by_id[usize::from(id)] = place;
        self.len += 1;
        Ok(())
    }

    pub fn remove(&mut self, id: u16) -> Option<T> {
        let place = self.place(id)?;
        let (previous, next) = (self.slots[place].previous, self.slots[place].next);
        match previous {
            NONE => self.first = next,
            previous => self.slots[usize::from(previous)].next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.slots[usize::from(next)].previous = previous,
        }
        self.by_id[usize::from(id)] = NONE;
        self.len -= 1;
        let slot = &mut self.slots[place];
        slot.next = self.free;
        self.free = place as u16;
        slot.item.take()
    }

    /// The oldest.
    pub fn first(&self) -> Option<(u16, &T)> {
        self.iter().next()
    }

    /// The id after `id` in order; the oldest after `None`.
    pub fn following(&self, id: Option<u16>) -> Option<u16> {
        let next = match id {
            None => self.first,
            Some(id) => self.slots[self.place(id)?].next,
        };
        (next != NONE).then(|| self.slots[usize::from(next)].id)
    }

    /// The id before `id` in order; `None` for the oldest.
    pub fn previous(&self, id: u16) -> Option<u16> {
        let previous = self.slots[self.place(id)?].previous;
        (previous != NONE).then(|| self.slots[usize::from(previous)].id)
    }

    /// All, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        let mut at = self.first;
        std::iter::from_fn(move || {
            let slot = self.slots.get(usize::from(at))?;
            at = slot.next;
            slot.item.as_ref().map(|item| (slot.id, item))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_like_a_list_searched_by_id(steps in prop::collection::vec((any::<bool>(), 1u16..40), 0..400)) {
            let mut tested = InFlight::default();
            let mut model: VecDeque<(u16, usize)> = VecDeque::new();
            for (n, (push, id)) in steps.into_iter().enumerate() {
                if push {
                    let expected = if model.iter().any(|(i, _)| *i == id) { Err(n) } else { model.push_back((id, n)); Ok(()) };
                    prop_assert_eq!(tested.push(id, n), expected);
                } else {
                    let at = model.iter().position(|(i, _)| *i == id);
                    prop_assert_eq!(tested.remove(id), at.and_then(|at| model.remove(at)).map(|(_, n)| n));
                }
                prop_assert_eq!(tested.len(), model.len());
                prop_assert!(tested.iter().map(|(id, n)| (id, *n)).eq(model.iter().copied()));
            }
            prop_assert!(tested.slots.len() <= 40);
        }
    }
}
