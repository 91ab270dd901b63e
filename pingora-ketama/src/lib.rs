//! Consistent hashing: the ring of the ketama algorithm.
//!
//! If a node is added to a [`Continuum`] or taken away, only its own keys move. The ring is that of nginx's
//! `hash … consistent` (the same as Cache::Memcached::Fast with `ketama_points` 160): the same set of nodes
//! and weights sends the same key to the same node.
//!
//! - Each node has 160 points for each unit of its weight. The first is the CRC-32 of its host, a zero byte,
//!   its port, and four zero bytes; in each further one, the previous point (four bytes, lowest first)
//!   replaces the four zero bytes.
//! - A key belongs to the first point that is not below the key's CRC-32; beyond the last point, to the
//!   first.
//! - If that node is down, the next point's node is tried.
//!
//! A ring takes 8 bytes × 160 × the sum of all weights, so weights should be small numbers. In a proxy, use
//! `KetamaHashing` of `pingora-load-balancing`, which is this ring with health and updates.
//!
//! # Example
//! ```
//! use pingora_ketama::{Bucket, Continuum};
//!
//! let ring = Continuum::new(&[
//!     Bucket::new("192.0.2.1:80".parse().unwrap(), 1),
//!     Bucket::new("192.0.2.2:80".parse().unwrap(), 2),
//! ]);
//! let node = ring.node(b"/picture.png").unwrap();
//! assert_eq!(ring.node_iter(b"/picture.png").next(), Some(&node));
//! ```
//!
//! # Features
//! - `v2`: empty; [`Version::V2`] is always there.
//!
//! Page in the repository: `docs/migrating.md`, for differences from the crate of the same name.
#![forbid(unsafe_code)]

pub mod ring;

use ring::{Label, Ring};
use std::net::SocketAddr;

/// The number of points for each unit of weight, as in nginx.
pub const POINT_MULTIPLE: u32 = 160;

/// A node and its weight.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
pub struct Bucket {
    node: SocketAddr,
    weight: u32,
}

impl Bucket {
    /// A node that gets a share of the keys in proportion to `weight`; none if it is 0.
    pub fn new(node: SocketAddr, weight: u32) -> Self {
        Bucket { node, weight }
    }
}

/// How many points a node has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// 160 for each unit of its weight, as in nginx.
    #[default]
    V1,
    /// Another number, for shares that are more even, or a ring that is smaller.
    V2 {
        /// Points for each unit of weight.
        point_multiple: u32,
    },
}

impl Version {
    fn point_multiple(self) -> u32 {
        match self {
            Version::V1 => POINT_MULTIPLE,
            Version::V2 { point_multiple } => point_multiple,
        }
    }
}

/// The ring of some nodes.
#[derive(Debug)]
pub struct Continuum {
    ring: Ring,
    addrs: Box<[SocketAddr]>,
}

impl Continuum {
    /// The ring of nginx.
    pub fn new(buckets: &[Bucket]) -> Self {
        Continuum::new_with_version(buckets, Version::V1)
    }

    /// A ring with as many points as `version` says.
    pub fn new_with_version(buckets: &[Bucket], version: Version) -> Self {
        let multiple = version.point_multiple() as usize;
        let labels = buckets.iter().map(|bucket| {
            let points = (bucket.weight as usize).saturating_mul(multiple);
            Label::of(&bucket.node, points)
        });
        Continuum {
            ring: Ring::new(labels),
            addrs: buckets.iter().map(|bucket| bucket.node).collect(),
        }
    }

    /// The index of the point that `key` belongs to; 0 on an empty ring.
    pub fn node_idx(&self, key: &[u8]) -> usize {
        self.ring.find(key)
    }

    /// The node that `key` belongs to; `None` if there is none with a weight.
    pub fn node(&self, key: &[u8]) -> Option<SocketAddr> {
        self.addr_at(self.ring.find(key)).copied()
    }

    /// The nodes in the order in which they are to be tried for `key`.
    pub fn node_iter(&self, key: &[u8]) -> NodeIterator<'_> {
        NodeIterator {
            next: self.ring.find(key),
            left: self.ring.len(),
            continuum: self,
        }
    }

    /// The node of the point with the index `idx`, which is then set to the next point's: the first one
    /// again after the last. `None` if there is no such point; `idx` then stays.
    pub fn get_addr(&self, idx: &mut usize) -> Option<&SocketAddr> {
        let addr = self.addr_at(*idx)?;
        *idx = self.ring.after(*idx);
        Some(addr)
    }

    fn addr_at(&self, index: usize) -> Option<&SocketAddr> {
        self.addrs.get(self.ring.node(index)?)
    }
}

/// The nodes of all points, once around the ring from where a key lies. A node comes as often as it has points.
#[derive(Debug)]
pub struct NodeIterator<'a> {
    continuum: &'a Continuum,
    next: usize,
    left: usize,
}

impl<'a> Iterator for NodeIterator<'a> {
    type Item = &'a SocketAddr;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.continuum.get_addr(&mut self.next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(addr: &str, weight: u32) -> Bucket {
        Bucket::new(addr.parse().unwrap(), weight)
    }

    #[test]
    fn only_the_keys_of_a_node_that_left_move() {
        let all = [
            bucket("192.0.2.1:80", 1),
            bucket("192.0.2.2:80", 1),
            bucket("[2001:db8::1]:80", 1),
        ];
        let (before, after) = (Continuum::new(&all), Continuum::new(&all[..2]));
        let mut moved = 0;
        for key in 0..1000_u32 {
            let key = key.to_le_bytes();
            let (old, new) = (before.node(&key).unwrap(), after.node(&key).unwrap());
            if old == all[2].node {
                // It goes to the first other node that follows on the ring.
                let next = before.node_iter(&key).find(|&&addr| addr != old);
                assert_eq!(next, Some(&new));
                moved += 1;
            } else {
                assert_eq!(old, new);
            }
        }
        assert!((200..500).contains(&moved), "{moved}");
    }

    #[test]
    fn points_follow_each_other_around_the_ring() {
        let continuum = Continuum::new(&[bucket("192.0.2.1:80", 1)]);
        assert_eq!(continuum.node_iter(b"key").count(), 160);
        let mut idx = 159;
        assert!(continuum.get_addr(&mut idx).is_some());
        assert_eq!(idx, 0);
        idx = 160;
        assert_eq!((continuum.get_addr(&mut idx), idx), (None, 160));
    }

    #[test]
    fn a_version_says_how_many_points_there_are() {
        let version = Version::V2 { point_multiple: 3 };
        let continuum = Continuum::new_with_version(&[bucket("192.0.2.1:80", 2)], version);
        assert_eq!(continuum.node_iter(b"key").size_hint(), (6, Some(6)));
    }

    #[test]
    fn no_node_is_none() {
        for buckets in [vec![], vec![bucket("192.0.2.1:80", 0)]] {
            let continuum = Continuum::new(&buckets);
            assert_eq!(continuum.node(b"key"), None);
            assert_eq!(continuum.node_idx(b"key"), 0);
            assert_eq!(continuum.node_iter(b"key").next(), None);
        }
    }
}
