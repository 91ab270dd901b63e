//! Sessions with upstreams that may be resumed: a new connection then costs no signature and no
//! verification, and tells the upstream nothing that the first one did not.
//!
//! This code does not depend on the library that made a session, and reads no clock: the caller passes the
//! time.

use super::certificate::hash_ca;
use super::client_handshake::ClientHandshake;
use super::library::ClientSession;
use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Sessions kept for all upstreams together by default. One takes some kilobytes, mostly the
/// upstream's certificates.
pub(crate) const DEFAULT_CAPACITY: usize = 1024;
/// Sessions kept for one upstream: as many connections to it can be resumed at once.
const PER_UPSTREAM: usize = 8;
/// How long a session is kept, however long the upstream says that it is good for. Until then a
/// certificate that was revoked, or a CA that is no longer trusted, is not noticed.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// The connections for which a session may be used again. Equal keys mean that the connections are verified in the
/// same way, show the same certificate and offer the same; a session that was verified more laxly has
/// another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The peer's own idea of what tells it from others.
    peer: u64,
    /// The facts that verification depends on, independent of the peer's own hash.
    facts: u64,
}

impl SessionKey {
    pub(crate) fn new(wanted: &ClientHandshake<'_>) -> Self {
        static SECRET: OnceLock<RandomState> = OnceLock::new();
        let mut facts = SECRET.get_or_init(RandomState::new).build_hasher();
        wanted.sni.hash(&mut facts);
        wanted.address.hash(&mut facts);
        wanted.verify_cert.hash(&mut facts);
        wanted.verify_hostname.hash(&mut facts);
        wanted.alternative_name.hash(&mut facts);
        hash_ca(wanted.ca, &mut facts);
        wanted.client_cert.hash(&mut facts);
        wanted.alpn.hash(&mut facts);
        wanted.curves.hash(&mut facts);
        SessionKey {
            peer: wanted.reuse_hash,
            facts: facts.finish(),
        }
    }
}

impl ClientHandshake<'_> {
    /// Where sessions with this upstream are kept. Equal keys mean that the connections are verified in the
    /// same way, show the same certificate and offer the same.
    pub fn session_key(&self) -> SessionKey {
        SessionKey::new(self)
    }
}

/// A session as the cache of a connector keeps it.
#[derive(Clone)]
pub(crate) enum KeptSession {
    /// The built-in library's, without a box of its own.
    BuiltIn(ClientSession),
    /// Another backend's.
    Other(Arc<dyn Any + Send + Sync>),
}

/// How handshakes with upstreams went, since the connector was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsHandshakeCounts {
    /// Handshakes that began a new session.
    pub full: u64,
    /// Handshakes that resumed an earlier session.
    pub resumed: u64,
}

/// Sessions by key, bounded in number and in age.
pub(crate) struct SessionCache<S> {
    /// 0 keeps none.
    capacity: AtomicUsize,
    shelves: Mutex<Shelves<S>>,
    full: AtomicU64,
    resumed: AtomicU64,
}

struct Shelves<S> {
    by_key: HashMap<SessionKey, Shelf<S>>,
    /// Keys in the order of their last use, the one to be dropped first in front.
    by_use: BTreeMap<u64, SessionKey>,
    uses: u64,
    sessions: usize,
}

struct Shelf<S> {
    last_use: u64,
    /// The newest last.
    sessions: VecDeque<Kept<S>>,
}

struct Kept<S> {
    session: S,
    single_use: bool,
    until: Instant,
}

impl<S: Clone> SessionCache<S> {
    pub(crate) fn new(capacity: usize) -> Self {
        SessionCache {
            capacity: AtomicUsize::new(capacity),
            shelves: Mutex::new(Shelves::default()),
            full: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
        }
    }

    /// Most sessions to keep from now on; 0 keeps none and resumes none.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Relaxed);
        let mut shelves = self.lock();
        while shelves.sessions > capacity {
            shelves.drop_least_used();
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.capacity.load(Ordering::Relaxed) > 0
    }

    /// A session to resume. One for a single use is given away, so that an observer of
    /// the network can't tell by it that two connections have the same client (RFC 8446 appendix C.4).
    pub(crate) fn take(&self, key: &SessionKey, now: Instant) -> Option<S> {
        self.lock().take(key, now)
    }

    /// Keeps a session until that time. One that is not for a single use takes the place of all
    /// others that have its key.
    pub(crate) fn put(&self, key: SessionKey, session: S, single_use: bool, until: Instant) {
        let capacity = self.capacity.load(Ordering::Relaxed);
        if capacity == 0 {
            return;
        }
        let kept = Kept {
            session,
            single_use,
            until,
        };
        let mut shelves = self.lock();
        shelves.put(key, kept);
        while shelves.sessions > capacity {
            shelves.drop_least_used();
        }
    }

    /// Drops what is kept under this key: the upstream does not like it.
    pub(crate) fn forget(&self, key: &SessionKey) {
        self.lock().remove(key);
    }

    /// A handshake is complete.
    pub(crate) fn note(&self, resumed: bool) {
        let counter = if resumed { &self.resumed } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> TlsHandshakeCounts {
        TlsHandshakeCounts {
            full: self.full.load(Ordering::Relaxed),
            resumed: self.resumed.load(Ordering::Relaxed),
        }
    }
}

impl<S> SessionCache<S> {
    fn lock(&self) -> MutexGuard<'_, Shelves<S>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Clone> Default for SessionCache<S> {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl<S> fmt::Debug for SessionCache<S> {
    /// Shows their number and nothing of their contents: a session's secrets decrypt its traffic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCache")
            .field("sessions", &self.lock().sessions)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl<S> Default for Shelves<S> {
    fn default() -> Self {
        Shelves {
            by_key: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            sessions: 0,
        }
    }
}

impl<S: Clone> Shelves<S> {
    fn take(&mut self, key: &SessionKey, now: Instant) -> Option<S> {
        self.touch(key);
        let shelf = self.by_key.get_mut(key)?;
        let before = shelf.sessions.len();
        shelf.sessions.retain(|kept| kept.until > now);
        let taken = match shelf.sessions.back() {
            Some(kept) if !kept.single_use => Some(kept.session.clone()),
            _ => shelf.sessions.pop_back().map(|kept| kept.session),
        };
        let left = shelf.sessions.len();
        self.sessions -= before - left;
        if left == 0 {
            self.remove(key);
        }
        taken
    }
}

impl<S> Shelves<S> {
    fn put(&mut self, key: SessionKey, kept: Kept<S>) {
        let last_use = self.uses;
        let shelf = self.by_key.entry(key).or_insert_with(|| Shelf {
            last_use,
            sessions: VecDeque::new(),
        });
        let before = shelf.sessions.len();
        if !kept.single_use {
            shelf.sessions.clear();
        } else if before >= PER_UPSTREAM {
            shelf.sessions.pop_front();
        }
        shelf.sessions.push_back(kept);
        self.sessions = self.sessions + shelf.sessions.len() - before;
        self.touch(&key);
    }

    /// Moves a key to the end of the order.
    fn touch(&mut self, key: &SessionKey) {
        let Some(shelf) = self.by_key.get_mut(key) else {
            return;
        };
        self.by_use.remove(&shelf.last_use);
        self.uses += 1;
        shelf.last_use = self.uses;
        self.by_use.insert(self.uses, *key);
    }

    fn remove(&mut self, key: &SessionKey) {
        if let Some(shelf) = self.by_key.remove(key) {
            self.by_use.remove(&shelf.last_use);
            self.sessions -= shelf.sessions.len();
        }
    }

    fn drop_least_used(&mut self) {
        let Some((_, key)) = self.by_use.pop_first() else {
            return;
        };
        self.remove(&key);
    }
}

#[cfg(test)]
mod tests;
