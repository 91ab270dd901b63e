//! The state that the pool shares with its connections and with the tasks that establish them: the existing
//! connections, those being established, and a lock for each part.

use super::flight::{Flight, Landing, Wait};
use crate::connectors::options::PoolCallback;
use crate::protocols::http::v2::client::{Activity, ConnectionRef, Reserved};
use std::collections::HashMap;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::runtime::{Handle, Id};
use tokio::sync::watch;
use tokio::time::Instant;

/// The number of parts of the pool, each with its own lock. A power of two.
const STRIPES: usize = 16;

/// The key of a connection: the peer, and the runtime that drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    peer: u64,
    runtime: Option<Id>,
}

impl Key {
    /// On the current runtime.
    pub(super) fn of(peer: u64) -> Self {
        let runtime = Handle::try_current().ok();
        Key {
            peer,
            runtime: runtime.map(|handle| handle.id()),
        }
    }
}

/// The connections to one peer.
#[derive(Default)]
pub(super) struct PeerConnections {
    /// Longest in use first: the later ones become idle sooner.
    pub(super) connections: Vec<ConnectionRef>,
    flights: Vec<Flight>,
}

pub(super) type ConnectionsByPeer = HashMap<Key, PeerConnections>;

/// The state that the pool shares with its connections and with the tasks that establish them.
pub(super) struct Registry {
    stripes: [Mutex<ConnectionsByPeer>; STRIPES],
    pub(super) capacity: usize,
    /// The number of idle connections. It may be off briefly by as many as change at the same time.
    pub(super) idle: Arc<AtomicIsize>,
    flights: AtomicU64,
    on_reuse: Option<PoolCallback>,
}

impl PeerConnections {
    /// A place among the waiters for a connection that is being established, if one has room.
    pub(super) fn join(&mut self) -> Option<Wait> {
        self.flights.iter_mut().find_map(Flight::join)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.flights.is_empty()
    }

    /// A slot on the first connection with room, and whether it was idle. Connections that accept
    /// no more exchanges are moved to `unfit`, to be dropped without holding the lock.
    pub(super) fn reserve(
        &mut self,
        unfit: &mut Vec<ConnectionRef>,
    ) -> Option<(ConnectionRef, bool)> {
        let mut at = 0;
        while let Some(conn) = self.connections.get(at) {
            match conn.reserve() {
                Reserved::Slot(was_idle) => return Some((conn.clone(), was_idle)),
                Reserved::Full => at += 1,
                Reserved::Unfit => unfit.push(self.connections.remove(at)),
            }
        }
        None
    }
}

impl Registry {
    /// A registry that keeps at most `capacity` idle connections. `on_reuse` is called with the idle
    /// time of each connection that is reused.
    pub(super) fn new(capacity: usize, on_reuse: Option<PoolCallback>) -> Self {
        Registry {
            stripes: Default::default(),
            capacity,
            idle: Arc::default(),
            flights: AtomicU64::new(0),
            on_reuse,
        }
    }

    /// Adds a flight to a place whose lock the caller holds.
    pub(super) fn begin_flight(
        self: &Arc<Self>,
        key: Key,
        place: &mut PeerConnections,
        seats: usize,
    ) -> Leader {
        let number = self.flights.fetch_add(1, Ordering::Relaxed);
        let (flight, sender) = Flight::new(number, seats);
        place.flights.push(flight);
        Leader {
            number,
            key,
            registry: self.clone(),
            sender,
        }
    }

    fn stripe(&self, key: Key) -> &Mutex<ConnectionsByPeer> {
        // The hash of a peer is already a hash.
        let index = (key.peer ^ (key.peer >> 32)) as usize & (STRIPES - 1);
        &self.stripes[index]
    }

    pub(super) fn lock(&self, key: Key) -> MutexGuard<'_, ConnectionsByPeer> {
        lock(self.stripe(key))
    }

    /// Reports the idle time of a connection that is reused.
    pub(super) fn found(&self, conn: ConnectionRef, was_idle: bool) -> ConnectionRef {
        if let (true, Some(on_reuse)) = (was_idle, &self.on_reuse) {
            let now = Instant::now();
            on_reuse(now.saturating_duration_since(conn.activity().idle_begin()));
        }
        conn
    }

    pub(super) fn take_out(
        &self,
        key: Key,
        mut wanted: impl FnMut(&ConnectionRef) -> bool,
    ) -> Option<ConnectionRef> {
        let mut places = self.lock(key);
        let place = places.get_mut(&key)?;
        let at = place.connections.iter().position(&mut wanted)?;
        let conn = place.connections.remove(at);
        if place.is_empty() {
            places.remove(&key);
        }
        Some(conn)
    }

    fn end_flight(&self, key: Key, number: u64) {
        let mut places = self.lock(key);
        if let Some(place) = places.get_mut(&key) {
            place.flights.retain(|flight| flight.number != number);
            if place.is_empty() {
                places.remove(&key);
            }
        }
    }

    /// Closes idle connections until their number is within the capacity: each time the one that
    /// has been idle longest, in a part of the pool that has any.
    pub(super) fn evict(&self) {
        let capacity = isize::try_from(self.capacity).unwrap_or(isize::MAX);
        while self.idle.load(Ordering::Relaxed) > capacity {
            let evicted = self.stripes.iter().any(|stripe| {
                let places = lock(stripe);
                let all = places.values().flat_map(|place| &place.connections);
                let oldest = all
                    .filter(|conn| conn.is_idle() && !conn.activity().is_retired())
                    .min_by_key(|conn| conn.activity().idle_begin());
                // Its task removes it.
                oldest.is_some_and(|conn| conn.activity().retire_if_idle())
            });
            if !evicted {
                return;
            }
        }
    }
}

fn lock(stripe: &Mutex<ConnectionsByPeer>) -> MutexGuard<'_, ConnectionsByPeer> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Establishes the connection. If it is dropped without a landing, other requests try.
pub(super) struct Leader {
    number: u64,
    key: Key,
    registry: Arc<Registry>,
    sender: watch::Sender<Landing>,
}

impl Leader {
    /// Notifies all waiters.
    pub(super) fn land(self, landing: Landing) {
        self.registry.end_flight(self.key, self.number);
        self.sender.send_replace(landing);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.registry.end_flight(self.key, self.number);
    }
}

/// Removes a connection from its pool when it must not be used any more.
pub(super) struct Departing {
    registry: Weak<Registry>,
    key: Option<Key>,
    activity: Option<Arc<Activity>>,
}

impl Departing {
    /// For a connection under this key.
    pub(super) fn from(registry: &Arc<Registry>, key: Key) -> Self {
        Departing {
            registry: Arc::downgrade(registry),
            key: Some(key),
            activity: None,
        }
    }

    /// For a connection that is in no pool.
    pub(super) fn nowhere() -> Self {
        Departing {
            registry: Weak::new(),
            key: None,
            activity: None,
        }
    }

    /// The same, with the connection named.
    pub(super) fn of(mut self, activity: Arc<Activity>) -> Self {
        self.activity = Some(activity);
        self
    }

    pub(super) fn leave(&self) {
        let (Some(registry), Some(key)) = (self.registry.upgrade(), self.key) else {
            return;
        };
        let Some(activity) = &self.activity else {
            return;
        };
        activity.retire();
        drop(registry.take_out(key, |conn| std::ptr::eq(conn.activity(), &**activity)));
    }
}

impl Drop for Departing {
    /// Also runs when the task ends with its runtime.
    fn drop(&mut self) {
        self.leave();
    }
}
