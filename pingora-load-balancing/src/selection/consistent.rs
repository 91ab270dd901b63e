//! Consistent hashing: backends on the ring of the ketama algorithm, which is in `pingora-ketama`.
//!
//! The ring is that of nginx's `hash … consistent` (the same as Cache::Memcached::Fast with
//! `ketama_points` 160): the same set of servers and weights sends the same key to the same server.

use super::{BackendIter, BackendSelection};
use crate::Backend;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_ketama::POINT_MULTIPLE;
use pingora_ketama::ring::{Label, Ring};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// How a ring is built.
#[derive(Debug, Clone, Default)]
pub struct KetamaConfig {
    /// The number of points of a backend for each unit of its weight; 160 by default, as in nginx.
    /// More points make the shares more even and the ring larger: 8 bytes each.
    pub point_multiple: Option<u32>,
}

/// Selection by consistent hashing: if a backend is added or removed, only its own keys move.
///
/// Takes 8 bytes × 160 × the sum of all weights, so weights should be small numbers. Don't use it if
/// every backend is equally good for a key: [`RoundRobin`](super::RoundRobin) distributes more evenly.
pub struct KetamaHashing {
    backends: Box<[Backend]>,
    /// Its nodes are the indices of `backends`.
    ring: Ring,
}

/// The label from which the points of a backend are computed.
fn label(backend: &Backend, multiple: u32) -> Label {
    let points = backend.weight.saturating_mul(multiple as usize);
    match &backend.addr {
        SocketAddr::Inet(addr) => Label::of(addr, points),
        SocketAddr::Unix(_) => Label {
            host: backend.addr.to_string(),
            port: String::new(),
            points,
        },
    }
}

impl KetamaHashing {
    fn with_multiple(backends: &BTreeSet<Backend>, multiple: u32) -> Self {
        KetamaHashing {
            ring: Ring::new(backends.iter().map(|backend| label(backend, multiple))),
            backends: backends.iter().cloned().collect(),
        }
    }
}

impl BackendSelection for KetamaHashing {
    type Iter = OwnedNodeIterator;
    type Config = KetamaConfig;

    fn build_with_config(backends: &BTreeSet<Backend>, config: &Self::Config) -> Self {
        let multiple = config.point_multiple.unwrap_or(POINT_MULTIPLE);
        KetamaHashing::with_multiple(backends, multiple)
    }

    fn build(backends: &BTreeSet<Backend>) -> Self {
        KetamaHashing::with_multiple(backends, POINT_MULTIPLE)
    }

    fn iter(self: &Arc<Self>, key: &[u8]) -> Self::Iter {
        OwnedNodeIterator {
            next: self.ring.find(key),
            left: self.ring.len(),
            yielded: Vec::new(),
            hashing: self.clone(),
        }
    }

    fn first(&self, key: &[u8]) -> Option<&Backend> {
        self.backends.get(self.first_index(key)?)
    }

    #[inline]
    fn first_index(&self, key: &[u8]) -> Option<usize> {
        self.ring.node(self.ring.find(key))
    }
}

impl fmt::Debug for KetamaHashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KetamaHashing")
            .field("backends", &self.backends)
            .field("points", &self.ring.len())
            .finish()
    }
}

/// The backends of a ring, starting from one key, each once.
#[derive(Debug)]
pub struct OwnedNodeIterator {
    hashing: Arc<KetamaHashing>,
    next: usize,
    left: usize,
    /// Indices of the backends already yielded.
    yielded: Vec<usize>,
}

impl BackendIter for OwnedNodeIterator {
    fn next(&mut self) -> Option<&Backend> {
        let KetamaHashing { backends, ring } = &*self.hashing;
        while self.left > 0 && self.yielded.len() < backends.len() {
            let node = ring.node(self.next)?;
            self.next = ring.after(self.next);
            self.left -= 1;
            if !self.yielded.contains(&node) {
                self.yielded.push(node);
                return backends.get(node);
            }
        }
        None
    }
}
