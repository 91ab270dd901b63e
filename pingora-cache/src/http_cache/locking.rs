//! Waiting for another request to fetch.

use super::{CacheOptionOverrides, CachePhase, HttpCache, Inner, LockAbandon, LockCtx};
use crate::NoCacheReason;
use crate::lock::{
    CacheKeyLockImpl, LockStatus, LockWaitOutcome, Locked, UnusableFills, WaitOutcome, WritePermit,
};
use std::time::Instant;

impl HttpCache {
    /// Sets the lock table, or none. No effect while the cache is not enabled, or once this request holds a
    /// lock.
    pub fn set_cache_lock(
        &mut self,
        cache_lock: Option<&'static CacheKeyLockImpl>,
        option_overrides: Option<CacheOptionOverrides>,
    ) {
        let Some(inner) = self.on() else {
            return;
        };
        if inner.lock.as_ref().is_some_and(|ctx| ctx.lock.is_some()) {
            return;
        }
        let overrides = option_overrides.unwrap_or_default();
        inner.lock = cache_lock.map(|cache_lock| LockCtx {
            lock: None,
            cache_lock,
            wait_timeout: overrides.wait_timeout,
            max_retries: overrides.max_lock_retries,
        });
    }

    /// Tells the requests that wait for this one what it fetches: a request that can't use a fill with one of these
    /// tokens ([`UnusableFills`]) stops waiting.
    pub fn lock_publish_fill_tokens(&self, tokens: &[u64]) {
        let lock = self.on_ref().and_then(|inner| inner.lock.as_ref());
        if let Some(Locked::Write(permit)) = lock.and_then(|ctx| ctx.lock.as_ref()) {
            permit.publish(tokens);
        }
    }

    /// Releases those who wait for this request, for the reason that it won't store anything.
    pub fn release_write_lock(&mut self, reason: NoCacheReason) {
        if let Some(inner) = self.on() {
            inner.release(inner.status_for(reason));
        }
    }

    /// Whether this request is to wait for another one.
    pub fn is_cache_locked(&self) -> bool {
        matches!(self.held(), Some(Locked::Read(_)))
    }

    /// Whether others wait for this request, or would.
    pub fn is_cache_lock_writer(&self) -> bool {
        matches!(self.held(), Some(Locked::Write(_)))
    }

    /// Whether another request waits for this one at present, or reads what it stores.
    pub fn is_awaited(&self) -> bool {
        let reads = |inner: &Inner| {
            inner
                .miss_handler
                .as_ref()
                .is_some_and(|it| it.has_readers())
        };
        self.on_ref().is_some_and(reads)
            || matches!(self.held(), Some(Locked::Write(permit)) if permit.is_awaited())
    }

    /// How often this request waits again after others failed; `None`: without limit, or without a lock.
    pub fn cache_lock_max_retries(&self) -> Option<usize> {
        self.on_ref()?.lock.as_ref()?.max_retries
    }

    /// Takes the permit to fetch, to pass it to a sub-request. Its holder must release it.
    ///
    /// # Panics
    /// Unless this is the [writer](Self::is_cache_lock_writer).
    #[allow(clippy::panic)] // what the interface promises
    pub fn take_write_lock(&mut self) -> (WritePermit, &'static CacheKeyLockImpl) {
        let ctx = self.on().and_then(|inner| inner.lock.as_mut());
        if let Some(ctx) = ctx
            && let Some(Locked::Write(permit)) = ctx.lock.take_if(|lock| lock.is_write())
        {
            return (permit, ctx.cache_lock);
        }
        panic!("this request does not hold the cache lock")
    }

    /// Gives this request the permit to fetch that another one had.
    pub fn set_write_lock(&mut self, write_lock: WritePermit) {
        if let Some(inner) = self.on() {
            inner.locked_key = inner.key.clone();
            if let Some(ctx) = &mut inner.lock {
                ctx.lock = Some(Locked::Write(write_lock));
            }
        }
    }

    /// Waits until the request that fetches has an outcome, or this one has waited as long as it may. The next
    /// look-up begins with the key without a variant. At once [`LockWaitOutcome::Dangling`] if there is nothing
    /// to wait for.
    ///
    /// Not cancel-safe: the place among those who wait is lost.
    pub async fn cache_lock_wait(&mut self) -> LockWaitOutcome {
        let Some(inner) = self.on() else {
            return LockWaitOutcome::Dangling;
        };
        let Some(ctx) = &mut inner.lock else {
            return LockWaitOutcome::Dangling;
        };
        let Some(Locked::Read(lock)) = ctx.lock.take_if(|lock| !lock.is_write()) else {
            return LockWaitOutcome::Dangling;
        };
        let unusable = inner.key.as_ref();
        let unusable = unusable.and_then(|key| key.extensions.get::<UnusableFills>().cloned());
        let unusable = unusable.unwrap_or_else(|| UnusableFills::new([]));
        let begun = Instant::now();
        let before = inner.digest.lock_duration.unwrap_or_default();
        let waits = lock.wait_unless_published(&unusable);
        let waited = match ctx.wait_timeout {
            None => Some(waits.await),
            Some(limit) => tokio::time::timeout(limit.saturating_sub(before), waits)
                .await
                .ok(),
        };
        inner.digest.lock_duration = Some(before + begun.elapsed());
        let outcome = match waited {
            None => LockWaitOutcome::WaitTimeout,
            Some(WaitOutcome::AgeTimeout) => LockWaitOutcome::AgeTimeout,
            Some(WaitOutcome::Abandoned(fill)) => {
                let (reason, token) = (NoCacheReason::Custom(fill.reason), fill.token);
                inner.digest.lock_abandon = Some(LockAbandon { reason, token });
                LockWaitOutcome::Abandoned { reason, token }
            }
            Some(WaitOutcome::Released) => match lock.lock_status() {
                LockStatus::Done => LockWaitOutcome::Done,
                LockStatus::TransientError => LockWaitOutcome::TransientError,
                LockStatus::GiveUp => LockWaitOutcome::GiveUp,
                LockStatus::Waiting | LockStatus::Dangling => LockWaitOutcome::Dangling,
                LockStatus::WaitTimeout => LockWaitOutcome::WaitTimeout,
                LockStatus::AgeTimeout => LockWaitOutcome::AgeTimeout,
            },
        };
        let status = outcome.lock_status();
        ctx.cache_lock
            .trace_lock_wait(&mut inner.spans.cache, &lock, status);
        inner.look_up_anew();
        outcome
    }

    fn held(&self) -> Option<&Locked> {
        self.on_ref()?.lock.as_ref()?.lock.as_ref()
    }
}

impl Inner {
    /// Takes the permit to fetch, or a place among those who wait, unless this request has either.
    pub(super) fn lock(&mut self, stale_writer: bool) {
        let deferred = self.digest.admission.is_some_and(|it| it.is_deferred());
        let (Some(ctx), Some(key)) = (&mut self.lock, &self.key) else {
            return;
        };
        if ctx.lock.is_none() && !deferred {
            let lock = ctx.cache_lock.lock(key, stale_writer);
            if lock.is_write() {
                self.locked_key = Some(key.clone());
            }
            ctx.lock = Some(lock);
        }
    }

    /// Ends this request's part in the lock, if it has any.
    pub(super) fn release(&mut self, status: LockStatus) {
        let Some(ctx) = &mut self.lock else {
            return;
        };
        if let Some(Locked::Write(permit)) = ctx.lock.take()
            && let Some(key) = self.locked_key.take()
        {
            ctx.cache_lock.release(&key, permit, status);
        }
    }

    /// The status for waiting requests if nothing is stored for this reason.
    pub(super) fn status_for(&self, reason: NoCacheReason) -> LockStatus {
        match reason {
            // No better for any of them.
            NoCacheReason::OriginNotCache
            | NoCacheReason::ResponseTooLarge
            | NoCacheReason::PredictedResponseTooLarge
            | NoCacheReason::StorageError
            | NoCacheReason::Deferred => LockStatus::GiveUp,
            NoCacheReason::Custom(name) => match &self.lock {
                Some(ctx) => ctx.cache_lock.custom_lock_status(name),
                None => LockStatus::GiveUp,
            },
            NoCacheReason::NeverEnabled
            | NoCacheReason::InternalError
            | NoCacheReason::DeclinedToUpstream
            | NoCacheReason::UpstreamError
            | NoCacheReason::CacheLockGiveUp
            | NoCacheReason::CacheLockTimeout
            | NoCacheReason::CacheLockRetryLimit => LockStatus::TransientError,
        }
    }

    pub(super) fn look_up_anew(&mut self) {
        if std::mem::take(&mut self.is_varied)
            && let Some(key) = &mut self.key
        {
            key.remove_variance_key();
        }
        self.phase = CachePhase::CacheKey;
        self.meta = None;
        self.body_reader = None;
    }
}
