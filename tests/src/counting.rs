//! An allocator that counts, for programs whose memory is to be known to the byte.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counting what is in use. To be made the global one by a program.
#[derive(Debug)]
pub struct CountingAllocator;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if now > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(now, Ordering::Relaxed);
    }
}

fn less(bytes: usize) {
    NOW.fetch_sub(bytes, Ordering::Relaxed);
}

impl CountingAllocator {
    /// Bytes in use at present, and the most there were since the last call.
    pub fn in_use() -> (usize, usize) {
        let now = NOW.load(Ordering::Relaxed);
        (now, PEAK.swap(now, Ordering::Relaxed).max(now))
    }
}

#[allow(
    unsafe_code,
    reason = "an allocator can't be written without; this one passes every call on"
)]
// SAFETY: each method hands its arguments, which its caller vouches for, to the system's allocator
// and returns what that returned; the counters don't allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        less(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        more(new_size);
        less(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}
