//! A cache that looks up what it does not have.

use crate::loads::{LoadRole, Loading, Loads, Waited};
use crate::{CacheStatus, MemoryCache};
use async_trait::async_trait;
use pingora_error::{Error, ErrorType, Result};
use std::error::Error as ErrorTrait;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::time::Instant;

/// How a value is looked up that the cache does not have.
#[async_trait]
pub trait Lookup<K, T, S> {
    /// The value of `key`, and its time to live if that differs from the one that was asked for. `extra` is what the
    /// caller passed on.
    ///
    /// # Errors
    /// All who wait for this value get the error; nothing is stored.
    async fn lookup(
        key: &K,
        extra: Option<&S>,
    ) -> Result<(T, Option<Duration>), Box<dyn ErrorTrait + Send + Sync>>
    where
        K: 'async_trait,
        S: 'async_trait;
}

/// How several values are looked up together.
#[async_trait]
pub trait MultiLookup<K, T, S> {
    /// The values of `keys` in their order, each with its time to live if that differs from the one that was asked
    /// for.
    ///
    /// # Errors
    /// The caller gets the error; nothing is stored.
    async fn multi_lookup(
        keys: &[&K],
        extra: Option<&S>,
    ) -> Result<Vec<(T, Option<Duration>)>, Box<dyn ErrorTrait + Send + Sync>>
    where
        K: 'async_trait,
        S: 'async_trait;
}

/// A [`MemoryCache`] that reads through: missing values are looked up by `CB`, once for all callers that ask for
/// the same key in the meantime.
///
/// If the caller that looks a value up is cancelled, one of the waiting callers takes over.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_memory_cache::{CacheStatus, Lookup, RTCache};
/// use std::error::Error;
/// use std::time::Duration;
///
/// struct Length;
///
/// #[async_trait]
/// impl Lookup<String, usize, ()> for Length {
///     async fn lookup(
///         key: &String,
///         _extra: Option<&()>,
///     ) -> Result<(usize, Option<Duration>), Box<dyn Error + Send + Sync>> {
///         Ok((key.len(), None))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cache: RTCache<String, usize, Length, ()> = RTCache::new(100, None, None);
/// let minute = Some(Duration::from_secs(60));
/// let (length, status) = cache.get(&"four".to_string(), minute, None).await;
/// assert_eq!((length.unwrap(), status), (4, CacheStatus::Miss));
/// let (length, status) = cache.get(&"four".to_string(), minute, None).await;
/// assert_eq!((length.unwrap(), status), (4, CacheStatus::Hit));
/// # }
/// ```
pub struct RTCache<K, T, CB, S>
where
    K: Hash + Send,
    T: Clone + Send,
{
    cache: MemoryCache<K, T>,
    loads: Loads<T>,
    lock_timeout: Option<Duration>,
    lookup: PhantomData<fn() -> (CB, S)>,
}

impl<K, T, CB, S> RTCache<K, T, CB, S>
where
    K: Hash + Send,
    T: Clone + Send + Sync + 'static,
{
    /// An empty cache for `size` values.
    ///
    /// A look-up that has taken `lock_age` is not waited for any more: the next one who asks begins another.
    /// A caller that has waited for `lock_timeout` looks the value up without waiting further. `None`: no limit.
    pub fn new(size: usize, lock_age: Option<Duration>, lock_timeout: Option<Duration>) -> Self {
        RTCache {
            cache: MemoryCache::new(size),
            loads: Loads::new(lock_age),
            lock_timeout,
            lookup: PhantomData,
        }
    }
}

impl<K, T, CB, S> RTCache<K, T, CB, S>
where
    K: Hash + Send + Sync,
    T: Clone + Send + Sync + 'static,
    S: Send + Sync,
    CB: Lookup<K, T, S> + Sync + Send,
{
    /// The value of `key`; looked up and stored for `ttl` (for ever if `None`) if it is not there. Safe to
    /// cancel.
    ///
    /// # Errors
    /// The one of the [`Lookup`], as an `InternalError`; also if another caller made it.
    pub async fn get(
        &self,
        key: &K,
        ttl: Option<Duration>,
        extra: Option<&S>,
    ) -> (Result<T>, CacheStatus) {
        let hash = self.cache.hash(key);
        match self.cache.get_hashed(hash) {
            (Some(value), status) => (Ok(value), status),
            (None, status) => self.fetch(key, hash, ttl, extra, status).await,
        }
    }

    /// The same, but a value whose time has been over for less than `stale_ttl` is returned while another caller
    /// looks it up, or if the look-up fails. Safe to cancel.
    ///
    /// # Errors
    /// As [`get`](Self::get), if there is no such value.
    pub async fn get_stale(
        &self,
        key: &K,
        ttl: Option<Duration>,
        extra: Option<&S>,
        stale_ttl: Duration,
    ) -> (Result<T>, CacheStatus) {
        let hash = self.cache.hash(key);
        let (value, status) = match self.cache.get_stale_hashed(hash) {
            (Some(value), status) if status.stale().is_none_or(|over| over < stale_ttl) => {
                (value, status)
            }
            (_, status) => {
                let status = status.stale().map_or(status, |_| CacheStatus::Expired);
                return self.fetch(key, hash, ttl, extra, status).await;
            }
        };
        if status == CacheStatus::Hit {
            return (Ok(value), status);
        }
        match self.loads.turn(hash) {
            LoadRole::Wait(_) => (Ok(value), status),
            LoadRole::Load(loading) => match self.load(key, hash, ttl, extra, loading).await {
                Ok(fresh) => (Ok(fresh), CacheStatus::Expired),
                Err(_) => (Ok(value), status),
            },
        }
    }

    /// The same, but a value whose time has been over for less than `stale_ttl` is returned at once, and looked up by
    /// a task of its own. Safe to cancel.
    ///
    /// # Errors
    /// As [`get`](Self::get), if there is no such value.
    pub async fn get_stale_while_update(
        &'static self,
        key: &K,
        ttl: Option<Duration>,
        extra: Option<&S>,
        stale_ttl: Duration,
    ) -> (Result<T>, CacheStatus)
    where
        K: Clone,
        S: Clone,
    {
        let hash = self.cache.hash(key);
        let (value, status) = self.cache.get_stale_hashed(hash);
        if let Some(value) = value
            && status.stale().is_none_or(|over| over < stale_ttl)
        {
            if status.stale().is_some()
                && let LoadRole::Load(loading) = self.loads.turn(hash)
            {
                let (key, extra) = (key.clone(), extra.cloned());
                tokio::spawn(async move {
                    // The next caller sees the error, if it persists.
                    let _ = self.load(&key, hash, ttl, extra.as_ref(), loading).await;
                });
            }
            return (Ok(value), status);
        }
        let status = status.stale().map_or(status, |_| CacheStatus::Expired);
        self.fetch(key, hash, ttl, extra, status).await
    }

    /// Looks up a missing value, or waits for another caller that does.
    async fn fetch(
        &self,
        key: &K,
        hash: u64,
        ttl: Option<Duration>,
        extra: Option<&S>,
        status: CacheStatus,
    ) -> (Result<T>, CacheStatus) {
        let until = self
            .lock_timeout
            .and_then(|t| Instant::now().checked_add(t));
        loop {
            let waiting = match self.loads.turn(hash) {
                LoadRole::Wait(waiting) => waiting,
                LoadRole::Load(loading) => {
                    // A look-up may have ended since the cache was asked.
                    if let (Some(value), status) = self.cache.get_hashed(hash) {
                        return (Ok(value), status);
                    }
                    return (self.load(key, hash, ttl, extra, loading).await, status);
                }
            };
            match waiting.wait(until).await {
                Waited::Loaded(Ok(value)) => return (Ok(value), CacheStatus::LockHit),
                Waited::Loaded(Err(what)) => {
                    let what = format!("the look-up that was waited for failed: {what}");
                    return (Error::e_explain(ErrorType::InternalError, what), status);
                }
                Waited::TimedOut => return (self.look_up(key, hash, ttl, extra).await, status),
                Waited::Abandoned => {}
            }
        }
    }

    /// Looks up and stores a value, and tells those who wait.
    async fn load(
        &self,
        key: &K,
        hash: u64,
        ttl: Option<Duration>,
        extra: Option<&S>,
        loading: Loading<'_, T>,
    ) -> Result<T> {
        let found = self.look_up(key, hash, ttl, extra).await;
        loading.end(match &found {
            Ok(value) => Ok(value.clone()),
            Err(error) => Err(error.to_string()),
        });
        found
    }

    async fn look_up(
        &self,
        key: &K,
        hash: u64,
        ttl: Option<Duration>,
        extra: Option<&S>,
    ) -> Result<T> {
        let (value, own_ttl) = CB::lookup(key, extra).await.map_err(failed)?;
        self.cache.put_hashed(hash, value.clone(), own_ttl.or(ttl));
        Ok(value)
    }
}

impl<K, T, CB, S> RTCache<K, T, CB, S>
where
    K: Hash + Send + Sync,
    T: Clone + Send + Sync + 'static,
    S: Send + Sync,
    CB: MultiLookup<K, T, S> + Sync + Send,
{
    /// The values of several keys in their order; missing ones are looked up together. No other call waits for
    /// these look-ups, and they wait for no other. Safe to cancel.
    ///
    /// # Errors
    /// The one of the [`MultiLookup`], as an `InternalError`, or if it returned another number of values.
    pub async fn multi_get<'a, I>(
        &self,
        keys: I,
        ttl: Option<Duration>,
        extra: Option<&S>,
    ) -> Result<Vec<(T, CacheStatus)>>
    where
        I: Iterator<Item = &'a K>,
        K: 'a,
    {
        let (found, missing) = self.cache.multi_get_with_miss(keys);
        let mut looked_up = Vec::new();
        if !missing.is_empty() {
            looked_up = CB::multi_lookup(&missing, extra).await.map_err(failed)?;
        }
        if looked_up.len() != missing.len() {
            let what = format!("{} values for {} keys", looked_up.len(), missing.len());
            return Error::e_explain(ErrorType::InternalError, what);
        }
        for (key, (value, own_ttl)) in missing.iter().zip(&looked_up) {
            self.cache.put(*key, value.clone(), own_ttl.or(ttl));
        }
        let mut looked_up = looked_up.into_iter();
        let values = found.into_iter().filter_map(|(value, status)| {
            // As many were looked up as are missing, so that nothing is left out.
            let value = value.or_else(|| Some(looked_up.next()?.0));
            Some((value?, status))
        });
        Ok(values.collect())
    }
}

fn failed(cause: Box<dyn ErrorTrait + Send + Sync>) -> Box<Error> {
    Error::because(
        ErrorType::InternalError,
        "a value can't be looked up",
        cause,
    )
}

impl<K: Hash + Send, T: Clone + Send, CB, S> fmt::Debug for RTCache<K, T, CB, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RTCache")
            .field("cache", &self.cache)
            .field("lock_timeout", &self.lock_timeout)
            .finish_non_exhaustive()
    }
}
