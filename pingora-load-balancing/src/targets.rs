//! The registry's record of the members of its sets.

use crate::load::Load;
use crate::registry::{Target, lock};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// The registry's own record of one target: it keeps a target no longer than others do.
pub(crate) struct Entry {
    pub(crate) target: Weak<Target>,
    /// Outlives the target, so that requests in progress are still counted when their backend comes back.
    pub(crate) load: Weak<Load>,
}

impl Entry {
    fn is_gone(&self) -> bool {
        self.target.strong_count() == 0 && self.load.strong_count() == 0
    }
}

/// All targets, by the key of their backend. Only locked briefly: never across an await, or while
/// calling user code.
#[derive(Default)]
pub(crate) struct Targets(Mutex<HashMap<u64, Entry>>);

impl Targets {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        lock(&self.0)
    }

    /// Forgets targets that are no longer in use.
    pub(crate) fn forget_the_gone(&self) {
        self.lock().retain(|_, entry| !entry.is_gone());
    }

    /// All targets that are still in use; forgets the others.
    pub(crate) fn live(&self) -> Vec<Arc<Target>> {
        let mut live = Vec::new();
        self.lock().retain(|_, entry| {
            live.extend(entry.target.upgrade());
            !entry.is_gone()
        });
        live
    }

    /// Calls `eject` if one more target may be ejected, so that at most this share of them is; returns
    /// whether it did.
    pub(crate) fn may_eject(&self, share: f64, eject: &mut dyn FnMut()) -> bool {
        let targets = self.lock();
        let (mut all, mut ejected) = (0_usize, 1_usize);
        for target in targets.values().filter_map(|entry| entry.target.upgrade()) {
            all += 1;
            ejected += usize::from(!target.load().circuit.is_closed());
        }
        let may = ejected as f64 <= share * all as f64;
        if may {
            eject();
        }
        may
    }
}
