//! The connections to all peers, in use or idle.
//!
//! A connection stays where it is while requests come and go: it is registered with the runtime that
//! drives it, and only looked up there. Capacity is one number over all runtimes and counts idle
//! connections. A connection's own task closes it when it was idle for too long, and takes it out of
//! here; so nobody has to look for what is over.

use super::flight::{Flight, Leader, Wait};
use crate::connectors::options::PoolCallback;
use crate::protocols::UniqueIDType;
use crate::protocols::http::v2::client::{Activity, ConnectionRef, Reserved};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

/// How many parts the pool is cut into, each with a lock of its own. A power of two.
const STRIPES: usize = 16;

/// What tells connections apart: who is at the other end, and the runtime that drives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    peer: u64,
    runtime: Option<Id>,
}

impl Key {
    /// On the present runtime.
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
struct Place {
    /// The longest used first: those behind become idle sooner.
    connections: Vec<ConnectionRef>,
    flights: Vec<Flight>,
}

type Places = HashMap<Key, Place>;

/// What the pool shares with its connections and with those who make them.
pub(super) struct Registry {
    stripes: [Mutex<Places>; STRIPES],
    capacity: usize,
    /// Idle connections. For moments it may be off by as many as change at the same time.
    idle: Arc<AtomicIsize>,
    flights: AtomicU64,
    on_reuse: Option<PoolCallback>,
}

/// All connections of a connector, in use or idle.
///
/// Connections are found by the peer's [`reuse_hash`](crate::upstreams::peer::Peer::reuse_hash) and
/// on the runtime that they were made on only.
pub struct InUsePool {
    registry: Arc<Registry>,
}

/// How a request gets to a connection.
pub(super) enum Departure {
    /// There is one with room; a place on it is reserved.
    Reserved(ConnectionRef),
    /// One is being made that will have room.
    Wait(Wait),
    /// Somebody has to make one.
    Lead(Leader),
}

impl InUsePool {
    /// A pool that keeps at most `capacity` idle connections. `on_reuse` hears how long each
    /// connection was idle that is used again.
    pub(super) fn new(capacity: usize, on_reuse: Option<PoolCallback>) -> Self {
        let registry = Registry {
            stripes: Default::default(),
            capacity,
            idle: Arc::default(),
            flights: AtomicU64::new(0),
            on_reuse,
        };
        InUsePool {
            registry: Arc::new(registry),
        }
    }

    /// Adds a connection to the peer that this hash stands for, driven by the present runtime.
    pub fn insert(&self, reuse_hash: u64, conn: ConnectionRef) {
        self.put(Key::of(reuse_hash), conn);
    }

    /// A connection with room for another exchange, on the present runtime. The room is not
    /// reserved.
    pub fn get(&self, reuse_hash: u64) -> Option<ConnectionRef> {
        let key = Key::of(reuse_hash);
        let places = self.registry.lock(key);
        let mut connections = places.get(&key)?.connections.iter();
        connections
            .find(|conn| conn.more_streams_allowed())
            .cloned()
    }

    /// Takes a connection out.
    pub fn release(&self, reuse_hash: u64, id: UniqueIDType) -> Option<ConnectionRef> {
        self.registry
            .take_out(Key::of(reuse_hash), |conn| conn.id() == id)
    }

    pub(super) fn put(&self, key: Key, conn: ConnectionRef) {
        conn.activity().belong_to(self.registry.idle.clone());
        let mut places = self.registry.lock(key);
        // A connection that has ended already has looked for itself in vain.
        if !conn.activity().is_retired() {
            places.entry(key).or_default().connections.push(conn);
            drop(places);
            self.registry.evict();
        }
    }

    /// A place on a connection with room.
    pub(super) fn reserve(&self, key: Key) -> Option<ConnectionRef> {
        let mut unfit = Vec::new();
        let mut places = self.registry.lock(key);
        let place = places.get_mut(&key)?;
        let found = place.reserve(&mut unfit);
        if place.is_empty() {
            places.remove(&key);
        }
        drop(places);
        found.map(|(conn, was_idle)| self.registry.found(conn, was_idle))
    }

    /// The way to a connection; a new one will have room for `seats` exchanges.
    pub(super) fn depart(&self, key: Key, seats: usize) -> Departure {
        let registry = &self.registry;
        let mut unfit = Vec::new();
        let mut places = registry.lock(key);
        let place = places.entry(key).or_default();
        if let Some((conn, was_idle)) = place.reserve(&mut unfit) {
            drop(places);
            return Departure::Reserved(registry.found(conn, was_idle));
        }
        if let Some(wait) = place.flights.iter_mut().find_map(Flight::join) {
            return Departure::Wait(wait);
        }
        let number = registry.flights.fetch_add(1, Ordering::Relaxed);
        let (flight, leader) = Flight::new(number, seats, registry.clone(), key);
        place.flights.push(flight);
        Departure::Lead(leader)
    }

    /// What takes a new connection out when it is over.
    pub(super) fn departing(&self, key: Key) -> Departing {
        Departing {
            registry: Arc::downgrade(&self.registry),
            key: Some(key),
            activity: None,
        }
    }

    /// An exchange on this connection is over.
    pub(super) fn released(&self, conn: ConnectionRef, idle_timeout: Option<Duration>) {
        if idle_timeout == Some(Duration::ZERO) {
            // Its task takes it out.
            conn.activity().retire_if_idle();
        }
        self.registry.evict();
    }

    /// How many connections are idle.
    pub(super) fn idle(&self) -> usize {
        usize::try_from(self.registry.idle.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

impl Place {
    fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.flights.is_empty()
    }

    /// A place on the first connection with room, and whether it was idle. What takes no more
    /// exchanges goes to `unfit`, to be dropped without the lock.
    fn reserve(&mut self, unfit: &mut Vec<ConnectionRef>) -> Option<(ConnectionRef, bool)> {
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
    fn stripe(&self, key: Key) -> &Mutex<Places> {
        // The hash of a peer is a hash already.
        let index = (key.peer ^ (key.peer >> 32)) as usize & (STRIPES - 1);
        &self.stripes[index]
    }

    fn lock(&self, key: Key) -> MutexGuard<'_, Places> {
        lock(self.stripe(key))
    }

    /// Tells how long a connection was idle that is used again.
    fn found(&self, conn: ConnectionRef, was_idle: bool) -> ConnectionRef {
        if let (true, Some(on_reuse)) = (was_idle, &self.on_reuse) {
            let now = Instant::now();
            on_reuse(now.saturating_duration_since(conn.activity().idle_begin()));
        }
        conn
    }

    fn take_out(
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

    pub(super) fn end_flight(&self, key: Key, number: u64) {
        let mut places = self.lock(key);
        if let Some(place) = places.get_mut(&key) {
            place.flights.retain(|flight| flight.number != number);
            if place.is_empty() {
                places.remove(&key);
            }
        }
    }

    /// Closes idle connections until there are no more than may be kept: the one that is idle
    /// longest, of a part of the pool that has any.
    fn evict(&self) {
        let capacity = isize::try_from(self.capacity).unwrap_or(isize::MAX);
        while self.idle.load(Ordering::Relaxed) > capacity {
            let evicted = self.stripes.iter().any(|stripe| {
                let places = lock(stripe);
                let all = places.values().flat_map(|place| &place.connections);
                let oldest = all
                    .filter(|conn| conn.is_idle() && !conn.activity().is_retired())
                    .min_by_key(|conn| conn.activity().idle_begin());
                // Its task takes it out.
                oldest.is_some_and(|conn| conn.activity().retire_if_idle())
            });
            if !evicted {
                return;
            }
        }
    }
}

fn lock(stripe: &Mutex<Places>) -> MutexGuard<'_, Places> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a connection out of its pool when it is not to be used any more.
pub(super) struct Departing {
    registry: Weak<Registry>,
    key: Option<Key>,
    activity: Option<Arc<Activity>>,
}

impl Departing {
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
    /// Also when the task ends with its runtime.
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for InUsePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InUsePool")
            .field("idle", &self.idle())
            .field("capacity", &self.registry.capacity)
            .finish_non_exhaustive()
    }
}
