//! The table of the locks that are held.

use super::{CacheKeyLock, LockStatus, LockStub, Locked, WritePermit};
use crate::CacheKey;
use crate::key::{CacheHashKey, HashBinary};
use http::Extensions;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Workers rarely meet in one of this many shards.
const SHARDS: usize = 64;
/// A shard with more locks than this is searched for abandoned ones before one is added.
const SWEPT_AT: usize = 1024;

type Shard = HashMap<HashBinary, LockStub>;

/// A table of locks in this process's memory, one for each key (with its variant) that is being fetched.
///
/// Its size is bounded by the number of requests in progress. Usually a `static`, or leaked:
///
/// ```
/// use pingora_cache::lock::{CacheKeyLockImpl, CacheLock};
/// use std::sync::LazyLock;
/// use std::time::Duration;
///
/// static LOCK: LazyLock<CacheLock> = LazyLock::new(|| CacheLock::new(Duration::from_secs(10)));
/// let to_enable: Option<&'static CacheKeyLockImpl> = Some(&*LOCK);
/// # assert!(to_enable.is_some());
/// ```
pub struct CacheLock {
    shards: Box<[Mutex<Shard>]>,
    age_timeout: Duration,
}

impl fmt::Debug for CacheLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLock")
            .field("age_timeout", &self.age_timeout)
            .finish_non_exhaustive()
    }
}

impl CacheLock {
    /// [`CacheLock::new`] in a box, which coerces to one of a `CacheKeyLockImpl`.
    pub fn new_boxed(age_timeout: Duration) -> Box<Self> {
        Box::new(CacheLock::new(age_timeout))
    }

    /// A table whose locks are waited for at most `age_timeout_default` from when they were taken. After that
    /// another request fetches.
    pub fn new(age_timeout_default: Duration) -> Self {
        CacheLock {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            age_timeout: age_timeout_default,
        }
    }

    fn shard(&self, hash: &HashBinary) -> Option<MutexGuard<'_, Shard>> {
        let [first, ..] = hash;
        let shard = self.shards.get(usize::from(*first) % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().unwrap().len()).sum()
    }
}

impl CacheKeyLock for CacheLock {
    fn lock(&self, key: &CacheKey, stale_writer: bool) -> Locked {
        let hash = key.combined_bin();
        let mut shard = self.shard(&hash);
        if let Some(held) = shard.as_ref().and_then(|shard| shard.get(&hash))
            && held.is_held()
        {
            return Locked::Read(held.read_lock());
        }
        let (permit, stub) = WritePermit::new(self.age_timeout, stale_writer, Extensions::new());
        if let Some(shard) = &mut shard {
            if shard.len() >= SWEPT_AT {
                // Permits that were dropped leave their places behind.
                shard.retain(|_, stub| stub.is_held());
            }
            shard.insert(hash, stub);
        }
        Locked::Write(permit)
    }

    fn release(&self, key: &CacheKey, mut permit: WritePermit, reason: LockStatus) {
        let hash = key.combined_bin();
        if let Some(mut shard) = self.shard(&hash)
            && shard
                .get(&hash)
                .is_some_and(|stub| stub.belongs_to(&permit))
        {
            shard.remove(&hash);
        }
        // Those who wake find the place empty.
        permit.unlock(reason);
    }
}
