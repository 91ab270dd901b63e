//! The state that a permit, its table and those who wait share.

use super::{LockStatus, UnusableFills, WaitOutcome};
use http::Extensions;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The state that a permit, its table and those who wait share.
///
/// ```text
/// Waiting ──unlock──▶ any other status      the first end stands
/// ```
pub struct LockCore {
    /// When the permit was given.
    pub lock_start: Instant,
    /// How long others wait for it, in all.
    pub age_timeout: Duration,
    stale_writer: bool,
    status: AtomicU8,
    published: Mutex<Vec<u64>>,
    changed: Notify,
    extensions: Extensions,
}

impl fmt::Debug for LockCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockCore")
            .field("status", &self.lock_status())
            .field("age_timeout", &self.age_timeout)
            .field("stale_writer", &self.stale_writer)
            .finish_non_exhaustive()
    }
}

impl LockCore {
    /// A lock that is held from now on, and waited for at most `timeout` long.
    pub fn new_arc(timeout: Duration, stale_writer: bool, extensions: Extensions) -> Arc<Self> {
        Arc::new(LockCore {
            lock_start: Instant::now(),
            age_timeout: timeout,
            stale_writer,
            status: AtomicU8::new(LockStatus::Waiting.into()),
            published: Mutex::default(),
            changed: Notify::new(),
            extensions,
        })
    }

    /// Whether the response is still being fetched.
    pub fn locked(&self) -> bool {
        self.lock_status() == LockStatus::Waiting
    }

    /// Ends the lock and wakes all who wait. The first end stands.
    pub fn unlock(&self, reason: LockStatus) {
        let ended = self.status.compare_exchange(
            LockStatus::Waiting.into(),
            reason.into(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if ended.is_ok() {
            self.changed.notify_waiters();
        }
    }

    /// The status of the lock, regardless of its age.
    pub fn lock_status(&self) -> LockStatus {
        LockStatus::from(self.status.load(Ordering::Acquire))
    }

    /// Whether others may serve a stale response in the meantime.
    pub fn stale_writer(&self) -> bool {
        self.stale_writer
    }

    /// Further data for the lock table.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    fn expired(&self) -> bool {
        self.lock_start.elapsed() >= self.age_timeout
    }

    fn publish(&self, tokens: &[u64]) {
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        published.extend_from_slice(tokens);
        drop(published);
        self.changed.notify_waiters();
    }

    /// Waits for the first of: the end, a published token on the list, the age. Cancel-safe.
    async fn wait(&self, unusable: Option<&UnusableFills>) -> WaitOutcome {
        let changes = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                // From here on no change is missed.
                changed.as_mut().enable();
                if !self.locked() {
                    return WaitOutcome::Released;
                }
                if let Some(unusable) = unusable {
                    let published = self.published.lock();
                    let published = published.unwrap_or_else(PoisonError::into_inner);
                    if let Some(fill) = unusable.first_match(&published) {
                        return WaitOutcome::Abandoned(fill);
                    }
                }
                changed.await;
            }
        };
        let left = self.age_timeout.saturating_sub(self.lock_start.elapsed());
        tokio::time::timeout(left, changes)
            .await
            .unwrap_or(WaitOutcome::AgeTimeout)
    }
}

/// The permit to fetch. If it is dropped without a release, the waiting requests get
/// [`LockStatus::Dangling`].
#[derive(Debug)]
pub struct WritePermit {
    core: Arc<LockCore>,
}

impl WritePermit {
    /// A permit that expires after `timeout`, and the lock table's part of it.
    pub fn new(
        timeout: Duration,
        stale_writer: bool,
        extensions: Extensions,
    ) -> (WritePermit, LockStub) {
        let core = LockCore::new_arc(timeout, stale_writer, extensions);
        let stub = LockStub(core.clone());
        (WritePermit { core }, stub)
    }

    /// Whether others may serve a stale response in the meantime.
    pub fn stale_writer(&self) -> bool {
        self.core.stale_writer()
    }

    /// Ends the permit and tells the waiting requests why.
    pub fn unlock(&mut self, reason: LockStatus) {
        self.core.unlock(reason);
    }

    /// The status of the lock.
    pub fn lock_status(&self) -> LockStatus {
        self.core.lock_status()
    }

    /// Further data for the lock table.
    pub fn extensions(&self) -> &Extensions {
        self.core.extensions()
    }

    /// Tells those who wait what is being fetched: a request for which one of these tokens is
    /// [unusable](UnusableFills) stops waiting.
    pub fn publish(&self, tokens: &[u64]) {
        self.core.publish(tokens);
    }

    /// Whether a request waits for this permit, or did a moment ago.
    pub fn is_awaited(&self) -> bool {
        // One is this permit's, one the table's.
        Arc::strong_count(&self.core) > 2
    }
}

impl Drop for WritePermit {
    fn drop(&mut self) {
        self.core.unlock(LockStatus::Dangling);
    }
}

/// The lock table's part of a permit that it handed out.
#[derive(Debug)]
pub struct LockStub(pub(super) Arc<LockCore>);

impl LockStub {
    /// A place among the waiting requests.
    pub fn read_lock(&self) -> ReadLock {
        ReadLock(self.0.clone())
    }

    /// Further data for the lock table.
    pub fn extensions(&self) -> &Extensions {
        self.0.extensions()
    }

    pub(super) fn belongs_to(&self, permit: &WritePermit) -> bool {
        Arc::ptr_eq(&self.0, &permit.core)
    }

    /// Whether it is worth waiting for.
    pub(super) fn is_held(&self) -> bool {
        self.0.locked() && !self.0.expired()
    }
}

/// A place among the waiting requests.
#[derive(Debug)]
pub struct ReadLock(Arc<LockCore>);

impl ReadLock {
    /// Waits until the permit is released or dropped, or as old as it may be. Cancel-safe.
    pub async fn wait(&self) {
        self.0.wait(None).await;
    }

    /// [`wait`](Self::wait), but not for a fill that this request can't use. Cancel-safe.
    pub async fn wait_unless_published(&self, unusable: &UnusableFills) -> WaitOutcome {
        self.0.wait(Some(unusable)).await
    }

    /// Whether the response is still being fetched.
    pub fn locked(&self) -> bool {
        self.lock_status() == LockStatus::Waiting
    }

    /// Whether the fetch has taken longer than it may.
    pub fn expired(&self) -> bool {
        self.0.expired()
    }

    /// The status of the lock.
    pub fn lock_status(&self) -> LockStatus {
        match self.0.lock_status() {
            LockStatus::Waiting if self.expired() => LockStatus::AgeTimeout,
            status => status,
        }
    }

    /// Whether a stale response may be served instead of waiting.
    pub fn stale_writer(&self) -> bool {
        self.0.stale_writer()
    }

    /// Further data for the lock table.
    pub fn extensions(&self) -> &Extensions {
        self.0.extensions()
    }
}
