//! Counts connections: in total, of each endpoint, and of each client.

use crate::process::{connections_in_all, connections_per_client};
use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// The number of parts of the table, each with its own lock.
const STRIPES: usize = 16;

/// The number of connections of each counted client. Bounded by the number of connections: there are no
/// entries for clients without one.
///
/// Clients are identified by a hash of their address that can't be predicted from outside, so an entry,
/// and what a connection has to remember, takes eight bytes.
#[derive(Default)]
struct Clients {
    hasher: RandomState,
    stripes: [Mutex<HashMap<NonZeroU64, usize>>; STRIPES],
}

/// For the process.
static CLIENTS: LazyLock<Clients> = LazyLock::new(Clients::default);
static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

/// The maximum numbers of connections to one endpoint.
pub(super) struct ListenerLimits {
    most: usize,
    most_per_client: usize,
    connections: AtomicUsize,
    clients: Clients,
}

/// The bound that a connection would have exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooMany {
    InAll,
    OfClient,
    OfListener,
    OfClientAtListener,
}

impl TooMany {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            TooMany::InAll => "there are too many (connections)",
            TooMany::OfClient => "its client has too many (connections_per_client)",
            TooMany::OfListener => "its endpoint has too many",
            TooMany::OfClientAtListener => "its client has too many at this endpoint",
        }
    }
}

/// A connection that counts until this is dropped: in total, for its client, and for its endpoint if that has
/// its own limits.
#[derive(Debug)]
pub(crate) struct OfClient {
    client: Option<NonZeroU64>,
    _in_all: InAll,
    of_listener: Option<Box<OfListener>>,
}

#[derive(Debug)]
struct InAll;

struct OfListener {
    limits: Arc<ListenerLimits>,
    client: Option<NonZeroU64>,
}

/// An IPv6 network of 64 bits counts as one client, because its addresses cost nothing.
fn network(address: IpAddr) -> (u8, u64) {
    match address {
        IpAddr::V4(address) => (4, u64::from(address.to_bits())),
        IpAddr::V6(address) => (6, (address.to_bits() >> 64) as u64),
    }
}

impl OfClient {
    /// Counts a connection from this address to an endpoint with these limits. Clients on this machine don't
    /// count towards the process's limit per client, but towards an endpoint's.
    ///
    /// # Errors
    /// There are too many already.
    pub(super) fn enter(
        peer: Option<SocketAddr>,
        listener: Option<&Arc<ListenerLimits>>,
    ) -> Result<Self, TooMany> {
        let most = (connections_in_all(), connections_per_client());
        Self::enter_with(peer, listener, most)
    }

    /// Counts the client of a connection that came without one: a proxy has named it.
    ///
    /// # Errors
    /// The client has too many already.
    pub(super) fn learn(&mut self, client: Option<SocketAddr>) -> Result<(), TooMany> {
        self.learn_with(client, connections_per_client())
    }

    fn learn_with(&mut self, client: Option<SocketAddr>, most: usize) -> Result<(), TooMany> {
        let address = client.map(|client| client.ip().to_canonical());
        if let Some(of_listener) = &mut self.of_listener {
            of_listener.learn(address)?;
        }
        let foreign = address.filter(|address| !address.is_loopback());
        if let Some(address) = foreign.filter(|_| most != usize::MAX) {
            let entered = CLIENTS.enter(address, most);
            self.client = Some(entered.ok_or(TooMany::OfClient)?);
        }
        Ok(())
    }

    /// Without limits, for tests.
    #[cfg(test)]
    pub(crate) fn unlimited() -> Self {
        OfClient {
            client: None,
            _in_all: InAll::enter(usize::MAX).unwrap(),
            of_listener: None,
        }
    }

    fn enter_with(
        peer: Option<SocketAddr>,
        listener: Option<&Arc<ListenerLimits>>,
        (most, most_per_client): (usize, usize),
    ) -> Result<Self, TooMany> {
        let in_all = InAll::enter(most).ok_or(TooMany::InAll)?;
        let of_listener = match listener {
            Some(limits) => Some(Box::new(OfListener::enter(limits)?)),
            None => None,
        };
        let mut entered = OfClient {
            client: None,
            _in_all: in_all,
            of_listener,
        };
        entered.learn_with(peer, most_per_client)?;
        Ok(entered)
    }
}

impl Drop for OfClient {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            CLIENTS.leave(client);
        }
    }
}

/// Adds one, unless the count has reached `most`.
fn add_up_to(count: &AtomicUsize, most: usize) -> bool {
    let fits = count.fetch_add(1, Ordering::Relaxed) < most;
    if !fits {
        count.fetch_sub(1, Ordering::Relaxed);
    }
    fits
}

impl InAll {
    fn enter(most: usize) -> Option<Self> {
        // Not `then_some`: an unused value would be dropped, and decrement the count.
        add_up_to(&CONNECTIONS, most).then(|| InAll)
    }
}

impl Drop for InAll {
    fn drop(&mut self) {
        CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ListenerLimits {
    /// `None`: any number, for both.
    pub(super) fn new(most: Option<usize>, most_per_client: Option<usize>) -> Option<Arc<Self>> {
        (most.is_some() || most_per_client.is_some()).then(|| {
            Arc::new(ListenerLimits {
                most: most.unwrap_or(usize::MAX),
                most_per_client: most_per_client.unwrap_or(usize::MAX),
                connections: AtomicUsize::new(0),
                clients: Clients::default(),
            })
        })
    }
}

impl OfListener {
    fn enter(limits: &Arc<ListenerLimits>) -> Result<Self, TooMany> {
        if !add_up_to(&limits.connections, limits.most) {
            return Err(TooMany::OfListener);
        }
        Ok(OfListener {
            limits: limits.clone(),
            client: None,
        })
    }

    fn learn(&mut self, client: Option<IpAddr>) -> Result<(), TooMany> {
        let limits = &self.limits;
        if let Some(address) = client.filter(|_| limits.most_per_client != usize::MAX) {
            let client = limits.clients.enter(address, limits.most_per_client);
            self.client = Some(client.ok_or(TooMany::OfClientAtListener)?);
        }
        Ok(())
    }
}

impl Drop for OfListener {
    fn drop(&mut self) {
        self.limits.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            self.limits.clients.leave(client);
        }
    }
}

impl std::fmt::Debug for OfListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfListener").finish_non_exhaustive()
    }
}

impl Clients {
    /// Counts one more connection of this client; `None` if it has reached the limit.
    fn enter(&self, address: IpAddr, most: usize) -> Option<NonZeroU64> {
        let hash = self.hash(address);
        let mut stripe = self.stripe(hash);
        match stripe.entry(hash) {
            Entry::Occupied(mut entry) if *entry.get() < most => *entry.get_mut() += 1,
            Entry::Vacant(entry) if most > 0 => _ = entry.insert(1),
            _ => return None,
        }
        Some(hash)
    }

    fn leave(&self, hash: NonZeroU64) {
        if let Entry::Occupied(mut entry) = self.stripe(hash).entry(hash) {
            match entry.get().saturating_sub(1) {
                0 => drop(entry.remove()),
                left => *entry.get_mut() = left,
            }
        }
    }

    fn hash(&self, address: IpAddr) -> NonZeroU64 {
        let hash = self.hasher.hash_one(network(address));
        NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)
    }

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

    fn address(text: &str) -> IpAddr {
        text.parse::<IpAddr>().unwrap().to_canonical()
    }

    fn enter_at(
        text: &str,
        listener: Option<&Arc<ListenerLimits>>,
        most: usize,
    ) -> Result<OfClient, TooMany> {
        let peer = SocketAddr::new(text.parse().unwrap(), 1);
        OfClient::enter_with(Some(peer), listener, (usize::MAX, most))
    }

    fn enter(text: &str, most: usize) -> Option<OfClient> {
        enter_at(text, None, most).ok()
    }

    fn is_known(clients: &Clients, text: &str) -> bool {
        let hash = clients.hash(address(text));
        clients.stripe(hash).contains_key(&hash)
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
            let [one, other] = [one, other].map(|text| network(address(text)));
            assert_eq!(one == other, same, "{one:?} {other:?}");
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
        for address in ["192.0.2.7", "192.0.2.8"] {
            assert!(!is_known(&CLIENTS, address), "nothing stays");
        }
        assert!(enter("192.0.2.9", 0).is_none());
        assert!(!is_known(&CLIENTS, "192.0.2.9"));
    }

    #[test]
    fn who_is_not_limited_is_not_counted() {
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(enter(own, 0).unwrap().client, None, "{own}");
        }
        assert!(OfClient::enter_with(None, None, (usize::MAX, 0)).is_ok());
        assert_eq!(enter("192.0.2.9", usize::MAX).unwrap().client, None);
    }

    #[test]
    fn an_endpoint_has_so_many_connections_and_each_client_its_share() {
        assert!(ListenerLimits::new(None, None).is_none());
        let limits = ListenerLimits::new(Some(3), Some(2)).unwrap();
        let enter = |text: &str| enter_at(text, Some(&limits), usize::MAX);
        // Clients on this machine count as well: the endpoint's limit was requested explicitly.
        let two = [enter("127.0.0.1"), enter("127.0.0.1")];
        assert!(two.iter().all(Result::is_ok));
        assert_eq!(enter("127.0.0.1").unwrap_err(), TooMany::OfClientAtListener);
        let third = enter("2001:db8::1");
        assert!(third.is_ok());
        assert_eq!(enter("2001:db8:1::1").unwrap_err(), TooMany::OfListener);
        let elsewhere = ListenerLimits::new(Some(1), None).unwrap();
        assert!(enter_at("127.0.0.1", Some(&elsewhere), usize::MAX).is_ok());
        assert_eq!(limits.connections.load(Ordering::Relaxed), 3);
        drop(two);
        drop(third);
        assert_eq!(
            limits.connections.load(Ordering::Relaxed),
            0,
            "none is lost"
        );
        for address in ["127.0.0.1", "2001:db8::1", "2001:db8:1::1"] {
            assert!(!is_known(&limits.clients, address), "nothing stays");
        }
    }

    #[test]
    fn the_process_has_so_many_connections() {
        let refused = OfClient::enter_with(None, None, (0, usize::MAX));
        assert_eq!(refused.unwrap_err(), TooMany::InAll);
        // Whichever bound is exceeded, no other count is affected.
        let limits = ListenerLimits::new(Some(1), None).unwrap();
        let refused = enter_at("192.0.2.77", Some(&limits), 0);
        assert_eq!(refused.unwrap_err(), TooMany::OfClient);
        assert_eq!(limits.connections.load(Ordering::Relaxed), 0);
    }
}
