//! The dynamic table (RFC 7541 sections 2.3.2 and 4).

use std::collections::VecDeque;

use super::field::Entry;

#[derive(Debug)]
struct Slot {
    entry: Entry,
    size: usize,
}

/// The fields of earlier blocks, newest first. Never larger than its limit, with 32 bytes counted
/// per entry in addition to its name and value.
#[derive(Debug)]
pub(super) struct DynamicTable {
    slots: VecDeque<Slot>,
    size: usize,
    limit: usize,
}

impl DynamicTable {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            slots: VecDeque::new(),
            size: 0,
            limit,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The entry at this index (0 is the newest), and its size.
    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<(&Entry, usize)> {
        let slot = self.slots.get(place)?;
        Some((&slot.entry, slot.size))
    }

    /// Changes the limit, and evicts entries that no longer fit.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.make_room(0);
    }

    /// Adds an entry of `size` bytes. An entry that is larger than the whole table empties it.
    pub(super) fn insert(&mut self, entry: Entry, size: usize) {
        self.make_room(size);
        if size <= self.limit {
            self.size += size;
            self.slots.push_front(Slot { entry, size });
        }
    }

    fn make_room(&mut self, size: usize) {
        while self.size.saturating_add(size) > self.limit {
            let Some(oldest) = self.slots.pop_back() else {
                break;
            };
            self.size = self.size.saturating_sub(oldest.size);
        }
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
        }
    }
}
