//! The entries of one stripe: a slab that contains two kinds of linked lists, one per key and one
//! by age. Every operation takes constant time, and none allocates once the slab has grown.

use super::RuntimeId;
use super::watch::{Index, SlotWaker};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::task::Waker;
use tokio::time::Instant;

/// An idle connection.
pub(super) struct Entry<S> {
    pub(super) item: S,
    pub(super) key: u64,
    pub(super) runtime: RuntimeId,
    /// Whether the slot's waker is registered with the connection.
    pub(super) is_watched: bool,
    /// The start of its idle time; `None` if that is not needed.
    pub(super) idle_since: Option<Instant>,
    pub(super) deadline: Option<Instant>,
}

impl<S> Entry<S> {
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// In place of an index: there is none.
const NONE: Index = Index::MAX;

/// Neighbours in one list. The head of a list has no previous one.
#[derive(Clone, Copy)]
struct Links {
    previous: Index,
    next: Index,
}

const UNLINKED: Links = Links {
    previous: NONE,
    next: NONE,
};

struct Slot<S> {
    entry: Option<Entry<S>>,
    /// Created once, for any entry in the slot.
    watch: Arc<SlotWaker>,
    /// Wakes `watch`.
    waker: Waker,
    /// Among the entries with the same key, youngest first. In an empty slot, `next` is the next
    /// empty one.
    by_key: Links,
    /// Among all entries, youngest first.
    by_age: Links,
}

/// Keys are already hashes; this only spreads small numbers that a user may have chosen.
#[derive(Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte) ^ self.0);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (n ^ (n >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) struct Slots<S> {
    slots: Vec<Slot<S>>,
    /// The first empty slot.
    empty: Index,
    /// The youngest entry of each key.
    keys: HashMap<u64, Index, BuildHasherDefault<KeyHasher>>,
    youngest: Index,
    oldest: Index,
    len: usize,
}

impl<S> Slots<S> {
    pub(super) fn new() -> Self {
        Slots {
            slots: Vec::new(),
            empty: NONE,
            keys: HashMap::default(),
            youngest: NONE,
            oldest: NONE,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slot for the next entry; `watch` creates its watch if the slot is new.
    pub(super) fn next_empty(&mut self, watch: impl FnOnce(Index) -> SlotWaker) -> Index {
        if self.empty == NONE {
            let index = self.slots.len() as Index;
            let watch = Arc::new(watch(index));
            self.slots.push(Slot {
                entry: None,
                waker: Waker::from(watch.clone()),
                watch,
                by_key: UNLINKED,
                by_age: UNLINKED,
            });
            self.empty = index;
        }
        self.empty
    }

    /// The waker of a slot, for an entry on which nothing has happened yet.
    pub(super) fn fresh_waker(&self, index: Index) -> &Waker {
        let slot = &self.slots[index as usize];
        slot.watch.reset();
        &slot.waker
    }

    /// The entry in a slot, if there is one, and the slot's waker.
    pub(super) fn entry_mut(&mut self, index: Index) -> Option<(&mut Entry<S>, &Waker)> {
        let slot = self.slots.get_mut(index as usize)?;
        Some((slot.entry.as_mut()?, &slot.waker))
    }

    /// Whether something may have happened to the entry in a slot.
    pub(super) fn was_woken(&self, index: Index) -> bool {
        self.slots
            .get(index as usize)
            .is_some_and(|slot| slot.watch.was_woken())
    }

    /// Puts `entry` into the slot that [`next_empty`](Slots::next_empty) returned.
    pub(super) fn fill(&mut self, index: Index, entry: Entry<S>) {
        let same_key = self.keys.insert(entry.key, index).unwrap_or(NONE);
        let older = std::mem::replace(&mut self.youngest, index);
        let slot = &mut self.slots[index as usize];
        self.empty = slot.by_key.next;
        slot.by_key = Links {
            previous: NONE,
            next: same_key,
        };
        slot.by_age = Links {
            previous: NONE,
            next: older,
        };
        slot.entry = Some(entry);
        if let Some(slot) = self.slots.get_mut(same_key as usize) {
            slot.by_key.previous = index;
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.by_age.previous = index,
            None => self.oldest = index,
        }
        self.len += 1;
    }

    /// Takes an entry out of its slot.
    pub(super) fn remove(&mut self, index: Index) -> Option<Entry<S>> {
        let slot = self.slots.get_mut(index as usize)?;
        let entry = slot.entry.take()?;
        let (by_key, by_age) = (slot.by_key, slot.by_age);
        slot.by_age = UNLINKED;
        slot.by_key = Links {
            previous: NONE,
            next: std::mem::replace(&mut self.empty, index),
        };

        if let Some(next) = self.slots.get_mut(by_key.next as usize) {
            next.by_key.previous = by_key.previous;
        }
        match self.slots.get_mut(by_key.previous as usize) {
            Some(previous) => previous.by_key.next = by_key.next,
            None if by_key.next == NONE => drop(self.keys.remove(&entry.key)),
            None => drop(self.keys.insert(entry.key, by_key.next)),
        }
        match self.slots.get_mut(by_age.next as usize) {
            Some(next) => next.by_age.previous = by_age.previous,
            None => self.oldest = by_age.previous,
        }
        match self.slots.get_mut(by_age.previous as usize) {
            Some(previous) => previous.by_age.next = by_age.next,
            None => self.youngest = by_age.next,
        }
        self.len -= 1;
        Some(entry)
    }

    /// The youngest entry under `key`.
    pub(super) fn first(&self, key: u64) -> Option<Index> {
        self.keys.get(&key).copied()
    }

    /// The next older entry under the same key.
    pub(super) fn after(&self, index: Index) -> Option<Index> {
        let next = self.slots.get(index as usize)?.by_key.next;
        (next != NONE).then_some(next)
    }

    /// The entry that was put in first.
    pub(super) fn oldest(&self) -> Option<Index> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The entries whose connections have no waker of ours.
    pub(super) fn unwatched(&self) -> Vec<Index> {
        let unwatched = self.iter().filter(|(_, entry)| !entry.is_watched);
        unwatched.map(|(index, _)| index).collect()
    }

    /// Every entry with its slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Index, &Entry<S>)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((index as Index, slot.entry.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: u64, item: u32) -> Entry<u32> {
        Entry {
            item,
            key,
            runtime: None,
            is_watched: true,
            idle_since: None,
            deadline: None,
        }
    }

    fn put(slots: &mut Slots<u32>, key: u64, item: u32) -> Index {
        let index = slots.next_empty(|slot| SlotWaker::new(Arc::default(), slot));
        slots.fill(index, entry(key, item));
        index
    }

    fn of_key(slots: &mut Slots<u32>, key: u64) -> Vec<u32> {
        let mut items = Vec::new();
        let mut at = slots.first(key);
        while let Some(index) = at {
            items.push(slots.entry_mut(index).unwrap().0.item);
            at = slots.after(index);
        }
        items
    }

    #[test]
    fn lists_stay_whole_whatever_is_removed() {
        let mut model: Vec<(u64, u32, Index)> = Vec::new();
        let mut slots = Slots::new();
        let mut random = fastrand::Rng::with_seed(7);
        for item in 0..4000 {
            if model.len() < 3 || random.u8(..) < 130 {
                let key = random.u64(..4);
                model.push((key, item, put(&mut slots, key, item)));
            } else {
                let (key, item, index) = model.remove(random.usize(..model.len()));
                let removed = slots.remove(index).unwrap();
                assert_eq!((removed.key, removed.item), (key, item));
                assert!(slots.remove(index).is_none());
            }
            assert_eq!(slots.len(), model.len());
            assert_eq!(slots.oldest(), model.first().map(|m| m.2));
            for key in 0..4 {
                let expected: Vec<u32> = model
                    .iter()
                    .rev()
                    .filter(|m| m.0 == key)
                    .map(|m| m.1)
                    .collect();
                assert_eq!(of_key(&mut slots, key), expected);
            }
        }
        assert!(
            slots.slots.len() < 400,
            "slots are used again: {}",
            slots.slots.len()
        );
        while let Some(oldest) = slots.oldest() {
            slots.remove(oldest);
        }
        assert!(slots.keys.is_empty() && slots.len() == 0 && slots.youngest == NONE);
    }
}
