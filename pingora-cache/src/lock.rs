//! One request fetches, the others wait: the permit to fetch, and how it ends.
//!
//! The lock table and the waiting come with the storage; what stands here is what a sub-request
//! carries from one session to another.

use crate::CacheKey;
use http::Extensions;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// A lock table, as an object.
pub type CacheKeyLockImpl = dyn CacheKeyLock + Send + Sync;

/// Lets one request fetch a response and the others wait for it.
pub trait CacheKeyLock {
    /// Takes the permit to fetch, or a place among those who wait. `stale_writer` says that others
    /// may serve a stale response meanwhile.
    fn lock(&self, key: &CacheKey, stale_writer: bool) -> Locked;

    /// Gives the permit back and tells the waiting how it ended.
    fn release(&self, key: &CacheKey, permit: WritePermit, reason: LockStatus);

    /// What the waiting are told if the response is not cacheable for a reason of the user's own.
    fn custom_lock_status(&self, _custom_no_cache: &'static str) -> LockStatus {
        LockStatus::GiveUp
    }
}

/// What [`CacheKeyLock::lock`] gave.
#[derive(Debug)]
pub enum Locked {
    /// The permit to fetch.
    Write(WritePermit),
    /// A place among those who wait.
    Read(ReadLock),
}

impl Locked {
    /// Whether this is the permit to fetch.
    pub fn is_write(&self) -> bool {
        matches!(self, Locked::Write(_))
    }
}

/// How far a lock has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LockStatus {
    /// The response is being fetched.
    Waiting = 0,
    /// The response is stored.
    Done = 1,
    /// Fetching failed, and another request may try.
    TransientError = 2,
    /// The response is not cacheable: everyone fetches for themselves.
    GiveUp = 3,
    /// The request that fetched went away.
    Dangling = 4,
    /// A request waited as long as it may.
    WaitTimeout = 5,
    /// The response was being fetched for as long as that may take.
    AgeTimeout = 6,
}

impl LockStatus {
    /// The status of this number.
    pub fn from_repr(discriminant: u8) -> Option<LockStatus> {
        Some(match discriminant {
            0 => LockStatus::Waiting,
            1 => LockStatus::Done,
            2 => LockStatus::TransientError,
            3 => LockStatus::GiveUp,
            4 => LockStatus::Dangling,
            5 => LockStatus::WaitTimeout,
            6 => LockStatus::AgeTimeout,
            _ => return None,
        })
    }
}

impl From<LockStatus> for u8 {
    fn from(status: LockStatus) -> u8 {
        status as u8
    }
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    age_timeout: Duration,
    stale_writer: bool,
    status: AtomicU8,
    extensions: Extensions,
}

impl Shared {
    fn status(&self) -> LockStatus {
        LockStatus::from_repr(self.status.load(Ordering::Acquire)).unwrap_or(LockStatus::Dangling)
    }

    /// The first end stands: a permit that is dropped after its release changes nothing.
    fn unlock(&self, reason: LockStatus) {
        let _ = self.status.compare_exchange(
            LockStatus::Waiting.into(),
            reason.into(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }
}

/// The permit to fetch. Dropped without a word, it tells the waiting [`LockStatus::Dangling`].
#[derive(Debug)]
pub struct WritePermit {
    shared: Arc<Shared>,
}

impl WritePermit {
    /// A permit that ends by itself after `timeout`, and what the lock table keeps of it.
    pub fn new(
        timeout: Duration,
        stale_writer: bool,
        extensions: Extensions,
    ) -> (WritePermit, LockStub) {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            age_timeout: timeout,
            stale_writer,
            status: AtomicU8::new(LockStatus::Waiting.into()),
            extensions,
        });
        let stub = LockStub(shared.clone());
        (WritePermit { shared }, stub)
    }

    /// Whether others may serve a stale response meanwhile.
    pub fn stale_writer(&self) -> bool {
        self.shared.stale_writer
    }

    /// Ends the permit and tells the waiting why.
    pub fn unlock(&mut self, reason: LockStatus) {
        self.shared.unlock(reason);
    }

    /// How far the lock has come.
    pub fn lock_status(&self) -> LockStatus {
        self.shared.status()
    }

    /// Whatever the lock table wants to hand on.
    pub fn extensions(&self) -> &Extensions {
        &self.shared.extensions
    }
}

impl Drop for WritePermit {
    fn drop(&mut self) {
        self.shared.unlock(LockStatus::Dangling);
    }
}

/// What a lock table keeps of a permit that it gave away.
#[derive(Debug)]
pub struct LockStub(Arc<Shared>);

impl LockStub {
    /// A place among those who wait.
    pub fn read_lock(&self) -> ReadLock {
        ReadLock(self.0.clone())
    }

    /// Whatever the lock table wants to hand on.
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }
}

/// A place among those who wait.
#[derive(Debug)]
pub struct ReadLock(Arc<Shared>);

impl ReadLock {
    /// Whether the response is still being fetched.
    pub fn locked(&self) -> bool {
        self.lock_status() == LockStatus::Waiting
    }

    /// Whether the response is being fetched for longer than that may take.
    pub fn expired(&self) -> bool {
        self.0.start.elapsed() >= self.0.age_timeout
    }

    /// How far the lock has come.
    pub fn lock_status(&self) -> LockStatus {
        match self.0.status() {
            LockStatus::Waiting if self.expired() => LockStatus::AgeTimeout,
            status => status,
        }
    }

    /// Whatever the lock table wants to hand on.
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_permit_that_is_dropped_leaves_the_lock_dangling() {
        let (permit, stub) = WritePermit::new(LONG, false, Extensions::new());
        let waiting = stub.read_lock();
        assert!(waiting.locked());
        drop(permit);
        assert_eq!(waiting.lock_status(), LockStatus::Dangling);
    }

    #[test]
    fn the_first_end_stands() {
        let (mut permit, stub) = WritePermit::new(LONG, true, Extensions::new());
        assert!(permit.stale_writer());
        permit.unlock(LockStatus::Done);
        permit.unlock(LockStatus::GiveUp);
        drop(permit);
        assert_eq!(stub.read_lock().lock_status(), LockStatus::Done);
    }

    #[test]
    fn a_lock_that_is_too_old_waits_for_nobody() {
        let (_permit, stub) = WritePermit::new(Duration::ZERO, false, Extensions::new());
        assert!(!stub.read_lock().locked());
        assert_eq!(stub.read_lock().lock_status(), LockStatus::AgeTimeout);
    }

    #[test]
    fn statuses_and_numbers_are_the_same() {
        for number in 0..=6 {
            assert_eq!(u8::from(LockStatus::from_repr(number).unwrap()), number);
        }
        assert_eq!(LockStatus::from_repr(7), None);
    }
}
