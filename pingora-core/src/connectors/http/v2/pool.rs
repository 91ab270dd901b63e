//! The connections to all peers, in use or idle.
//!
//! A connection stays in place while requests come and go: it is registered with the runtime that
//! drives it, and requests only look it up there. The capacity is one number over all runtimes and
//! counts idle connections. A connection's own task closes it after its idle time, and removes it
//! from here, so no task has to search for dead connections.

use super::flight::Wait;
use super::registry::{Departing, Key, Leader, Registry};
use crate::connectors::options::PoolCallback;
use crate::protocols::UniqueIDType;
use crate::protocols::http::v2::client::ConnectionRef;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// All connections of a connector, in use or idle.
///
/// Connections are found by the peer's [`reuse_hash`](crate::upstreams::peer::Peer::reuse_hash),
/// and only on the runtime that they were made on.
pub struct InUsePool {
    registry: Arc<Registry>,
}

/// The way in which a request gets a connection.
pub(super) enum Departure {
    /// There is one with room; a slot on it is reserved.
    Reserved(ConnectionRef),
    /// One that will have room is being established.
    Wait(Wait),
    /// The caller has to establish one.
    Lead(Leader),
}

impl InUsePool {
    /// A pool that keeps at most `capacity` idle connections. `on_reuse` is called with the idle
    /// time of each connection that is reused.
    pub(super) fn new(capacity: usize, on_reuse: Option<PoolCallback>) -> Self {
        InUsePool {
            registry: Arc::new(Registry::new(capacity, on_reuse)),
        }
    }

    /// Adds a connection to the peer with this hash, driven by the current runtime.
    pub fn insert(&self, reuse_hash: u64, conn: ConnectionRef) {
        self.put(Key::of(reuse_hash), conn);
    }

    /// A connection with room for another exchange, on the current runtime. The room is not
    /// reserved.
    pub fn get(&self, reuse_hash: u64) -> Option<ConnectionRef> {
        let key = Key::of(reuse_hash);
        let places = self.registry.lock(key);
        let mut connections = places.get(&key)?.connections.iter();
        connections
            .find(|conn| conn.more_streams_allowed())
            .cloned()
    }

    /// Removes a connection.
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

    /// A slot on a connection with room.
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
        if let Some(wait) = place.join() {
            return Departure::Wait(wait);
        }
        Departure::Lead(registry.begin_flight(key, place, seats))
    }

    /// The guard that removes a new connection when it is over.
    pub(super) fn departing(&self, key: Key) -> Departing {
        Departing::from(&self.registry, key)
    }

    /// An exchange on this connection is over.
    pub(super) fn released(&self, conn: ConnectionRef, idle_timeout: Option<Duration>) {
        if idle_timeout == Some(Duration::ZERO) {
            // Its task removes it.
            conn.activity().retire_if_idle();
        }
        self.registry.evict();
    }

    /// The number of idle connections.
    pub(super) fn idle(&self) -> usize {
        usize::try_from(self.registry.idle.load(Ordering::Relaxed)).unwrap_or(0)
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
