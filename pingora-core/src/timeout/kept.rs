//! Timers that their sessions no longer need, for the next ones on the same worker.
//!
//! A session that lives for one request (a stream of HTTP/2) would otherwise allocate a timer, enter it into the
//! runtime's wheel and take it out again, each time. A kept timer stays in the wheel; the session that
//! takes it finds it set for a time ahead of its own deadline, as a rule, and leaves it alone.

use super::armed::Armed;
use std::cell::RefCell;
use std::task::{Context, Poll, Waker};
use tokio::runtime::{Handle, Id};

/// The most timers that a worker keeps: about 150 bytes each, 40 KB for a worker, however many connections it has.
const MOST: usize = 256;

struct Kept {
    /// The worker's runtime, whose wheel the timers are in.
    runtime: Id,
    // Boxed, because they are moved in their boxes, which are a part of what is saved.
    #[allow(clippy::vec_box)]
    timers: Vec<Box<Armed>>,
}

thread_local! {
    /// `None` on threads that are no workers: they may outlive any runtime.
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Keeps timers on the calling thread from now on, which is a worker of its current runtime until it ends.
pub(crate) fn keep_timers() {
    let kept = Handle::try_current().ok().map(|handle| Kept {
        runtime: handle.id(),
        timers: Vec::new(),
    });
    KEPT.set(kept);
}

/// A timer of the current runtime, whose waker is yet to be set.
pub(super) fn take() -> Option<Box<Armed>> {
    let taken = KEPT.try_with(|kept| {
        let mut kept = kept.try_borrow_mut().ok()?;
        let kept = kept.as_mut().filter(|kept| !kept.timers.is_empty())?;
        // A worker that blocks on another runtime does not see to its own timers meanwhile.
        let current = Handle::try_current().ok()?.id();
        (current == kept.runtime).then(|| kept.timers.pop())?
    });
    taken.ok().flatten()
}

/// Keeps a timer, if it belongs to this worker's runtime and there is room.
pub(super) fn give(mut timer: Box<Armed>) {
    // The list is gone while its thread ends.
    let _ = KEPT.try_with(|kept| {
        // It is being used if dropping a waker has ended another session.
        let Ok(mut kept) = kept.try_borrow_mut() else {
            return;
        };
        let Some(kept) = &mut *kept else {
            return;
        };
        if kept.runtime != timer.runtime || kept.timers.len() >= MOST {
            return;
        }
        // The task that it woke may be gone, and the waker would hold its memory.
        let mut no_one = Context::from_waker(Waker::noop());
        if timer.forget_waker(&mut no_one) == Poll::Pending {
            kept.timers.push(timer);
        }
    });
}

#[cfg(test)]
pub(super) fn count() -> usize {
    KEPT.with_borrow(|kept| kept.as_ref().map_or(0, |kept| kept.timers.len()))
}
