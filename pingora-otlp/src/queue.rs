//! Spans in transit from the workers to the service: bounded, so that no worker ever waits.

use pingora_proxy::trace::{Span, SpanSink};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// The numbers of spans by their fate, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtlpCounts {
    /// The collector has accepted them.
    pub exported: u64,
    /// There was no room for them: too many came at once, or the collector is gone.
    pub dropped: u64,
    /// The collector has refused them, or could not be reached for too long.
    pub failed: u64,
}

#[derive(Debug)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<Vec<Span>>,
    /// The number of spans in transit, to which the limit applies.
    waiting: AtomicUsize,
    limit: usize,
    dropped: AtomicU64,
    pub(crate) exported: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Queue {
    /// For at most this many spans.
    pub(crate) fn new(limit: usize) -> (Self, mpsc::UnboundedReceiver<Vec<Span>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queue = Queue {
            sender,
            waiting: AtomicUsize::new(0),
            limit,
            dropped: AtomicU64::new(0),
            exported: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        (queue, receiver)
    }

    /// This many spans are no longer in transit.
    pub(crate) fn arrived(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> OtlpCounts {
        OtlpCounts {
            exported: self.exported.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

impl SpanSink for Queue {
    fn take(&self, spans: Vec<Span>) {
        let count = spans.len();
        let before = self.waiting.fetch_add(count, Ordering::Relaxed);
        let fits = before + count <= self.limit;
        // The service may be gone at the end of the process.
        if !fits || self.sender.send(spans).is_err() {
            self.waiting.fetch_sub(count, Ordering::Relaxed);
            self.dropped.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}
