//! Idle connections, kept for the next request.
//!
//! The pool is striped by worker: a worker gives connections back to its own stripe and looks there
//! first, so workers don't wait for each other's locks. An entry remembers the tokio runtime that its
//! socket is registered with and is only handed out on that one: elsewhere, each readiness event
//! would be a wake-up across threads, and the socket would die with its runtime.
//!
//! While a connection is idle, the reactor holds a waker of the pool's. When called, it records
//! which entry was woken and wakes the stripe's one janitor, a task that examines the entry: closed
//! by the peer, unexpected bytes, or only a TLS session ticket. The janitor also removes entries
//! that exceeded their idle time. The waker itself never touches the connection: it may be called
//! while the transport's own locks are held. A connection that did not wake its entry is alive as
//! far as this process can know, so taking it queries neither the kernel nor the reactor.
//!
//! ```text
//! put ──▶ unwatched ── 100 ms ──▶ watched ── woken ──▶ examined ── dead ──▶ dropped
//!             │                     │  ◀── only a session ticket ──┘
//!             └─────── take ────────┤
//!                                   └── its time is over, or the pool is full ──▶ dropped
//! ```
//!
//! For a plain socket the reactor's entry gives the same information without a waker. So a busy one,
//! which is taken out again within a tenth of a second, has none: the janitor registers wakers for
//! those that stay.

mod ends;
mod figures;
mod janitor;
mod slots;
mod stripe;
mod watch;

use super::options::PoolCallback;
use crate::protocols::Stream;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::runtime::local::{runtime_id, worker_id};
use ends::{IdleEnd, idle_closed};
use figures::Figures;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use stripe::Stripe;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

/// An event on an idle connection. In either case it can't be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleEvent {
    /// The peer closed it, or it failed.
    Closed,
    /// The peer sent unrequested bytes.
    UnexpectedData,
}

/// A connection that can wait in a [`Pool`].
pub trait Poolable: Send + 'static {
    /// Checks, without waiting, whether something happened while the connection was idle, and
    /// arranges for the waker in `cx` to be called when something does. Pending: it is alive.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<IdleEvent>;

    /// Whether nothing has happened so far, if the reactor knows that without a registered waker: in that
    /// case no waker need be registered if the connection is soon reused. `None`: unknown, and
    /// [`poll_idle`](Poolable::poll_idle) has to find out.
    fn is_quiet(&self) -> Option<bool> {
        None
    }

    /// The runtime that the connection's socket is registered with. By default the caller's runtime; a
    /// type that stores it is cheaper to query.
    fn runtime(&self) -> RuntimeId {
        Handle::try_current().ok().map(|handle| handle.id())
    }
}

impl Poolable for Stream {
    /// A read of one byte. On a socket with nothing to read, the runtime usually knows that without
    /// a system call. Data that a TLS session handles by itself, such as a session ticket, is not
    /// an event.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<IdleEvent> {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        Pin::new(self)
            .poll_read(cx, &mut buf)
            .map(|result| match result {
                Ok(()) if !buf.filled().is_empty() => IdleEvent::UnexpectedData,
                _ => IdleEvent::Closed,
            })
    }

    /// Known for plain sockets.
    fn is_quiet(&self) -> Option<bool> {
        let socket = self.as_any().downcast_ref::<L4Stream>()?;
        socket.is_quiet()
    }
}

/// Counters shared by all stripes.
#[derive(Debug, Default)]
struct Counters {
    unexpected_data: Arc<AtomicU64>,
}

impl Counters {
    /// Something happened on an idle connection.
    fn note(&self, event: IdleEvent) {
        match event {
            IdleEvent::Closed => idle_closed(IdleEnd::ClosedByPeer, 1),
            IdleEvent::UnexpectedData => {
                self.unexpected_data.fetch_add(1, Ordering::Relaxed);
                idle_closed(IdleEnd::UnexpectedData, 1);
            }
        }
    }
}

/// Idle connections by key; see the module's documentation.
pub struct Pool<S: Poolable> {
    stripes: Box<[Arc<Stripe<S>>]>,
    counters: Arc<Counters>,
    capacity: usize,
    /// The number of entries that each stripe may hold without checking the others.
    share: usize,
    on_reuse: Option<PoolCallback>,
    /// Tells how many are idle, for as long as the pool is there.
    _figures: Arc<Figures<S>>,
}

impl<S: Poolable> Pool<S> {
    /// A pool for `capacity` connections; 0 keeps none. `on_reuse` is called with the idle time of
    /// each connection that is taken out.
    pub fn new(capacity: usize, on_reuse: Option<PoolCallback>) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_stripes(
            capacity,
            on_reuse,
            (2 * workers).next_power_of_two().min(64),
        )
    }

    fn with_stripes(capacity: usize, on_reuse: Option<PoolCallback>, stripes: usize) -> Self {
        debug_assert!(stripes.is_power_of_two());
        let counters = Arc::new(Counters::default());
        let stripe = |_| Stripe::new(counters.clone());
        let stripes: Box<[_]> = (0..stripes).map(stripe).collect();
        Pool {
            _figures: Figures::register(&stripes),
            share: capacity / stripes.len(),
            stripes,
            counters,
            capacity,
            on_reuse,
        }
    }

    /// The connection under `key` that was given back last, is alive, and is registered with the
    /// current runtime. Only ever waits for this worker's own lock.
    pub fn take(&self, key: u64) -> Option<S> {
        let runtime = runtime_id();
        let (own, others) = self.own_and_others();
        let taken = own.take(key, runtime).or_else(|| {
            others
                .into_iter()
                .find_map(|stripe| stripe.try_take(key, runtime))
        })?;
        if let (Some(on_reuse), Some(since)) = (&self.on_reuse, taken.idle_since) {
            on_reuse(since.elapsed());
        }
        Some(taken.item)
    }

    /// Keeps a connection for at most `idle_timeout`; `None` is without limit. A connection that is
    /// closed or has unexpected bytes is dropped. If the pool is full, the oldest connection is
    /// evicted; the oldest of this worker, which is nearly the same. A worker with less than its
    /// share does not check the others: the pool may exceed its capacity until a worker with more
    /// puts something in.
    pub fn put(&self, key: u64, item: S, idle_timeout: Option<Duration>) {
        if self.capacity == 0 || idle_timeout == Some(Duration::ZERO) {
            return;
        }
        let runtime = item.runtime();
        let timed = idle_timeout.is_some() || self.on_reuse.is_some();
        let idle_since = timed.then(Instant::now);
        let entry = slots::Entry {
            item,
            key,
            runtime,
            is_watched: false,
            idle_since,
            // A timeout beyond the clock's range counts as none.
            deadline: idle_timeout.and_then(|timeout| idle_since?.checked_add(timeout)),
        };
        let (own, others) = self.own_and_others();
        if !own.put(entry) {
            return;
        }
        // As long as no stripe has more than a fair share, nothing has to be counted.
        let mut others = others.into_iter();
        while own.len() > self.share && self.len() > self.capacity {
            idle_closed(IdleEnd::PoolFull, 1);
            let evicted = own.evict_all_but(1);
            if evicted.is_none() && !others.any(|s| s.try_evict().is_some()) {
                drop(own.evict_all_but(0));
            }
        }
    }

    /// This worker's stripe, and the others, beginning with its neighbour.
    fn own_and_others(&self) -> (&Stripe<S>, impl IntoIterator<Item = &Arc<Stripe<S>>>) {
        // Their number is a power of two.
        let own = worker_id() & (self.stripes.len() - 1);
        let (before, rest) = self.stripes.split_at(own);
        (&rest[0], rest[1..].iter().chain(before))
    }

    /// The number of idle connections.
    pub fn len(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stripes.iter().all(|stripe| stripe.len() == 0)
    }

    /// The counter of idle connections that were dropped because the peer sent unexpected bytes.
    pub fn unexpected_data_counter(&self) -> Arc<AtomicU64> {
        self.counters.unexpected_data.clone()
    }
}

impl<S: Poolable> fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("idle", &self.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// The runtime that an entry belongs to; `None` if it was created outside of any.
pub type RuntimeId = Option<Id>;

#[cfg(test)]
mod tests;
