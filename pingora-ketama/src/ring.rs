//! The ring itself: points and whose they are. It knows nothing of addresses.

use crc32fast::Hasher;

/// The points of some nodes, which are numbered from 0.
#[derive(Debug)]
pub struct Ring {
    /// In the order of their positions, each position once.
    points: Box<[Point]>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    position: u32,
    node: u32,
}

/// The label from which the points of one node are computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The address as it is written in nginx's configuration; IPv6 addresses in brackets.
    pub host: String,
    /// The port in decimal; empty if there is none.
    pub port: String,
    /// How many points the node has.
    pub points: usize,
}

impl Label {
    /// The label of a socket with an IP address.
    pub fn of(addr: &std::net::SocketAddr, points: usize) -> Self {
        let host = match addr {
            std::net::SocketAddr::V4(addr) => addr.ip().to_string(),
            std::net::SocketAddr::V6(addr) => format!("[{}]", addr.ip()),
        };
        Label {
            host,
            port: addr.port().to_string(),
            points,
        }
    }
}

impl Ring {
    /// Computes the points of all nodes: 8 bytes each. Of two points at one position, that of the node
    /// which comes first stays.
    pub fn new(labels: impl IntoIterator<Item = Label>) -> Self {
        let mut points = Vec::new();
        for (node, label) in (0_u32..).zip(labels) {
            let mut base = Hasher::new();
            base.update(label.host.as_bytes());
            base.update(&[0]);
            base.update(label.port.as_bytes());
            let mut position = 0_u32;
            points.extend((0..label.points).map(|_| {
                let mut hasher = base.clone();
                hasher.update(&position.to_le_bytes());
                position = hasher.finalize();
                Point { position, node }
            }));
        }
        // A stable sort, so that of two nodes at one position the same one always stays.
        points.sort_by_key(|point| point.position);
        points.dedup_by_key(|point| point.position);
        Ring {
            points: points.into_boxed_slice(),
        }
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no point at all.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The index of the point that `key` belongs to; 0 on an empty ring.
    pub fn find(&self, key: &[u8]) -> usize {
        let hash = crc32fast::hash(key);
        let found = self.points.partition_point(|point| point.position < hash);
        if found < self.points.len() { found } else { 0 }
    }

    /// The node of the point with this index; `None` beyond the last point.
    pub fn node(&self, index: usize) -> Option<usize> {
        Some(self.points.get(index)?.node as usize)
    }

    /// The index of the point after this one, which is the first one again after the last.
    pub fn after(&self, index: usize) -> usize {
        let next = index.saturating_add(1);
        if next < self.points.len() { next } else { 0 }
    }
}
