//! The system's allocator, with counters of the memory in use.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

/// Allocations are classified by their size, in steps of this many bytes.
const STEP: usize = 16;
/// Larger ones are counted together.
const LARGEST: usize = 8192;
const CLASSES: usize = LARGEST / STEP + 1;

/// The number of allocations of each class.
static COUNT: [AtomicIsize; CLASSES] = [const { AtomicIsize::new(0) }; CLASSES];
static BYTES: AtomicIsize = AtomicIsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(size: usize, sign: isize) {
    let class = size.div_ceil(STEP).min(CLASSES - 1);
    COUNT[class].fetch_add(sign, Ordering::Relaxed);
    BYTES.fetch_add(sign * size as isize, Ordering::Relaxed);
}

#[allow(
    unsafe_code,
    reason = "an allocator can't be written without; this one passes every call on"
)]
// SAFETY: each method hands its arguments, which its caller vouches for, to the system's allocator
// and returns what that returned; the counters don't allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(layout.size(), -1);
        note(new_size, 1);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// The memory in use at one moment.
pub(crate) struct InUse {
    pub(crate) bytes: isize,
    count: Vec<isize>,
}

impl InUse {
    pub(crate) fn now() -> Self {
        // Allocated first, so that it is included in both of two compared moments.
        let mut count = Vec::with_capacity(CLASSES);
        count.extend(COUNT.iter().map(|n| n.load(Ordering::Relaxed)));
        InUse {
            bytes: BYTES.load(Ordering::Relaxed),
            count,
        }
    }

    /// The sizes of which there are more now than `before`, divided by `connections`.
    pub(crate) fn by_size(&self, before: &InUse, connections: usize) -> String {
        let mut text = String::new();
        for (class, (now, then)) in self.count.iter().zip(&before.count).enumerate() {
            let each = (now - then) as f64 / connections as f64;
            if each.abs() > 0.002 {
                let size = if class == CLASSES - 1 {
                    format!("over {}", LARGEST - STEP)
                } else {
                    format!("up to {}", class * STEP)
                };
                text += &format!("{each:>8.3} of {size} bytes\n");
            }
        }
        text
    }
}
