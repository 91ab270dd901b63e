//! One request fetches, the others wait: the permit to fetch, and how it ends.
//!
//! The lock table and the waiting will be added with the storage; this module has only the parts that a
//! sub-request carries from one session to another.

use crate::CacheKey;
use http::Extensions;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// A lock table, as an object.
pub type CacheKeyLockImpl = dyn CacheKeyLock + Send + Sync;

/// Lets one request fetch a response and the others wait for it.
pub trait CacheKeyLock {
    /// Takes the permit to fetch, or a place among the waiting requests. `stale_writer` means that others
    /// may serve a stale response in the meantime.
    fn lock(&self, key: &CacheKey, stale_writer: bool) -> Locked;

    /// Releases the permit and tells the waiting requests how it ended.
    fn release(&self, key: &CacheKey, permit: WritePermit, reason: LockStatus);

    /// The status for waiting requests if the response is not cacheable for a user-defined reason.
    fn custom_lock_status(&self, _custom_no_cache: &'static str) -> LockStatus {
        LockStatus::GiveUp
    }
}

/// The result of [`CacheKeyLock::lock`].
#[derive(Debug)]
pub enum Locked {
    /// The permit to fetch.
    Write(WritePermit),
    /// A place among the waiting requests.
    Read(ReadLock),
}

impl Locked {
    /// Whether this is the permit to fetch.
    pub fn is_write(&self) -> bool {
        matches!(self, Locked::Write(_))
    }
}

/// The status of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LockStatus {
    /// The response is being fetched.
    Waiting = 0,
    /// The response is stored.
    Done = 1,
    /// Fetching failed, and another request may try.
    TransientError = 2,
    /// The response is not cacheable: every request fetches its own.
    GiveUp = 3,
    /// The request that was fetching has gone.
    Dangling = 4,
    /// A request has waited as long as it may.
    WaitTimeout = 5,
    /// The fetch has taken as long as it may.
    AgeTimeout = 6,
}

impl LockStatus {
    /// The status with this number.
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

    /// The first end counts: dropping a permit after its release changes nothing.
    fn unlock(&self, reason: LockStatus) {
        let _ = self.status.compare_exchange(
            LockStatus::Waiting.into(),
            reason.into(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }
}

/// The permit to fetch. If it is dropped without a release, the waiting requests get
/// [`LockStatus::Dangling`].
#[derive(Debug)]
pub struct WritePermit {
    shared: Arc<Shared>,
}

impl WritePermit {
    /// A permit that expires after `timeout`, and the lock table's part of it.
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

    /// Whether others may serve a stale response in the meantime.
    pub fn stale_writer(&self) -> bool {
        self.shared.stale_writer
    }

    /// Ends the permit and tells the waiting requests why.
    pub fn unlock(&mut self, reason: LockStatus) {
        self.shared.unlock(reason);
    }

    /// The status of the lock.
    pub fn lock_status(&self) -> LockStatus {
        self.shared.status()
    }

    /// Further data for the lock table.
    pub fn extensions(&self) -> &Extensions {
        &self.shared.extensions
    }
}

impl Drop for WritePermit {
    fn drop(&mut self) {
        self.shared.unlock(LockStatus::Dangling);
    }
}

/// The lock table's part of a permit that it handed out.
#[derive(Debug)]
pub struct LockStub(Arc<Shared>);

impl LockStub {
    /// A place among the waiting requests.
    pub fn read_lock(&self) -> ReadLock {
        ReadLock(self.0.clone())
    }

    /// Further data for the lock table.
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }
}

/// A place among the waiting requests.
#[derive(Debug)]
pub struct ReadLock(Arc<Shared>);

impl ReadLock {
    /// Whether the response is still being fetched.
    pub fn locked(&self) -> bool {
        self.lock_status() == LockStatus::Waiting
    }

    /// Whether the fetch has taken longer than it may.
    pub fn expired(&self) -> bool {
        self.0.start.elapsed() >= self.0.age_timeout
    }

    /// The status of the lock.
    pub fn lock_status(&self) -> LockStatus {
        match self.0.status() {
            LockStatus::Waiting if self.expired() => LockStatus::AgeTimeout,
            status => status,
        }
    }

    /// Further data for the lock table.
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
