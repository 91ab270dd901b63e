//! Consistent hashing: the ring of the ketama algorithm.
//!
//! The ring is that of nginx's `hash … consistent` (the same as Cache::Memcached::Fast with
//! `ketama_points` 160): the same set of servers and weights sends the same key to the same server.
//!
//! - Each server has 160 points for each unit of its weight. The first is the CRC-32 of its host, a zero
//!   byte, its port, and four zero bytes; in each further one, the previous point (four bytes, lowest
//!   first) replaces the four zero bytes.
//! - A key belongs to the first point that is not below the key's CRC-32; beyond the last point, to the
//!   first.
//! - If that server is down, the next point's server is tried.

use super::{BackendIter, BackendSelection};
use crate::Backend;
use crc32fast::Hasher;
use pingora_core::protocols::l4::socket::SocketAddr;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The default number of points for each unit of weight; see [`KetamaConfig`].
const POINT_MULTIPLE: u32 = 160;

/// How a ring is built.
#[derive(Debug, Clone, Default)]
pub struct KetamaConfig {
    /// How many points a backend has for each unit of its weight; 160 by default, as in nginx. More
    /// of them make the shares more even and the ring larger: 8 bytes each.
    pub point_multiple: Option<u32>,
}

/// Selection by consistent hashing: if a backend is added or removed, only its own keys move.
///
/// Takes 8 bytes × 160 × the sum of all weights, so weights should be small numbers. Don't use it if
/// every backend is equally good for a key: [`RoundRobin`](super::RoundRobin) distributes more evenly.
pub struct KetamaHashing {
    backends: Box<[Backend]>,
    /// In the order of their positions, each position once.
    ring: Box<[Point]>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    position: u32,
    /// An index into `backends`.
    backend: u32,
}

/// The host and the port of a server that its points are computed from, as written in nginx's
/// configuration.
fn host_and_port(addr: &SocketAddr) -> (String, String) {
    match addr {
        SocketAddr::Inet(addr) if addr.is_ipv6() => {
            (format!("[{}]", addr.ip()), addr.port().to_string())
        }
        SocketAddr::Inet(addr) => (addr.ip().to_string(), addr.port().to_string()),
        SocketAddr::Unix(_) => (addr.to_string(), String::new()),
    }
}

impl KetamaHashing {
    fn with_multiple(backends: &BTreeSet<Backend>, multiple: u32) -> Self {
        let backends: Box<[Backend]> = backends.iter().cloned().collect();
        let mut ring = Vec::new();
        for (index, backend) in (0_u32..).zip(&backends) {
            let (host, port) = host_and_port(&backend.addr);
            let mut base = Hasher::new();
            base.update(host.as_bytes());
            base.update(&[0]);
            base.update(port.as_bytes());
            let count = backend.weight.saturating_mul(multiple as usize);
            let mut position = 0_u32;
            ring.extend((0..count).map(|_| {
                let mut hasher = base.clone();
                hasher.update(&position.to_le_bytes());
                position = hasher.finalize();
                Point {
                    position,
                    backend: index,
                }
            }));
        }
        // A stable sort, so that of two backends at one position the same one always stays.
        ring.sort_by_key(|point| point.position);
        ring.dedup_by_key(|point| point.position);
        KetamaHashing {
            backends,
            ring: ring.into_boxed_slice(),
        }
    }

    /// The index of the point that `key` belongs to.
    fn find(&self, key: &[u8]) -> usize {
        let hash = crc32fast::hash(key);
        let found = self.ring.partition_point(|point| point.position < hash);
        if found < self.ring.len() { found } else { 0 }
    }

    fn at(&self, index: usize) -> Option<&Backend> {
        self.backends.get(self.ring.get(index)?.backend as usize)
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
            next: self.find(key),
            left: self.ring.len(),
            yielded: Vec::new(),
            ring: self.clone(),
        }
    }

    fn first(&self, key: &[u8]) -> Option<&Backend> {
        self.at(self.find(key))
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
    ring: Arc<KetamaHashing>,
    next: usize,
    left: usize,
    /// Indices of the backends already yielded.
    yielded: Vec<u32>,
}

impl BackendIter for OwnedNodeIterator {
    fn next(&mut self) -> Option<&Backend> {
        while self.left > 0 && self.yielded.len() < self.ring.backends.len() {
            let point = *self.ring.ring.get(self.next)?;
            self.next = (self.next + 1) % self.ring.ring.len();
            self.left -= 1;
            if !self.yielded.contains(&point.backend) {
                self.yielded.push(point.backend);
                return self.ring.backends.get(point.backend as usize);
            }
        }
        None
    }
}
