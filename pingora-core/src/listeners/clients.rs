//! How many connections each client has.

use crate::process::connections_per_client;
use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Parts of the table, each with a lock of its own.
const STRIPES: usize = 16;

/// How many connections each client has that is counted. Bounded by the number of connections: there are
/// no entries of clients without one.
///
/// Clients are told apart by a hash of their address that nobody outside can foresee, so that an entry,
/// and what a connection has to remember, is eight bytes long.
struct Clients {
    hasher: RandomState,
    stripes: [Mutex<HashMap<NonZeroU64, usize>>; STRIPES],
}

static CLIENTS: LazyLock<Clients> = LazyLock::new(|| Clients {
    hasher: RandomState::new(),
    stripes: std::array::from_fn(|_| Mutex::default()),
});

/// A connection that counts for its client, until this is dropped.
#[derive(Debug)]
pub(crate) struct OfClient(Option<NonZeroU64>);

/// What tells a client from others; `None` for one that is not counted. An IPv6 network of 64 bits is one
/// client, because its addresses cost nothing.
fn client(address: IpAddr) -> Option<(u8, u64)> {
    match address.to_canonical() {
        own if own.is_loopback() => None,
        IpAddr::V4(address) => Some((4, u64::from(address.to_bits()))),
        IpAddr::V6(address) => Some((6, (address.to_bits() >> 64) as u64)),
    }
}

impl OfClient {
    /// A connection of nobody who is counted, or of somebody who is yet to be told.
    pub(crate) fn nobody() -> Self {
        OfClient(None)
    }

    /// Counts a connection from this address; `None` where its client has too many already. Clients on
    /// this machine are not counted.
    pub(crate) fn enter(peer: Option<SocketAddr>) -> Option<Self> {
        Self::enter_with(peer, connections_per_client())
    }

    fn enter_with(peer: Option<SocketAddr>, most: usize) -> Option<Self> {
        let counted = peer.filter(|_| most != usize::MAX);
        let Some(client) = counted.and_then(|peer| client(peer.ip())) else {
            return Some(OfClient(None));
        };
        let hash = CLIENTS.hasher.hash_one(client);
        let hash = NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN);
        let mut stripe = CLIENTS.stripe(hash);
        let count = stripe.entry(hash).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(OfClient(Some(hash)))
    }
}

impl Drop for OfClient {
    fn drop(&mut self) {
        let Some(hash) = self.0 else { return };
        if let Entry::Occupied(mut entry) = CLIENTS.stripe(hash).entry(hash) {
            match entry.get().saturating_sub(1) {
                0 => drop(entry.remove()),
                left => *entry.get_mut() = left,
            }
        }
    }
}

impl Clients {
    fn stripe(&self, hash: NonZeroU64) -> MutexGuard<'_, HashMap<NonZeroU64, usize>> {
        let at = (hash.get() % STRIPES as u64) as usize;
        let [first, ..] = &self.stripes;
        let stripe = self.stripes.get(at).unwrap_or(first);
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(address: &str, most: usize) -> Option<OfClient> {
        let peer = SocketAddr::new(address.parse().unwrap(), 1);
        OfClient::enter_with(Some(peer), most)
    }

    #[test]
    fn clients_are_told_apart_by_their_network() {
        let rows = [
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("0.0.0.1", "::1:0:0:0:0", false),
        ];
        for (one, other, same) in rows {
            let [one, other] = [one, other].map(|text| client(text.parse().unwrap()));
            assert!(one.is_some() && other.is_some());
            assert_eq!(one == other, same, "{one:?} {other:?}");
        }
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(client(own.parse().unwrap()), None, "{own}");
        }
    }

    #[test]
    fn a_client_has_so_many_connections_and_no_more() {
        let two = [enter("192.0.2.7", 2), enter("192.0.2.7", 2)];
        assert!(two.iter().all(Option::is_some));
        assert!(enter("192.0.2.7", 2).is_none());
        assert!(enter("192.0.2.8", 2).is_some(), "others have their own");
        drop(two);
        let again = enter("192.0.2.7", 1);
        assert!(again.is_some() && enter("192.0.2.7", 1).is_none());
        drop(again);
        let hash = |a: &str| CLIENTS.hasher.hash_one(client(a.parse().unwrap()));
        for address in ["192.0.2.7", "192.0.2.8"] {
            let hash = NonZeroU64::new(hash(address)).unwrap();
            assert!(!CLIENTS.stripe(hash).contains_key(&hash), "nothing stays");
        }
    }

    #[test]
    fn who_is_not_limited_is_not_counted() {
        assert!(enter("127.0.0.1", 0).is_some());
        assert!(OfClient::enter_with(None, 0).is_some());
        assert_eq!(enter("192.0.2.9", usize::MAX).unwrap().0, None);
        assert!(enter("192.0.2.9", 0).is_none());
    }
}
