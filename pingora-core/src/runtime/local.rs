//! What belongs to one worker thread: its number, its scratch buffer, its free lists.
//!
//! Nothing in here is shared, so nothing in here locks. A task may wake up on another worker of its
//! runtime; therefore whatever is borrowed from here is given back before the poll that borrowed
//! it ends.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Size of a worker's scratch buffer, in bytes: the most that one read takes from a socket.
pub const SCRATCH_SIZE: usize = 64 * 1024;

static NEXT_WORKER: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A small number that tells this thread from every other: for choosing a stripe.
#[inline]
pub fn worker_id() -> usize {
    WORKER.with(|w| {
        w.get().unwrap_or_else(|| {
            let id = NEXT_WORKER.fetch_add(1, Ordering::Relaxed);
            w.set(Some(id));
            id
        })
    })
}

/// Lends the worker's scratch buffer, [`SCRATCH_SIZE`] bytes of unspecified content, to `f`.
///
/// The buffer must be used within one poll; that it is lent to a closure sees to that. A call from
/// within `f` gets a buffer of its own.
#[inline]
pub fn with_scratch<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with(|cell| match cell.try_borrow_mut() {
        Ok(mut buf) => {
            if buf.is_empty() {
                buf.resize(SCRATCH_SIZE, 0);
            }
            f(&mut buf)
        }
        Err(_) => f(&mut vec![0; SCRATCH_SIZE]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_keeps_its_number_and_shares_it_with_nobody() {
        let here = worker_id();
        assert_eq!(here, worker_id());
        let there = std::thread::spawn(worker_id).join().unwrap();
        assert_ne!(here, there);
    }

    #[test]
    fn scratch_may_be_asked_for_within_scratch() {
        let sizes = with_scratch(|outer| {
            outer[0] = 1;
            with_scratch(|inner| (inner.len(), inner[0])).0 + outer.len()
        });
        assert_eq!(sizes, 2 * SCRATCH_SIZE);
    }
}
