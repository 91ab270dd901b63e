//! The response bytes that one connection to a client holds.
//!
//! ```text
//!   upstream ──read──▶ queue of the stream ──handed over──▶ framing ──written──▶ socket
//!                      `queued`                             `unwritten`
//! ```
//!
//! Each stream has its own bound, but a hundred of them add up. Once both together reach the connection's
//! bound, a stream reads next to nothing ahead of its client ([`Ledger::read_ahead`]), and the data that
//! the framing has not written stays below the bound. Neither can stall a stream whose client lets it
//! continue: the queue is the stream's own, and data that was handed over has room in the client's windows,
//! so it is sent as soon as the client reads from its socket.

use crate::process::memory::{self, Holder, Level};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// The number of bytes that a stream may read ahead while its connection is full: a head, and the
/// beginning of a body.
const LITTLE: usize = 4 * 1024;
/// The same for a stream whose client accepts data: one frame.
const FRAME: usize = 16 * 1024;
/// The connection's window keeps all its uploads together below this, in bytes.
const MOST_UPLOADS: usize = CONNECTION_WINDOW as usize;
/// The number of bytes that a client may send ahead on all streams together: sixteen stalled uploads keep the
/// other streams of that client waiting.
pub(crate) const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Changes smaller than this, in bytes, are not reported to the process's account.
const GRAIN: usize = 16 * 1024;

/// The account of one connection; shared by its streams and its driver.
#[derive(Debug)]
pub(crate) struct Ledger {
    holder: Arc<Holder>,
    /// In bytes.
    bound: usize,
    /// The bytes that streams hold and can't hand over: bodies, and large request heads.
    queued: AtomicUsize,
    /// Bytes that were handed to the framing and are not written yet.
    unwritten: AtomicUsize,
    /// The bytes that the framing may hold of requests that are not being read.
    uploads: AtomicUsize,
    /// The payload that was written so far, in bytes.
    written: AtomicU64,
    /// The socket accepted nothing at the last attempt.
    blocked: AtomicBool,
    streams: AtomicUsize,
    /// Streams that wait for the framing to write. At most one entry for each.
    waiting: Mutex<Vec<Waker>>,
    waits: AtomicBool,
    closed: AtomicBool,
}

impl Ledger {
    /// For a connection whose streams may hold this many bytes together.
    pub(crate) fn new(bound: usize) -> Arc<Self> {
        Arc::new(Ledger {
            holder: Arc::default(),
            bound,
            queued: AtomicUsize::new(0),
            unwritten: AtomicUsize::new(0),
            uploads: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            streams: AtomicUsize::new(0),
            waiting: Mutex::default(),
            waits: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    fn held(&self) -> usize {
        self.queued.load(Ordering::Relaxed) + self.unwritten.load(Ordering::Relaxed)
    }

    /// The number of bytes that streams may currently hold together: fewer while memory is scarce
    /// for the process.
    fn bound(&self) -> usize {
        match memory::level() {
            Level::Plenty => self.bound,
            Level::Short => self.bound / 8,
            Level::Scarce | Level::Exhausted => self.bound / 64,
        }
    }

    /// Whether streams may read next to nothing ahead of the client.
    pub(crate) fn is_full(&self) -> bool {
        self.held() >= self.bound()
    }

    /// The number of bytes that a stream may read at once, if it has handed over `sent` bytes so
    /// far.
    pub(crate) fn read_ahead(&self, sent: usize) -> usize {
        if !self.is_full() {
            usize::MAX
        } else if sent >= 4 * FRAME {
            FRAME
        } else {
            LITTLE
        }
    }

    /// A stream, of which `counted` bytes were counted, now holds this many.
    pub(crate) fn requeue(&self, counted: &mut usize, bytes: usize) {
        match bytes.checked_sub(*counted) {
            Some(0) => return,
            Some(more) => self.queued.fetch_add(more, Ordering::Relaxed),
            None => self.queued.fetch_sub(*counted - bytes, Ordering::Relaxed),
        };
        *counted = bytes;
        self.settle();
    }

    /// The framing may now hold this many bytes of one request's body, of which `counted` were counted.
    pub(crate) fn note_upload(&self, counted: &mut usize, bytes: usize) {
        match bytes.checked_sub(*counted) {
            Some(0) => return,
            Some(more) => self.uploads.fetch_add(more, Ordering::Relaxed),
            None => self.uploads.fetch_sub(*counted - bytes, Ordering::Relaxed),
        };
        *counted = bytes;
        self.settle();
    }

    /// Ready when the framing may be given more data. The framing has a bound of its own; this one
    /// applies while memory is short.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let has_room = || {
            let unwritten = self.unwritten.load(Ordering::Acquire);
            let is_free = unwritten == 0 || memory::level() == Level::Plenty;
            is_free || unwritten < self.bound() || self.closed.load(Ordering::SeqCst)
        };
        if has_room() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.waits.store(true, Ordering::SeqCst);
        if has_room() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// A stream has handed over this many bytes.
    pub(crate) fn handed_over(&self, bytes: usize) {
        self.unwritten.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The connection was driven: the bytes that it holds unwritten, the payload that it has sent so
    /// far, and whether the socket accepted nothing. The connection's driver calls this.
    pub(crate) fn observe(&self, unwritten: usize, written: u64, blocked: bool) {
        self.unwritten.store(unwritten, Ordering::Release);
        self.written.store(written, Ordering::Relaxed);
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// The payload that was written so far, in bytes.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether the client is not reading from its socket.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// The connection was driven as far as possible, and has this many streams.
    pub(crate) fn turn_ended(&self, streams: usize) {
        if self.streams.load(Ordering::Relaxed) != streams {
            self.streams.store(streams, Ordering::Relaxed);
        }
        if self.waits.load(Ordering::SeqCst)
            && self.unwritten.load(Ordering::Relaxed) <= self.bound() / 2
        {
            self.wake_all();
        }
        self.settle();
    }

    #[cold]
    fn wake_all(&self) {
        let waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.waits.store(false, Ordering::SeqCst);
            std::mem::take(&mut *waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The connection is gone: nothing will be written, and no task has to wait for it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.unwritten.store(0, Ordering::Release);
        self.wake_all();
        self.settle();
    }

    /// Reports to the process's account.
    fn settle(&self) {
        let streams = self.streams.load(Ordering::Relaxed) * memory::STREAM;
        let framing = if self.closed.load(Ordering::Relaxed) {
            0
        } else {
            memory::FRAMING
        };
        let uploads = self.uploads.load(Ordering::Relaxed).min(MOST_UPLOADS);
        let held = self.held() + uploads + streams + framing;
        self.holder.settle(held, GRAIN);
    }

    /// Whether to close the connection because it holds more memory than any other; its driver is woken
    /// when that changes.
    pub(crate) fn poll_given_up(&self, cx: &Context<'_>) -> bool {
        // A connection that holds little won't be closed.
        self.holder.held() > 0 && self.holder.poll_given_up(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: usize = 100_000;

    fn poll_room(ledger: &Ledger) -> bool {
        ledger
            .poll_room(&Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn a_full_connection_reads_next_to_nothing_ahead() {
        let ledger = Ledger::new(BOUND);
        let (mut one, mut other) = (0, 0);
        ledger.requeue(&mut one, 60_000);
        assert_eq!(ledger.read_ahead(0), usize::MAX);
        ledger.requeue(&mut other, 40_000);
        assert_eq!(
            (ledger.read_ahead(0), ledger.read_ahead(1 << 20)),
            (LITTLE, FRAME)
        );
        ledger.requeue(&mut one, 59_999);
        assert!(!ledger.is_full());
        ledger.handed_over(1);
        assert!(ledger.is_full(), "what was not written counts");
        ledger.requeue(&mut one, 0);
        ledger.requeue(&mut other, 0);
        assert_eq!((ledger.held(), one, other), (1, 0, 0));
    }

    #[test]
    fn what_the_framing_holds_is_what_was_seen_last() {
        let ledger = Ledger::new(BOUND);
        ledger.handed_over(BOUND);
        assert!(ledger.is_full());
        assert!(poll_room(&ledger), "memory is not short");
        ledger.observe(10, 70, true);
        assert!(!ledger.is_full() && ledger.is_blocked());
        assert_eq!((ledger.held(), ledger.written()), (10, 70));
        ledger.observe(0, 80, false);
        assert!(!ledger.is_blocked() && ledger.held() == 0);
        ledger.close();
        assert!(poll_room(&ledger), "they find out that it is gone");
    }

    #[test]
    fn the_process_hears_of_what_a_connection_holds() {
        let ledger = Ledger::new(BOUND);
        ledger.turn_ended(0);
        let framing = memory::FRAMING;
        assert_eq!(ledger.holder.held(), framing);
        ledger.turn_ended(1);
        assert_eq!(
            ledger.holder.held(),
            framing,
            "a single stream is not worth it"
        );
        ledger.turn_ended(50);
        assert_eq!(ledger.holder.held(), framing + 50 * memory::STREAM);
        let mut counted = 0;
        ledger.requeue(&mut counted, 70_000);
        assert_eq!(ledger.holder.held(), framing + 50 * memory::STREAM + 70_000);
        ledger.requeue(&mut counted, 0);
        ledger.turn_ended(0);
        assert_eq!(ledger.holder.held(), framing);
        let mut uploads = [0; 20];
        for counted in &mut uploads {
            ledger.note_upload(counted, 128 * 1024);
        }
        assert_eq!(ledger.holder.held(), framing + MOST_UPLOADS);
        assert!(!ledger.is_full(), "responses are not held back for it");
        for counted in &mut uploads {
            ledger.note_upload(counted, 0);
        }
        assert_eq!(ledger.holder.held(), framing);
        ledger.close();
        assert_eq!(ledger.holder.held(), 0);
    }
}
