//! One shard: its queues hold numbers, a map holds the entries.

use super::CacheEntryKey;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, Ordering};

/// More uses than this are not counted.
const MOST_USES: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    Small,
    Main,
}

#[derive(Debug)]
struct Entry {
    key: CacheEntryKey,
    size: usize,
    uses: AtomicU8,
    queue: Queue,
    /// Tells a place in a queue from one that a removed entry of the same number left there.
    place: u64,
}

#[derive(Debug, Default)]
pub(super) struct Shard {
    entries: HashMap<u64, Entry>,
    small: VecDeque<(u64, u64)>,
    main: VecDeque<(u64, u64)>,
    small_size: usize,
    main_size: usize,
    /// The numbers of entries that went from the small queue, the oldest first.
    gone: VecDeque<(u64, u64)>,
    gone_at: HashMap<u64, u64>,
    places: u64,
}

/// The fate of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    New,
    /// It was there, with this size.
    Known {
        size: usize,
    },
}

impl Shard {
    pub(super) fn size_of(&self, number: u64) -> Option<usize> {
        Some(self.entries.get(&number)?.size)
    }

    /// Counts a use; whether there is such an entry.
    pub(super) fn note_use(&self, number: u64) -> bool {
        let Some(entry) = self.entries.get(&number) else {
            return false;
        };
        // Two uses at once may count as one.
        let uses = entry.uses.load(Ordering::Relaxed);
        if uses < MOST_USES {
            entry.uses.store(uses + 1, Ordering::Relaxed);
        }
        true
    }

    pub(super) fn admit(&mut self, number: u64, key: CacheEntryKey, size: usize) -> Admitted {
        if let Some(entry) = self.entries.get_mut(&number) {
            let old = std::mem::replace(&mut entry.size, size);
            entry.key = key;
            let queue = entry.queue;
            let total = self.size_mut(queue);
            *total = total.saturating_sub(old).saturating_add(size);
            return Admitted::Known { size: old };
        }
        let queue = match self.gone_at.remove(&number) {
            Some(_) => Queue::Main,
            None => Queue::Small,
        };
        self.entries.insert(
            number,
            Entry {
                key,
                size,
                uses: AtomicU8::new(0),
                queue,
                place: 0,
            },
        );
        *self.size_mut(queue) += size;
        self.enqueue(number, queue);
        Admitted::New
    }

    /// Adds to the size of an entry; by how much it grew.
    pub(super) fn grow(&mut self, number: u64, delta: usize, most: Option<usize>) -> usize {
        let Some(entry) = self.entries.get_mut(&number) else {
            return 0;
        };
        let old = entry.size;
        let grown = old.saturating_add(delta);
        // A limit does not make an entry smaller than it is.
        entry.size = most.map_or(grown, |most| grown.min(most.max(old)));
        let (more, queue) = (entry.size - old, entry.queue);
        *self.size_mut(queue) += more;
        more
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<usize> {
        let entry = self.entries.remove(&number)?;
        let total = self.size_mut(entry.queue);
        *total = total.saturating_sub(entry.size);
        Some(entry.size)
    }

    /// Takes out the entry whose turn it is; `None` if there is none.
    pub(super) fn evict(&mut self) -> Option<(CacheEntryKey, usize)> {
        // Each round takes an entry out, moves it to the main queue, or takes one of its uses.
        loop {
            let is_small_full = self.small_size > self.main_size / 9;
            let first = if is_small_full {
                Queue::Small
            } else {
                Queue::Main
            };
            let number = self
                .dequeue(first)
                .map(|number| (number, first))
                .or_else(|| {
                    let other = if is_small_full {
                        Queue::Main
                    } else {
                        Queue::Small
                    };
                    self.dequeue(other).map(|number| (number, other))
                });
            let (number, queue) = number?;
            let uses = self.entries.get(&number)?.uses.load(Ordering::Relaxed);
            match queue {
                Queue::Small if uses > 1 => self.promote(number),
                Queue::Main if uses > 0 => {
                    if let Some(entry) = self.entries.get_mut(&number) {
                        *entry.uses.get_mut() = uses - 1;
                    }
                    self.enqueue(number, Queue::Main);
                }
                _ => {
                    if queue == Queue::Small {
                        self.remember(number);
                    }
                    let entry = self.entries.remove(&number)?;
                    let total = self.size_mut(queue);
                    *total = total.saturating_sub(entry.size);
                    return Some((entry.key, entry.size));
                }
            }
        }
    }

    /// Calls `f` with each entry, in the order in which they would be admitted again.
    pub(super) fn for_each(&self, mut f: impl FnMut(&CacheEntryKey, usize)) {
        for (number, place) in self.small.iter().chain(&self.main) {
            if let Some(entry) = self.entries.get(number)
                && entry.place == *place
            {
                f(&entry.key, entry.size);
            }
        }
    }

    fn promote(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.queue = Queue::Main;
        *entry.uses.get_mut() = 0;
        let size = entry.size;
        self.small_size = self.small_size.saturating_sub(size);
        self.main_size += size;
        self.enqueue(number, Queue::Main);
    }

    fn enqueue(&mut self, number: u64, queue: Queue) {
        self.places += 1;
        let place = self.places;
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.place = place;
        }
        let entries = &self.entries;
        let queue = match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        };
        queue.push_back((number, place));
        // Removed entries leave their places behind: no more of them than there are entries.
        if queue.len() > 2 * entries.len() + 64 {
            queue.retain(|(number, place)| {
                entries
                    .get(number)
                    .is_some_and(|entry| entry.place == *place)
            });
        }
    }

    /// The first number of a queue whose entry is still there.
    fn dequeue(&mut self, queue: Queue) -> Option<u64> {
        let places = match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        };
        while let Some((number, place)) = places.pop_front() {
            let entry = self.entries.get(&number);
            if entry.is_some_and(|entry| entry.place == place) {
                return Some(number);
            }
        }
        None
    }

    /// Remembers a number; forgets the oldest ones beyond as many as there are entries.
    fn remember(&mut self, number: u64) {
        self.places += 1;
        self.gone_at.insert(number, self.places);
        self.gone.push_back((number, self.places));
        while self.gone.len() > self.entries.len() {
            let Some((number, place)) = self.gone.pop_front() else {
                return;
            };
            if self.gone_at.get(&number) == Some(&place) {
                self.gone_at.remove(&number);
            }
        }
    }

    fn size_mut(&mut self, queue: Queue) -> &mut usize {
        match queue {
            Queue::Small => &mut self.small_size,
            Queue::Main => &mut self.main_size,
        }
    }
}
