//! One shard of the index: whole responses, and those that are being written, by name.

use super::body::{Body, Fill};
use crate::CacheMeta;
use crate::key::{HashBinary, Name};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

/// A key has at most this many variants.
const MOST_VARIANTS: usize = 64;

/// A whole response.
#[derive(Debug)]
pub(super) struct Stored {
    id: u64,
    pub(super) meta: CacheMeta,
    pub(super) body: Body,
    pub(super) weight: usize,
    /// It was read since it last had its turn.
    read: AtomicBool,
    hits: AtomicU64,
}

impl Stored {
    pub(super) fn new(id: u64, meta: CacheMeta, body: Body, weight: usize) -> Self {
        Stored {
            id,
            meta,
            body,
            weight,
            read: AtomicBool::new(false),
            hits: AtomicU64::new(0),
        }
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Somebody reads it. On the same cache line as the counts of references, which change anyway.
    pub(super) fn count_hit(&self, is_bounded: bool) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        if is_bounded && !self.read.load(Ordering::Relaxed) {
            self.read.store(true, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) variance: Option<HashBinary>,
    pub(super) whole: Option<Stored>,
    /// The newest is last.
    pub(super) filling: Vec<Arc<Fill>>,
}

impl Slot {
    fn is_empty(&self) -> bool {
        self.whole.is_none() && self.filling.is_empty()
    }

    /// Removes what is there. `outdate`: what is being written is not kept either.
    fn clear(&mut self, outdate: bool, removed: &mut Removed) {
        if let Some(whole) = self.whole.take() {
            removed.bytes += whole.weight;
            removed.found = true;
        }
        if outdate {
            for fill in self.filling.drain(..) {
                fill.outdated.store(true, Ordering::Relaxed);
                removed.found = true;
            }
        }
    }
}

/// The entries that were removed.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub(super) found: bool,
    pub(super) bytes: usize,
}

/// The variants of a key; most have one.
#[derive(Debug)]
pub(super) struct Family {
    /// The text of the key.
    pub(super) key: Bytes,
    pub(super) slots: Vec<Slot>,
}

/// A shard of the index.
#[derive(Debug, Default)]
pub(super) struct Shard {
    families: HashMap<HashBinary, Family>,
    /// The order of eviction, of a bounded storage. Some of these are gone.
    queue: VecDeque<(Name, u64)>,
    whole: usize,
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.whole
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &HashBinary> {
        self.families.keys()
    }

    pub(super) fn family(&self, primary: &HashBinary) -> Option<&Family> {
        self.families.get(primary)
    }

    fn slot(&self, name: &Name) -> Option<&Slot> {
        let mut slots = self.families.get(&name.primary)?.slots.iter();
        slots.find(|slot| slot.variance == name.variance)
    }

    fn slot_mut(&mut self, name: &Name) -> Option<&mut Slot> {
        let mut slots = self.families.get_mut(&name.primary)?.slots.iter_mut();
        slots.find(|slot| slot.variance == name.variance)
    }

    pub(super) fn stored(&self, name: &Name) -> Option<&Stored> {
        self.slot(name)?.whole.as_ref()
    }

    pub(super) fn fills(&self, name: &Name) -> impl Iterator<Item = &Arc<Fill>> {
        self.slot(name)
            .into_iter()
            .flat_map(|slot| slot.filling.iter())
    }

    pub(super) fn filling(&self, name: &Name) -> Option<&Arc<Fill>> {
        self.slot(name)?.filling.last()
    }

    pub(super) fn begin(&mut self, name: &Name, key: &[u8], fill: Arc<Fill>) {
        let family = self.families.entry(name.primary);
        let family = family.or_insert_with(|| Family {
            key: Bytes::copy_from_slice(key),
            // Most keys have one variant; a vector that grows by itself has room for four.
            slots: Vec::with_capacity(1),
        });
        let slots = &mut family.slots;
        match slots.iter_mut().find(|slot| slot.variance == name.variance) {
            Some(slot) => slot.filling.push(fill),
            None => slots.push(Slot {
                variance: name.variance,
                whole: None,
                filling: vec![fill],
            }),
        }
    }

    /// A fill is whole. Whether it was kept, and how many bytes it took the place of.
    pub(super) fn finish(
        &mut self,
        name: &Name,
        fill: &Arc<Fill>,
        stored: Stored,
        is_bounded: bool,
    ) -> (bool, usize) {
        let (id, weight) = (stored.id, stored.weight);
        let outdated = fill.outdated.load(Ordering::Relaxed);
        let slot = self.slot_mut(name).filter(|_| !outdated);
        let Some(slot) = slot else {
            self.forget(name, fill);
            return (false, weight);
        };
        slot.filling.retain(|it| !Arc::ptr_eq(it, fill));
        // Most entries are never written again.
        slot.filling.shrink_to_fit();
        let replaced = slot.whole.replace(stored);
        let mut freed = replaced.map_or(0, |old| old.weight);
        if freed == 0 {
            self.whole += 1;
        }
        if is_bounded {
            self.queue.push_back((*name, id));
            if self.queue.len() > 2 * self.whole + 64 {
                self.sweep_queue();
            }
        }
        freed += self.drop_oldest_variant(name);
        (true, freed)
    }

    fn sweep_queue(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        queue.retain(|(name, id)| self.stored(name).is_some_and(|it| it.id == *id));
        self.queue = queue;
    }

    fn drop_oldest_variant(&mut self, name: &Name) -> usize {
        let Some(family) = self.families.get_mut(&name.primary) else {
            return 0;
        };
        let slots = &mut family.slots;
        if slots.len() <= MOST_VARIANTS {
            return 0;
        }
        // The slot without a variant leads to the others.
        let variants = slots.iter_mut().filter(|slot| slot.variance.is_some());
        let ages = variants.filter_map(|slot| Some((slot.whole.as_ref()?.id, slot)));
        let Some((_, oldest)) = ages.min_by_key(|(id, _)| *id) else {
            return 0;
        };
        let mut removed = Removed::default();
        oldest.clear(false, &mut removed);
        slots.retain(|slot| !slot.is_empty());
        self.whole -= 1;
        removed.bytes
    }

    /// A fill is over, and what it wrote is not kept.
    pub(super) fn forget(&mut self, name: &Name, fill: &Arc<Fill>) {
        if let Some(slot) = self.slot_mut(name) {
            slot.filling.retain(|it| !Arc::ptr_eq(it, fill));
            self.tidy(name);
        }
    }

    fn tidy(&mut self, name: &Name) {
        if let Some(family) = self.families.get_mut(&name.primary) {
            family.slots.retain(|slot| !slot.is_empty());
            if family.slots.is_empty() {
                self.families.remove(&name.primary);
            }
        }
    }

    pub(super) fn remove(&mut self, name: &Name, outdate: bool) -> Removed {
        let mut removed = Removed::default();
        if let Some(slot) = self.slot_mut(name) {
            slot.clear(outdate, &mut removed);
            self.whole -= usize::from(removed.bytes > 0);
            self.tidy(name);
        }
        removed
    }

    /// Removes all variants of a key.
    pub(super) fn remove_family(&mut self, name: &Name) -> Removed {
        let mut removed = Removed::default();
        let family = self.families.remove(&name.primary);
        for mut slot in family.into_iter().flat_map(|family| family.slots) {
            self.whole -= usize::from(slot.whole.is_some());
            slot.clear(true, &mut removed);
        }
        removed
    }

    /// Makes a variant, or without one all of a key, expire. An entry being written is not kept.
    pub(super) fn expire(&mut self, name: &Name, at: SystemTime) -> bool {
        let mut found = false;
        let family = self.families.get_mut(&name.primary);
        for slot in family.into_iter().flat_map(|family| &mut family.slots) {
            if name.variance.is_some() && slot.variance != name.variance {
                continue;
            }
            for fill in slot.filling.drain(..) {
                fill.outdated.store(true, Ordering::Relaxed);
                found = true;
            }
            if let Some(whole) = &mut slot.whole {
                if whole.meta.is_fresh(at) {
                    whole.meta.expire_at(at);
                }
                found = true;
            }
        }
        self.tidy(name);
        found
    }

    pub(super) fn replace_meta(&mut self, name: &Name, meta: &CacheMeta) -> bool {
        match self.slot_mut(name).and_then(|slot| slot.whole.as_mut()) {
            Some(whole) => {
                whole.meta = meta.clone();
                true
            }
            None => false,
        }
    }

    /// Evicts the next one that was not read since its last turn; how many bytes that frees.
    /// `None` if each was, or there is none.
    pub(super) fn evict_one(&mut self) -> Option<usize> {
        for _ in 0..self.queue.len() {
            let (name, id) = self.queue.pop_front()?;
            let Some(stored) = self.stored(&name).filter(|it| it.id == id) else {
                continue;
            };
            if stored.read.swap(false, Ordering::Relaxed) {
                self.queue.push_back((name, id));
                continue;
            }
            return Some(self.remove(&name, false).bytes);
        }
        None
    }
}
