//! Idle connections, kept for the next request.
//!
//! The pool is striped by worker: a worker gives back to its own stripe and looks there first, so
//! workers don't wait for each other's locks. An entry remembers the tokio runtime that its socket is
//! registered with and is handed out on that one only: elsewhere, each readiness would be a wake-up
//! across threads, and the socket would die with its owner.
//!
//! While a connection is idle, the reactor holds a waker of the pool's. It takes down which entry
//! was woken and wakes the stripe's one janitor, a task that looks at the entry: closed by the
//! peer, unexpected bytes, or only a TLS session ticket. The janitor also removes what waited
//! longer than it was allowed to. The waker itself never touches the connection: it may be called
//! while the transport's own locks are held. A connection that did not wake its entry is alive as
//! far as anybody in this process can know, so taking it asks neither the kernel nor the reactor.
//!
//! ```text
//! put ──▶ unwatched ── 100 ms ──▶ watched ── woken ──▶ examined ── dead ──▶ dropped
//!             │                     │  ◀── only a session ticket ──┘
//!             └─────── take ────────┤
//!                                   └── its time is over, or the pool is full ──▶ dropped
//! ```
//!
//! Of a plain socket the reactor's entry says as much without a waker. So a busy one, that is taken out
//! again within a tenth of a second, has none: the janitor leaves the wakers of those that stay.

mod janitor;
mod slots;
mod stripe;
mod watch;

use super::options::PoolCallback;
use crate::protocols::Stream;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::runtime::local::{runtime_id, worker_id};
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

/// An event on an idle connection. Either way it can't be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleEvent {
    /// The peer closed it, or it failed.
    Closed,
    /// The peer sent unrequested bytes.
    UnexpectedData,
}

/// A connection that can wait in a [`Pool`].
pub trait Poolable: Send + 'static {
    /// Looks, without waiting, whether something happened since the connection is idle, and
    /// arranges for the waker in `cx` to be called when something does. Pending: it is alive.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<IdleEvent>;

    /// Whether nothing has happened so far, where the reactor knows that without being asked to call when
    /// something does: then it need not be asked as long as the connection is soon used again.
    /// `None`: that is not known, and [`poll_idle`](Poolable::poll_idle) has to tell.
    fn is_quiet(&self) -> Option<bool> {
        None
    }

    /// The runtime that the connection's socket is registered with. By default that is the one that the
    /// caller is in; a type that remembers is cheaper to ask.
    fn runtime(&self) -> RuntimeId {
        Handle::try_current().ok().map(|handle| handle.id())
    }
}

impl Poolable for Stream {
    /// A read of one byte. On a socket with nothing to read the runtime mostly knows that without
    /// a system call. What a TLS session can answer for itself, a session ticket for instance, is
    /// no event.
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

    /// Known of plain sockets.
    fn is_quiet(&self) -> Option<bool> {
        let socket = self.as_any().downcast_ref::<L4Stream>()?;
        socket.is_quiet()
    }
}

/// Counters that all stripes share.
#[derive(Debug, Default)]
struct Counters {
    unexpected_data: Arc<AtomicU64>,
}

impl Counters {
    /// Something happened on an idle connection.
    fn note(&self, event: IdleEvent) {
        if event == IdleEvent::UnexpectedData {
            self.unexpected_data.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Idle connections by key; see the module's text.
pub struct Pool<S: Poolable> {
    stripes: Box<[Arc<Stripe<S>>]>,
    counters: Arc<Counters>,
    capacity: usize,
    /// The number that each stripe may hold without asking how many the others do.
    share: usize,
    on_reuse: Option<PoolCallback>,
}

impl<S: Poolable> Pool<S> {
    /// A pool for `capacity` connections; 0 keeps none. `on_reuse` hears how long each connection
    /// that is taken out was idle.
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
        Pool {
            stripes: (0..stripes).map(stripe).collect(),
            counters,
            capacity,
            share: capacity / stripes,
            on_reuse,
        }
    }

    /// The connection under `key` that was given back last, alive, and registered with the present
    /// runtime. Never waits for a lock but this worker's own.
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

    /// Keeps a connection for at most `idle_timeout`; `None` is without limit. One that is closed
    /// or that has unexpected bytes is dropped. Where the pool is full, the oldest connection has
    /// to go; the oldest of this worker, which is nearly the same. A worker with less than its share
    /// does not ask what the others have: the pool may be over its capacity until one with more puts
    /// something in.
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
            // A timeout beyond the end of time is none.
            deadline: idle_timeout.and_then(|timeout| idle_since?.checked_add(timeout)),
        };
        let (own, others) = self.own_and_others();
        if !own.put(entry) {
            return;
        }
        // As long as no stripe has more than a fair share, there is nothing to be counted.
        let mut others = others.into_iter();
        while own.len() > self.share && self.len() > self.capacity {
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

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stripes.iter().all(|stripe| stripe.len() == 0)
    }

    /// Counts the idle connections that were dropped because the peer sent unexpected bytes.
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

/// The runtime that an entry belongs to; `None` for one that was made outside of any.
pub type RuntimeId = Option<Id>;

#[cfg(test)]
mod tests;
