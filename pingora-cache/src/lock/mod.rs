//! One request fetches, the others wait: collapsed forwarding (RFC 9111 section 4).
//!
//! ```text
//! first miss of a key    Locked::Write(permit) ─▶ fetches ─▶ release(status)
//! every other            Locked::Read(lock)    ─▶ waits   ─▶ what the status says
//! ```
//!
//! | status | a waiting request |
//! |---|---|
//! | [`Done`](LockStatus::Done) | looks the response up |
//! | [`TransientError`](LockStatus::TransientError), [`Dangling`](LockStatus::Dangling) | asks for the lock again: one of them fetches, the others wait for that one |
//! | [`GiveUp`](LockStatus::GiveUp) | fetches for itself: the response can't be stored |
//! | [`AgeTimeout`](LockStatus::AgeTimeout) | asks for the lock again: the fetch took longer than any may |
//! | [`WaitTimeout`](LockStatus::WaitTimeout) | fetches for itself: this request has waited as long as it may |
//!
//! A permit that is dropped without a release wakes all who wait for it.

mod core;
mod table;

pub use self::core::{LockCore, LockStub, ReadLock, WritePermit};
pub use table::CacheLock;

use crate::trace::Span;
use crate::{CacheKey, NoCacheReason};
use std::sync::Arc;

/// A lock table, as an object.
pub type CacheKeyLockImpl = dyn CacheKeyLock + Send + Sync;

/// Lets one request fetch a response and the others wait for it.
pub trait CacheKeyLock {
    /// Takes the permit to fetch, or a place among the waiting requests. `stale_writer` means that others
    /// may serve a stale response in the meantime.
    fn lock(&self, key: &CacheKey, stale_writer: bool) -> Locked;

    /// Releases the permit and tells the waiting requests how it ended.
    fn release(&self, key: &CacheKey, permit: WritePermit, reason: LockStatus);

    /// Records in a span how a request waited. By default, nothing.
    fn trace_lock_wait(&self, span: &mut Span, _read_lock: &ReadLock, lock_status: LockStatus) {
        let _ = (span, lock_status);
    }

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

    fn name(self) -> &'static str {
        match self {
            LockStatus::Waiting => "waiting",
            LockStatus::Done => "done",
            LockStatus::TransientError => "transient_error",
            LockStatus::GiveUp => "give_up",
            LockStatus::Dangling => "dangling",
            LockStatus::WaitTimeout => "wait_timeout",
            LockStatus::AgeTimeout => "age_timeout",
        }
    }
}

impl From<LockStatus> for u8 {
    fn from(status: LockStatus) -> u8 {
        status as u8
    }
}

/// A number that stands for no status counts as [`LockStatus::Dangling`].
impl From<u8> for LockStatus {
    fn from(number: u8) -> LockStatus {
        LockStatus::from_repr(number).unwrap_or(LockStatus::Dangling)
    }
}

impl From<LockStatus> for &'static str {
    fn from(status: LockStatus) -> Self {
        status.name()
    }
}

impl<'a> From<&'a LockStatus> for &'static str {
    fn from(status: &'a LockStatus) -> Self {
        status.name()
    }
}

/// A fill that a request must not wait for, by the token that its writer publishes; and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnusableFill {
    /// The token.
    pub token: u64,
    /// Why the request can't use that fill; becomes [`NoCacheReason::Custom`].
    pub reason: &'static str,
}

/// The fills that a request must not wait for. A request brings them in the
/// [`extensions`](CacheKey::extensions) of its key; a writer publishes its tokens through
/// [`WritePermit::publish`]. As soon as one is on both lists, the request stops waiting.
#[derive(Debug, Clone)]
pub struct UnusableFills {
    fills: Arc<[UnusableFill]>,
}

impl UnusableFills {
    /// These fills.
    pub fn new(fills: impl Into<Arc<[UnusableFill]>>) -> Self {
        UnusableFills {
            fills: fills.into(),
        }
    }

    /// The fills.
    pub fn fills(&self) -> &[UnusableFill] {
        &self.fills
    }

    /// The first of these fills whose token is among the published ones.
    pub fn first_match(&self, published: &[u64]) -> Option<UnusableFill> {
        let mut fills = self.fills.iter();
        fills.find(|fill| published.contains(&fill.token)).copied()
    }
}

/// How [`ReadLock::wait_unless_published`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitOutcome {
    /// The permit was released or dropped: [`ReadLock::lock_status`] has the status.
    Released,
    /// The fetch has taken as long as it may.
    AgeTimeout,
    /// Its writer published this fill, which the request can't use.
    Abandoned(UnusableFill),
}

/// How a request's wait for another one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWaitOutcome {
    /// The response is stored.
    Done,
    /// Fetching failed, and another request may try.
    TransientError,
    /// The request that was fetching has gone.
    Dangling,
    /// This request has waited as long as it may.
    WaitTimeout,
    /// The fetch has taken as long as it may.
    AgeTimeout,
    /// The response is not cacheable.
    GiveUp,
    /// The fill is one that this request can't use.
    Abandoned {
        /// Why.
        reason: NoCacheReason,
        /// The token that its writer published.
        token: u64,
    },
}

impl LockWaitOutcome {
    /// The status of the lock as this request saw it last: still waiting, if it abandoned the wait.
    pub fn lock_status(&self) -> LockStatus {
        match self {
            LockWaitOutcome::Done => LockStatus::Done,
            LockWaitOutcome::TransientError => LockStatus::TransientError,
            LockWaitOutcome::Dangling => LockStatus::Dangling,
            LockWaitOutcome::WaitTimeout => LockStatus::WaitTimeout,
            LockWaitOutcome::AgeTimeout => LockStatus::AgeTimeout,
            LockWaitOutcome::GiveUp => LockStatus::GiveUp,
            LockWaitOutcome::Abandoned { .. } => LockStatus::Waiting,
        }
    }
}

#[cfg(test)]
mod tests;
