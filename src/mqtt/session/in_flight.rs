//! What has been sent and not acknowledged, in the order of sending, found by packet id.
//!
//! A doubly linked list laid in a vector, and a table from id to place: an acknowledgement costs the same wherever its message
//! stands, and nothing moves. The table is found by the low bits of the id and doubles when two ids in use share them: ids are given out in
//! a row, so it stays as small as the distance between the oldest and the newest, whatever their numbers.

/// No place.
const NONE: u16 = u16::MAX;
/// Ids in the first table.
const LEAST: usize = 16;

/// Items by packet id, in order of insertion. Holds at most 65,534.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    slots: Vec<Slot<T>>,
    /// By the low bits of an id, the place of the one in use that has them, or [`NONE`]. Its length is a power of two, or 0.
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
        let place = *self.by_id.get(self.low_bits(id))?;
        (place != NONE && self.slots[usize::from(place)].id == id).then_some(usize::from(place))
    }

    fn low_bits(&self, id: u16) -> usize {
        usize::from(id) & self.by_id.len().saturating_sub(1)
    }

    /// Makes the table large enough that nobody else in use has the low bits of `id`.
    fn make_room(&mut self, id: u16) {
        while self.by_id.get(self.low_bits(id)).is_none_or(|place| *place != NONE) {
            let len = (self.by_id.len() * 2).max(LEAST);
            self.by_id.clear();
            self.by_id.resize(len, NONE);
            let mut at = self.first;
            while at != NONE {
                let slot = &self.slots[usize::from(at)];
                let (bits, next) = (self.low_bits(slot.id), slot.next);
                self.by_id[bits] = at;
                at = next;
            }
        }
    }

    pub fn contains(&self, id: u16) -> bool {
        self.place(id).is_some()
    }

    pub fn get(&self, id: u16) -> Option<&T> {
        self.slots[self.place(id)?].item.as_ref()
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
        self.make_room(id);
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
        let bits = self.low_bits(id);
        self.by_id[bits] = place;
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
        let bits = self.low_bits(id);
        self.by_id[bits] = NONE;
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

    #[test]
    fn ids_that_go_round_need_a_table_for_their_window_alone() {
        let mut tested = InFlight::default();
        for n in 0..200_000u32 {
            tested.push(1 + (n % 60_000) as u16, n).unwrap();
            if n >= 100 {
                assert_eq!(tested.remove(1 + ((n - 100) % 60_000) as u16), Some(n - 100));
            }
        }
        // At the wrap, ids from both ends of the range are in flight together.
        assert_eq!((tested.len(), tested.by_id.len(), tested.slots.len()), (100, 1_024, 101));
    }
}
