//! The entry that has not been used for longest goes, and tasks of their own remove it: no request waits for what its
//! own response pushed out.

use super::lru::Inner;
use super::{CacheEntryKey, CacheEntryKeyRef, EvictionManager};
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_error::Result;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Removes entries from a storage.
#[async_trait]
pub trait AsyncEvictionCallback<T>: Send + Sync {
    /// Removes these entries, which are no longer in the list. Called by one of its tasks, and again only when the
    /// future has ended.
    async fn evicted(&self, items: Vec<T>);
}

/// The list of a [`Manager`], which several may share.
pub struct AsyncLru<T, const N: usize> {
    list: Inner<N>,
    over_limit: Notify,
    _items: std::marker::PhantomData<fn(T)>,
}

impl<T, const N: usize> fmt::Debug for AsyncLru<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.fmt(f)
    }
}

/// Entries in the order of their use, in `N` shards, as [`lru::Manager`](super::lru::Manager) has them, but
/// [`admit`](EvictionManager::admit) evicts nothing: it wakes a task that does, and returns no entries. So there may
/// be more than the limit for a short while.
#[derive(Debug)]
pub struct Manager<const N: usize> {
    shared: Arc<AsyncLru<CacheEntryKey, N>>,
}

/// A [`Manager`] in the making.
pub struct ManagerBuilder<C, const N: usize> {
    weight_limit: usize,
    capacity: usize,
    watermark: Option<usize>,
    workers: usize,
    callback: Arc<C>,
    shutdown: ShutdownWatch,
    runtime: Handle,
}

impl<const N: usize> Manager<N> {
    /// Another handle to a list whose tasks run already.
    pub fn from_lru(lru: Arc<AsyncLru<CacheEntryKey, N>>) -> Self {
        Manager { shared: lru }
    }

    /// For entries of `weight_limit` bytes together. `eviction_cb` removes from the storage what is evicted, in
    /// tasks on `runtime` that end when the server shuts down.
    pub fn builder<C>(
        weight_limit: usize,
        eviction_cb: Arc<C>,
        shutdown: ShutdownWatch,
        runtime: Handle,
    ) -> ManagerBuilder<C, N>
    where
        C: AsyncEvictionCallback<CacheEntryKey>,
    {
        ManagerBuilder {
            weight_limit,
            capacity: 0,
            watermark: None,
            workers: 1,
            callback: eviction_cb,
            shutdown,
            runtime,
        }
    }

    /// The list, for [`from_lru`](Self::from_lru).
    pub fn as_lru(&self) -> &Arc<AsyncLru<CacheEntryKey, N>> {
        &self.shared
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        N
    }

    /// The size of the entries in a shard, in bytes; `None` if it does not exist.
    pub async fn shard_weight(&self, shard: usize) -> Option<usize> {
        (shard < N).then(|| self.shared.list.lru().shard_weight(shard))
    }

    /// The number of entries in a shard; 0 if it does not exist.
    pub fn shard_len(&self, shard: usize) -> usize {
        self.shared.list.lru().shard_len(shard)
    }

    /// The shard that an entry belongs to. The next process may decide differently.
    pub fn get_shard_for_key(&self, key: &CacheEntryKey) -> usize {
        let list = &self.shared.list;
        list.lru().get_shard(list.number(key.into()))
    }

    /// The entry that would go first in a shard; `None` if it is empty or does not exist.
    pub async fn peek_lru(&self, shard: usize) -> Option<CacheEntryKey> {
        self.shared.list.lru().peek_last(shard)
    }

    /// The size of an entry, in bytes. Not a use.
    pub fn peek_weight(&self, item: &CacheEntryKey) -> Option<usize> {
        let list = &self.shared.list;
        list.lru().peek_weight(list.number(item.into()))
    }

    /// The entries of a shard as bytes, the last used first. The shard is locked in the meantime.
    ///
    /// # Errors
    /// None at present.
    pub async fn serialize_shard(&self, shard: usize) -> Result<Vec<u8>> {
        Ok(self.shared.list.serialize(shard))
    }

    fn wake(&self) {
        if self.shared.list.lru().is_over_limit() {
            self.shared.over_limit.notify_one();
        }
    }
}

impl<C, const N: usize> ManagerBuilder<C, N>
where
    C: AsyncEvictionCallback<CacheEntryKey> + 'static,
{
    /// Sets for how many entries there is room from the start; 0 by default.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets how many entries there may be; as many as fit by default.
    pub fn len_watermark(mut self, watermark: usize) -> Self {
        self.watermark = Some(watermark);
        self
    }

    /// Sets how many tasks remove entries, at least one, which is the default.
    pub fn num_eviction_workers(mut self, n: usize) -> Self {
        self.workers = n.max(1);
        self
    }

    /// Starts the tasks. They end when the server shuts down, or when nothing refers to the list any more.
    pub fn build(self) -> Manager<N> {
        let shared = Arc::new(AsyncLru {
            list: Inner::new(self.weight_limit, self.capacity, self.watermark),
            over_limit: Notify::new(),
            _items: std::marker::PhantomData,
        });
        for _ in 0..self.workers {
            let (callback, shutdown) = (self.callback.clone(), self.shutdown.clone());
            self.runtime
                .spawn(evict(Arc::downgrade(&shared), callback, shutdown));
        }
        Manager { shared }
    }
}

impl<C, const N: usize> fmt::Debug for ManagerBuilder<C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerBuilder")
            .field("weight_limit", &self.weight_limit)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

async fn evict<C, const N: usize>(
    list: std::sync::Weak<AsyncLru<CacheEntryKey, N>>,
    callback: Arc<C>,
    mut shutdown: ShutdownWatch,
) where
    C: AsyncEvictionCallback<CacheEntryKey>,
{
    loop {
        let Some(shared) = list.upgrade() else { return };
        let evicted = shared.list.evict();
        if !evicted.is_empty() {
            drop(shared);
            callback.evicted(evicted).await;
            continue;
        }
        tokio::select! {
            () = shared.over_limit.notified() => {}
            changed = shutdown.changed() => {
                if changed.is_err() || *shutdown.borrow() {
                    return;
                }
            }
        }
    }
}

#[async_trait]
impl<const N: usize> EvictionManager for Manager<N> {
    fn total_size(&self) -> usize {
        self.shared.list.lru().weight()
    }

    fn total_items(&self) -> usize {
        self.shared.list.lru().len()
    }

    fn evicted_size(&self) -> usize {
        self.shared.list.lru().evicted_weight()
    }

    fn evicted_items(&self) -> usize {
        self.shared.list.lru().evicted_len()
    }

    fn admit(&self, item: CacheEntryKey, size: usize, _: SystemTime) -> Vec<CacheEntryKey> {
        self.shared.list.admit(item, size);
        self.wake();
        Vec::new()
    }

    fn increment_weight(
        &self,
        item: &CacheEntryKey,
        delta: usize,
        max_weight: Option<usize>,
    ) -> Vec<CacheEntryKey> {
        let list = &self.shared.list;
        list.lru()
            .increment_weight(list.number(item.into()), delta, max_weight);
        self.wake();
        Vec::new()
    }

    fn remove(&self, item: CacheEntryKeyRef<'_>) {
        let list = &self.shared.list;
        list.lru().remove(list.number(item));
    }

    fn access(&self, item: &CacheEntryKey, size: usize, _: SystemTime) -> bool {
        self.shared.list.access(item, size)
    }

    fn peek(&self, item: &CacheEntryKey) -> bool {
        let list = &self.shared.list;
        list.lru().peek(list.number(item.into()))
    }

    async fn save(&self, dir_path: &str) -> Result<()> {
        self.shared.list.save(dir_path).await
    }

    async fn load(&self, dir_path: &str) -> Result<()> {
        self.shared.list.load(dir_path).await
    }
}
