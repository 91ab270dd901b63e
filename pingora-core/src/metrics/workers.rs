//! The cells that counts are added to: each thread has some of its own, and only that thread writes them.
//!
//! ```text
//! thread 1 ── Cells ─┬─ block 0: ▢▢▢▢▢▢▢▢ ▢▢▢▢▢▢▢▢    a piece of memory with a margin
//!                    └─ block 3: ▢▢▢▢▢▢▢▢             made when the thread first counts there
//! thread 2 ── Cells ─── block 0: ▢▢▢▢▢▢▢▢ ▢▢▢▢▢▢▢▢
//!                             └── a reading adds up what all of them have
//! ```
//!
//! A thread that ends leaves its cells, with what is in them, to the next one that begins. So there are as many as
//! there were ever threads at once.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Whether anything is counted. Not in builds with `--cfg pingora_uncounted`, which are there to measure what counting
/// costs; everything reads as zero in them.
pub(super) const COUNTS: bool = !cfg!(pingora_uncounted);

/// The most blocks of the process.
pub(super) const MOST_BLOCKS: usize = 512;

/// Cells that are left free before and behind those of a block, so that no line of the processor's cache holds cells of
/// two threads.
pub(super) const APART: usize = 8;

/// The cells of one thread.
struct Cells {
    blocks: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

#[derive(Default)]
struct Workers {
    all: Vec<&'static Cells>,
    /// Those of threads that have ended.
    free: Vec<&'static Cells>,
}

static WORKERS: Mutex<Workers> = Mutex::new(Workers {
    all: Vec::new(),
    free: Vec::new(),
});

thread_local! {
    static OWN: Cell<Option<&'static Cells>> = const { Cell::new(None) };
    static RETURN: Returned = const { Returned };
}

/// Gives the cells of a thread back when the thread ends.
struct Returned;

impl Drop for Returned {
    fn drop(&mut self) {
        if let Some(cells) = OWN.take() {
            workers().free.push(cells);
        }
    }
}

fn workers() -> MutexGuard<'static, Workers> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cells that all threads share which have no more place for their own, because they are ending.
static SHARED: OnceLock<Cells> = OnceLock::new();

impl Cells {
    fn new() -> Self {
        Cells {
            blocks: (0..MOST_BLOCKS).map(|_| OnceLock::new()).collect(),
        }
    }

    /// `None`: there is no block of this number.
    #[inline]
    fn of_block(&self, block: usize, cells: usize) -> Option<&[AtomicU64]> {
        let place = self.blocks.get(block)?;
        match place.get() {
            Some(cells) => Some(cells),
            None => Some(fill(place, cells)),
        }
    }
}

#[cold]
fn fill(place: &OnceLock<Box<[AtomicU64]>>, cells: usize) -> &[AtomicU64] {
    let cells = APART + cells + APART;
    place.get_or_init(|| (0..cells).map(|_| AtomicU64::new(0)).collect())
}

/// The cells of one block that belong to this thread. Of use until the next await.
#[derive(Clone, Copy)]
pub(super) struct Row {
    cells: &'static [AtomicU64],
    /// Other threads write here as well.
    shared: bool,
}

impl Row {
    /// Those of the calling thread.
    #[inline]
    pub(super) fn of(block: usize, cells: usize) -> Self {
        if !COUNTS {
            return Row {
                cells: &[],
                shared: false,
            };
        }
        let own = OWN.get().or_else(adopt);
        let (found, shared) = match own {
            Some(own) => (own.of_block(block, cells), false),
            None => (SHARED.get_or_init(Cells::new).of_block(block, cells), true),
        };
        Row {
            cells: found.unwrap_or_default(),
            shared,
        }
    }

    /// Adds to one cell. Only this thread writes to it, so no locked instruction is needed.
    #[inline]
    pub(super) fn add(self, cell: usize, n: u64) {
        let Some(cell) = self.cells.get(APART + cell) else {
            return;
        };
        if self.shared {
            cell.fetch_add(n, Ordering::Relaxed);
        } else {
            let sum = cell.load(Ordering::Relaxed).wrapping_add(n);
            cell.store(sum, Ordering::Relaxed);
        }
    }
}

/// The calling thread's cells of a block, with the margin; `None` where that takes more than a look. For hot paths: of an
/// array of a known size, places need not be checked.
#[inline]
pub(super) fn own<const N: usize>(block: usize) -> Option<&'static [AtomicU64; N]> {
    OWN.get()?.blocks.get(block)?.get()?.first_chunk()
}

/// Adds to a cell of one's [`own`].
#[inline]
pub(super) fn add_own(cell: &AtomicU64, n: u64) {
    let sum = cell.load(Ordering::Relaxed).wrapping_add(n);
    cell.store(sum, Ordering::Relaxed);
}

/// The cells of a thread that has none yet; `None` where it is ending.
#[cold]
fn adopt() -> Option<&'static Cells> {
    RETURN.try_with(|_| ()).ok()?;
    let mut workers = workers();
    let cells = workers.free.pop().unwrap_or_else(|| {
        // For as long as the process lives, as the thread or one after it.
        let cells: &'static Cells = Box::leak(Box::new(Cells::new()));
        workers.all.push(cells);
        cells
    });
    OWN.set(Some(cells));
    Some(cells)
}

/// The sums of all threads' cells of a block.
pub(super) fn sums(block: usize, cells: usize) -> Vec<u64> {
    let mut sums = vec![0_u64; cells];
    let workers = workers();
    for one in workers.all.iter().copied().chain(SHARED.get()) {
        let Some(own) = one.blocks.get(block).and_then(OnceLock::get) else {
            continue;
        };
        for (sum, cell) in sums.iter_mut().zip(own.iter().skip(APART)) {
            *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = MOST_BLOCKS - 1;

    #[test]
    fn what_threads_count_adds_up_and_outlives_them() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..1000).for_each(|_| Row::of(BLOCK, 20).add(17, 2));
                    Row::of(BLOCK, 20).add(3, 1_u64.wrapping_neg());
                });
            }
        });
        Row::of(BLOCK, 20).add(3, 4);
        let sums = sums(BLOCK, 20);
        assert_eq!((sums[17], sums[3]), (8000, 0));
    }

    #[test]
    fn a_thread_takes_over_the_cells_of_one_that_has_ended() {
        let count = || std::thread::spawn(|| Row::of(0, 1).add(0, 0)).join();
        count().unwrap();
        let before = workers().all.len();
        for _ in 0..50 {
            count().unwrap();
        }
        // Other tests run beside this one, on threads of their own.
        assert!(workers().all.len() < before + 50);
    }

    #[test]
    fn what_is_counted_while_a_thread_ends_is_not_lost() {
        struct Late;
        impl Drop for Late {
            fn drop(&mut self) {
                Row::of(BLOCK - 1, 1).add(0, 1);
            }
        }
        thread_local!(static LATE: Late = const { Late });
        let thread = std::thread::spawn(|| {
            LATE.with(|_| ());
            Row::of(BLOCK - 1, 1).add(0, 1);
        });
        thread.join().unwrap();
        assert_eq!(sums(BLOCK - 1, 1), [2]);
    }

    #[test]
    fn cells_that_are_not_there_count_nothing() {
        Row::of(MOST_BLOCKS, 8).add(0, 1);
        Row::of(BLOCK - 2, 8).add(8 + APART, 1);
        assert_eq!(sums(BLOCK - 2, 8), [0; 8]);
    }
}
