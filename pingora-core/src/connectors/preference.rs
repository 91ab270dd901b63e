//! The peers that turned out to speak only HTTP/1.

use std::collections::HashSet;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of peers that are remembered. Beyond it, all are forgotten: each then costs one
/// handshake that offers HTTP/2 in vain.
const CAPACITY: usize = 8192;

/// The peers, by their reuse hash, to which only HTTP/1 is offered.
#[derive(Debug, Default)]
pub(super) struct PreferHttp1 {
    /// Saves the look-up if no peer was ever remembered.
    any: AtomicBool,
    peers: RwLock<HashSet<u64>>,
}

impl PreferHttp1 {
    pub(super) fn add(&self, peer: u64) {
        let mut peers = self.peers.write().unwrap_or_else(|e| e.into_inner());
        if peers.len() >= CAPACITY {
            peers.clear();
        }
        peers.insert(peer);
        self.any.store(true, Ordering::Release);
    }

    /// `peer` is only called if it matters.
    pub(super) fn contains(&self, peer: impl FnOnce() -> u64) -> bool {
        self.any.load(Ordering::Acquire)
            && self
                .peers
                .read()
                .unwrap_or_else(|e| e.into_inner())
                .contains(&peer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_remembered_within_bounds() {
        let known = PreferHttp1::default();
        assert!(!known.contains(|| panic!("nobody asked for yet")));
        known.add(1);
        assert!(known.contains(|| 1) && !known.contains(|| 2));
        for peer in 2..=(CAPACITY as u64 + 10) {
            known.add(peer);
        }
        assert!(known.peers.read().unwrap().len() <= CAPACITY);
    }
}
