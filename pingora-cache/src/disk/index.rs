//! The index of stored entries, in memory: from digests to the numbers of files.

use super::fill::Fill;
use crate::inspect::{Listing, keys_after};
use crate::key::{HashBinary, Name};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 64;
/// More variants of a key are not kept: one more drops the oldest.
const MOST_VARIANTS: usize = 64;

/// An entry that is whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) variance: Option<HashBinary>,
    pub(super) id: u64,
    /// Its size on the disk, in bytes.
    pub(super) size: u64,
    /// Whether its body is known to be what was written.
    pub(super) is_verified: bool,
    /// Whether its body was read by this process, and is what was written.
    pub(super) is_checked: bool,
    /// Whether its metadata is in a file of its own.
    pub(super) is_updated: bool,
    /// The number of look-ups that found it since the process began.
    pub(super) hits: u64,
}

/// All variants of a key.
#[derive(Debug, Default)]
struct Family {
    slots: Vec<Slot>,
    /// The last is the newest.
    fills: Vec<Arc<Fill>>,
}

#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[Mutex<HashMap<HashBinary, Family>>]>,
}

/// Entries that were taken out of the index and have to be removed from the disk.
pub(super) type Removed = Vec<(Name, u64)>;

impl Index {
    pub(super) fn new() -> Self {
        Index {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "it is a remainder by the number of shards"
    )]
    fn shard(&self, primary: &HashBinary) -> MutexGuard<'_, HashMap<HashBinary, Family>> {
        let [first, ..] = primary;
        let shard = &self.shards[usize::from(*first) % SHARDS];
        // A panic elsewhere while the lock was held leaves a map that is whole.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digests of keys that a listing looks at.
    pub(super) fn keys_after(&self, listing: &Listing) -> Vec<HashBinary> {
        keys_after(listing, self.shards.iter(), |shard, note| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.keys().for_each(note);
        })
    }

    /// All that there is of a key.
    pub(super) fn family(&self, primary: &HashBinary) -> (Vec<Slot>, Vec<Arc<Fill>>) {
        let shard = self.shard(primary);
        let family = shard.get(primary);
        family.map_or_else(Default::default, |family| {
            (family.slots.clone(), family.fills.clone())
        })
    }

    /// The entry that a look-up finds; counts it.
    pub(super) fn hit(&self, name: &Name) -> Option<Slot> {
        let mut shard = self.shard(&name.primary);
        let slots = &mut shard.get_mut(&name.primary)?.slots;
        let slot = slots
            .iter_mut()
            .find(|slot| slot.variance == name.variance)?;
        slot.hits = slot.hits.saturating_add(1);
        Some(*slot)
    }

    pub(super) fn slot(&self, name: &Name) -> Option<Slot> {
        let shard = self.shard(&name.primary);
        let slots = &shard.get(&name.primary)?.slots;
        slots
            .iter()
            .find(|slot| slot.variance == name.variance)
            .copied()
    }

    /// The newest response for this name that is still being written, and not outdated.
    pub(super) fn filling(&self, name: &Name) -> Option<Arc<Fill>> {
        let shard = self.shard(&name.primary);
        let fills = shard.get(&name.primary)?.fills.iter().rev();
        fills
            .into_iter()
            .find(|fill| fill.name == *name && !fill.is_outdated())
            .cloned()
    }

    pub(super) fn fill(&self, name: &Name, id: u64) -> Option<Arc<Fill>> {
        let shard = self.shard(&name.primary);
        let mut fills = shard.get(&name.primary)?.fills.iter();
        fills.find(|fill| fill.id == id).cloned()
    }

    pub(super) fn begin(&self, fill: Arc<Fill>) {
        let mut shard = self.shard(&fill.name.primary);
        shard.entry(fill.name.primary).or_default().fills.push(fill);
    }

    /// The fill has come to its end. If it is whole and not outdated, its slot replaces an older one.
    /// Returns whether it is stored, and the entries that were removed for it.
    pub(super) fn end(&self, fill: &Fill, slot: Option<Slot>) -> (bool, Removed) {
        let mut shard = self.shard(&fill.name.primary);
        let Entry::Occupied(mut family) = shard.entry(fill.name.primary) else {
            return (false, Removed::new());
        };
        family.get_mut().fills.retain(|other| other.id != fill.id);
        let mut removed = Removed::new();
        let slot = slot.filter(|_| !fill.is_outdated());
        let is_stored = slot.is_some_and(|slot| {
            insert(&mut family.get_mut().slots, &fill.name, slot, &mut removed)
        });
        if family.get().slots.is_empty() && family.get().fills.is_empty() {
            family.remove();
        }
        (is_stored, removed)
    }

    /// Adds an entry that was found on the disk. Returns whether it is the newest, and what has gone instead.
    pub(super) fn found(&self, name: &Name, slot: Slot) -> (bool, Removed) {
        let mut shard = self.shard(&name.primary);
        let family = shard.entry(name.primary).or_default();
        let mut removed = Removed::new();
        let is_newest = insert(&mut family.slots, name, slot, &mut removed);
        (is_newest, removed)
    }

    /// Changes what is known of an entry; whether it is still there.
    pub(super) fn change(&self, name: &Name, id: u64, change: impl FnOnce(&mut Slot)) -> bool {
        let mut shard = self.shard(&name.primary);
        let slots = shard.get_mut(&name.primary).map(|family| &mut family.slots);
        let slot = slots.and_then(|slots| slots.iter_mut().find(|slot| slot.id == id));
        slot.map(change).is_some()
    }

    /// Takes out an entry with this number, or, without one, with any number. Without a variant and a number, takes
    /// out all variants; entries that are being written for them are outdated.
    pub(super) fn remove(&self, name: &Name, id: Option<u64>, outdate: bool) -> Removed {
        let mut shard = self.shard(&name.primary);
        let Entry::Occupied(mut family) = shard.entry(name.primary) else {
            return Removed::new();
        };
        let is_meant = |variance: Option<HashBinary>, other: u64| match id {
            Some(id) => other == id,
            None => variance == name.variance || (outdate && name.variance.is_none()),
        };
        let primary = name.primary;
        let mut removed = Removed::new();
        family.get_mut().slots.retain(|slot| {
            let is_meant = is_meant(slot.variance, slot.id);
            if is_meant {
                let variance = slot.variance;
                removed.push((Name { primary, variance }, slot.id));
            }
            !is_meant
        });
        if outdate {
            for fill in &family.get().fills {
                if is_meant(fill.name.variance, fill.id) {
                    fill.outdate();
                }
            }
        }
        if family.get().slots.is_empty() && family.get().fills.is_empty() {
            family.remove();
        }
        removed
    }

    /// Whether anything of this key is being written.
    pub(super) fn has_fills(&self, name: &Name) -> bool {
        let shard = self.shard(&name.primary);
        let family = shard.get(&name.primary);
        family.is_some_and(|family| !family.fills.is_empty())
    }
}

/// Whether the slot is the newest of its variant, and therefore in now.
fn insert(slots: &mut Vec<Slot>, name: &Name, slot: Slot, removed: &mut Removed) -> bool {
    let primary = name.primary;
    if let Some(old) = slots.iter_mut().find(|old| old.variance == slot.variance) {
        // An earlier process's clock may have been ahead: what was found does not outlive what was fetched.
        if old.id > slot.id && (old.is_verified || !slot.is_verified) {
            return false;
        }
        let variance = old.variance;
        removed.push((Name { primary, variance }, old.id));
        *old = slot;
        return true;
    }
    if slots.len() >= MOST_VARIANTS {
        let oldest = slots.iter().enumerate().min_by_key(|(_, slot)| slot.id);
        if let Some((at, _)) = oldest {
            let old = slots.swap_remove(at);
            let variance = old.variance;
            removed.push((Name { primary, variance }, old.id));
        }
    }
    // Most keys have one variant: no room for more until there are.
    slots.reserve_exact(1);
    slots.push(slot);
    true
}
