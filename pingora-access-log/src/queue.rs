//! Lines in transit from the workers to the writer thread: bounded, so that no worker waits for the disk.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Complete lines, and their number.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u64,
}

/// One part per worker, as far as there are enough: a lock is only held while lines are copied.
#[derive(Debug)]
pub(crate) struct Queue {
    parts: Box<[Mutex<Lines>]>,
    /// The limit of a part, in bytes.
    limit: usize,
    dropped: AtomicU64,
    /// The writer sleeps until it is woken.
    asleep: AtomicBool,
}

/// Whether to wake the writer.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Wake {
    Yes,
    No,
}

impl Queue {
    pub(crate) fn new(parts: usize, bytes: usize) -> Self {
        let parts = parts.max(1);
        Queue {
            limit: bytes / parts,
            parts: (0..parts).map(|_| Mutex::default()).collect(),
            dropped: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
        }
    }

    /// Adds a line, or counts it as dropped if there is no room.
    pub(crate) fn push(&self, line: &[u8]) -> Wake {
        let part = self.parts.get(slot() % self.parts.len());
        let Some(mut part) = part.map(lock) else {
            return Wake::No;
        };
        let before = part.bytes.len();
        let after = before + line.len();
        if after > self.limit {
            drop(part);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Wake::No;
        }
        part.bytes.extend_from_slice(line);
        part.count += 1;
        drop(part);
        // The writer sets its sleep flag before it looks at the parts for the last time: either it sees this
        // line there, or the lock that it held then makes the flag visible to us.
        let half = self.limit / 2;
        let fills = before <= half && after > half;
        if self.asleep.load(Ordering::Relaxed) || fills {
            self.wakes(fills)
        } else {
            Wake::No
        }
    }

    #[cold]
    fn wakes(&self, fills: bool) -> Wake {
        if self.asleep.swap(false, Ordering::AcqRel) || fills {
            Wake::Yes
        } else {
            Wake::No
        }
    }

    /// Takes the queued lines into an empty `lines`. The buffers passed in replace those of the parts, so their
    /// memory is reused.
    pub(crate) fn take(&self, lines: &mut [Lines]) {
        for (part, lines) in self.parts.iter().zip(lines) {
            lines.bytes.clear();
            lines.count = 0;
            std::mem::swap(&mut *lock(part), lines);
        }
    }

    /// Buffers for [`Queue::take`].
    pub(crate) fn room(&self) -> Vec<Lines> {
        self.parts.iter().map(|_| Lines::default()).collect()
    }

    /// The writer is about to sleep; `false` if there is something to write.
    pub(crate) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let empty = self.parts.iter().all(|part| lock(part).count == 0);
        if !empty {
            self.awake();
        }
        empty
    }

    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// The number of lines for which there was no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn lock(part: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of this thread, counted from the first one that logs.
fn slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: Cell<Option<usize>> = const { Cell::new(None) };
    }
    SLOT.with(|slot| {
        let number = slot
            .get()
            .unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        slot.set(Some(number));
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_counts_what_it_drops_and_has_room_again() {
        let queue = Queue::new(1, 10);
        for _ in 0..5 {
            queue.push(b"abc\n");
        }
        assert_eq!(queue.dropped(), 3);
        let mut room = queue.room();
        queue.take(&mut room);
        assert_eq!((&*room[0].bytes, room[0].count), (&b"abc\nabc\n"[..], 2));
        assert!(queue.may_sleep());
        assert_eq!(queue.push(b"abc\n"), Wake::Yes, "it sleeps");
        assert_eq!(queue.push(b"abc\n"), Wake::Yes, "more than half full");
        assert!(!queue.may_sleep());
        assert_eq!(queue.dropped(), 3);
    }
}
