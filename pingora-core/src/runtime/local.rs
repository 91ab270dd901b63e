//! The state of one worker thread: its number, its scratch buffer, its free lists.
//!
//! Nothing in here is shared, so nothing in here locks. A task may wake up on another worker of its
//! runtime, so everything borrowed from here is given back before the end of the poll that borrowed
//! it.

use crate::sys::splice::Pipe;
use crate::timeout::keep_timers;
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::{Handle, Id};

/// Size of a worker's scratch buffer, in bytes: the maximum size of one read from a socket.
pub const SCRATCH_SIZE: usize = 64 * 1024;

static NEXT_WORKER: AtomicUsize = AtomicUsize::new(0);

/// The number of buffers that a worker keeps for later messages.
const BUFFERS_KEPT: usize = 32;
/// Buffers that grew beyond this are not kept.
const BUFFER_KEPT_SIZE: usize = 32 * 1024;

/// The number of chunks for large bodies that a worker keeps.
const CHUNKS_KEPT: usize = 8;
/// The number of empty pipes that a worker keeps, with two descriptors each.
const PIPES_KEPT: usize = 16;

thread_local! {
    static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
    static CHUNKS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
    static RUNTIME: Cell<Option<Id>> = const { Cell::new(None) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A small number that is unique to this thread: for choosing a stripe.
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

/// The tokio runtime that this thread is a worker of, or, on other threads, the one that it is in. `None`
/// if there is none.
///
/// A worker that meanwhile blocks on another runtime still gets its own.
#[inline]
pub fn runtime_id() -> Option<Id> {
    RUNTIME
        .get()
        .or_else(|| Handle::try_current().ok().map(|handle| handle.id()))
}

/// Records that this thread is a worker of its current runtime until it ends: asking tokio each time
/// costs two atomic operations. Timers are kept here from then on.
pub(super) fn belong_to_runtime() {
    keep_timers();
    RUNTIME.set(Handle::try_current().ok().map(|handle| handle.id()));
}

/// Lends the worker's scratch buffer, [`SCRATCH_SIZE`] bytes of unspecified content, to `f`.
///
/// The buffer must be used within one poll; lending it to a closure ensures that. A nested call
/// from within `f` gets a buffer of its own.
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

/// An empty buffer, from the worker's free list if it has one.
#[inline]
pub fn take_buffer() -> Vec<u8> {
    BUFFERS
        .with(|b| b.borrow_mut().pop())
        .unwrap_or_else(|| Vec::with_capacity(1024))
}

/// Gives a buffer back to the current worker; its content is dropped.
#[inline]
pub fn give_buffer(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > BUFFER_KEPT_SIZE {
        return;
    }
    buffer.clear();
    // The free list is gone while the thread ends; the buffer is then freed normally.
    let _ = BUFFERS.try_with(|b| {
        let mut kept = b.borrow_mut();
        if kept.len() < BUFFERS_KEPT {
            kept.push(buffer);
        }
    });
}

/// Memory of this size for a large body, from the worker's free list; `None` if the list has no chunk
/// whose pieces were all written.
pub fn take_chunk(size: usize) -> Option<BytesMut> {
    CHUNKS.with(|chunks| {
        let mut kept = chunks.borrow_mut();
        let free = kept.iter_mut().rposition(|chunk| chunk.try_reclaim(size));
        free.map(|at| kept.swap_remove(at))
    })
}

/// Gives such memory back. Pieces split off from it may still be in use.
pub fn give_chunk(mut chunk: BytesMut) {
    chunk.clear();
    let _ = CHUNKS.try_with(|c| {
        let mut kept = c.borrow_mut();
        if kept.len() == CHUNKS_KEPT {
            // The chunk that has waited longest for its pieces to be written.
            kept.remove(0);
        }
        kept.push(chunk);
    });
}

/// An empty pipe, from the worker's free list if it has one. `None` if this process may have no
/// more of them.
pub(crate) fn take_pipe() -> Option<Pipe> {
    let kept = PIPES.try_with(|p| p.borrow_mut().pop()).ok().flatten();
    kept.or_else(|| {
        Pipe::new()
            .inspect_err(|e| log::debug!("no pipe to splice by: {e}"))
            .ok()
    })
}

/// Gives back a pipe, which must be empty.
pub(crate) fn give_pipe(pipe: Pipe) {
    let _ = PIPES.try_with(|p| {
        let mut kept = p.borrow_mut();
        if kept.len() < PIPES_KEPT {
            kept.push(pipe);
        }
    });
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
    fn memory_comes_back_once_its_pieces_are_written() {
        let mut chunk = BytesMut::with_capacity(1000);
        chunk.extend_from_slice(&[1; 600]);
        let piece = chunk.split().freeze();
        give_chunk(chunk);
        assert!(take_chunk(1000).is_none(), "it is still in use");
        drop(piece);
        assert_eq!(take_chunk(1000).unwrap().capacity(), 1000);
        assert!(take_chunk(1).is_none());
        (0..2 * CHUNKS_KEPT).for_each(|_| give_chunk(BytesMut::with_capacity(10)));
        let kept = std::iter::from_fn(|| take_chunk(10)).count();
        assert_eq!(kept, CHUNKS_KEPT);
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
