//! Backends from the DNS.

mod ask;
mod resolver;

pub use resolver::DnsResolver;

use super::ServiceDiscovery;
use crate::Backend;
use crate::registry::lock;
use crate::selection::Priority;
use ask::{Asked, Resolver, Service};
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use pingora_error::{Error, ErrorType, Result};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The maximum number of backends.
const MOST: usize = 1_000;
/// The maximum number of concurrent look-ups.
const AT_A_TIME: usize = 16;
/// The default of [`DnsDiscovery::ask_at_most_every`].
const SHORTEST: Duration = Duration::from_secs(1);
/// The default of [`DnsDiscovery::ask_at_least_every`].
const LONGEST: Duration = Duration::from_secs(300);
/// The pause before a failure is retried.
const RETRY: Duration = Duration::from_secs(1);
/// A practically infinite time until the next query.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Backends from the DNS: all addresses (A and AAAA records) of some names, the targets of SRV records, or
/// both. Needs the feature `dns`.
///
/// As a background service, the balancer queries again when the shortest time to live of the answers has
/// passed, and needs no [`update_frequency`](crate::LoadBalancer::update_frequency). Nothing blocks a thread.
/// If a connection to one address fails, [`Upstreams`](crate::Upstreams) tries the next.
///
/// ```no_run
/// use pingora_load_balancing::discovery::DnsDiscovery;
/// use pingora_load_balancing::prelude::*;
/// use pingora_load_balancing::Backends;
///
/// let names = DnsDiscovery::new().unwrap().addresses("app.example.com", 8080);
/// let balancer = LoadBalancer::<RoundRobin>::from_backends(Backends::new(Box::new(names)));
/// ```
///
/// | | |
/// |---|---|
/// | a name fails: no answer, an error, no such name, no records, circular aliases | its last answer stays; queried again after a second, and an error is logged |
/// | no name has ever had an answer | `discover` is an error, and the set stays as it was |
/// | a name has addresses of one kind only | only those are used, and earlier ones of the other kind are removed; but they stay while only the other kind's look-up fails |
/// | a UDP answer is truncated | queried again over TCP |
/// | a time to live of 0 | [1 second](Self::ask_at_most_every) |
/// | more than 1,000 backends | the first 1,000, in the order of the names and, in each, of priority and address |
/// | 0.0.0.0, `::`, and multicast addresses | ignored |
/// | the target of an SRV record fails | its last addresses stay, as for a name |
/// | the weight of an SRV record | applies to each of the target's addresses; 0 counts as 1, because there it means little and not none |
/// | the priority of an SRV record | [`Priority`], the best one 0; use [`Tiered`](crate::selection::Tiered), because other selectors ignore it |
pub struct DnsDiscovery {
    resolver: Resolver,
    wanted: Vec<Wanted>,
    weight: usize,
    shortest: Duration,
    longest: Duration,
    /// The time of the next query; `None`: a query is in progress, or none has been made yet.
    due: watch::Sender<Option<Instant>>,
    known: Mutex<LastAnswers>,
}

/// The queries of the configuration.
#[derive(Clone, Debug)]
enum Wanted {
    Addresses(String, u16),
    Services(String),
}

/// The last answers.
#[derive(Clone, Default)]
struct LastAnswers {
    /// By name.
    services: HashMap<String, Vec<Service>>,
    /// By name: the addresses of A records, and those of AAAA records.
    addresses: HashMap<String, [Vec<IpAddr>; 2]>,
}

impl DnsDiscovery {
    /// Queries the name servers of `/etc/resolv.conf`, and checks `/etc/hosts` first. Reads both now.
    /// Names without a trailing dot are also tried in the system's search domains.
    ///
    /// # Errors
    /// If the system's configuration can't be read.
    pub fn new() -> Result<Self> {
        Ok(DnsDiscovery::with(Resolver::of_the_system()?))
    }

    /// Queries these name servers, and reads no file.
    ///
    /// # Errors
    /// If there is none.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Self> {
        Ok(DnsDiscovery::with(Resolver::of_servers(servers)?))
    }

    fn with(resolver: Resolver) -> Self {
        DnsDiscovery {
            resolver,
            wanted: Vec::new(),
            weight: 1,
            shortest: SHORTEST,
            longest: LONGEST,
            due: watch::Sender::new(None),
            known: Mutex::default(),
        }
    }

    /// All addresses of `name`, with this port. An IP address is its own address.
    pub fn addresses(mut self, name: impl Into<String>, port: u16) -> Self {
        self.wanted.push(Wanted::Addresses(name.into(), port));
        self
    }

    /// The targets of the SRV records of `name`, for example `_http._tcp.app.example.com`.
    pub fn services(mut self, name: impl Into<String>) -> Self {
        self.wanted.push(Wanted::Services(name.into()));
        self
    }

    /// The weight of each backend that is not a target of an SRV record; 1 by default.
    pub fn weight(mut self, weight: usize) -> Self {
        self.weight = weight;
        self
    }

    /// The minimum time between two queries, however short the time to live; 1 second by default, at least 10
    /// ms.
    pub fn ask_at_most_every(mut self, time: Duration) -> Self {
        self.shortest = time.max(Duration::from_millis(10));
        self
    }

    /// The maximum time between two queries, however long the time to live; 5 minutes by default.
    pub fn ask_at_least_every(mut self, time: Duration) -> Self {
        self.longest = time;
        self
    }

    /// Makes all queries. The error is the last failure, if there was one.
    async fn ask(&self, known: &mut LastAnswers) -> (Duration, Option<String>) {
        let (mut shortest, mut failure) = (self.longest, None);
        let services = self.wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Services(name) => Some(name.clone()),
            Wanted::Addresses(..) => None,
        });
        let mut services = stream::iter(unique(services))
            .map(|name| async { (self.resolver.services(&name).await, name) })
            .buffer_unordered(AT_A_TIME);
        while let Some((asked, name)) = services.next().await {
            match asked {
                Asked::Known(found, ttl) => {
                    shortest = shortest.min(ttl);
                    known.services.insert(name, found);
                }
                Asked::Empty => failure = Some(format!("{name}: no such service")),
                Asked::Failed(what) => failure = Some(format!("{name}: {what}")),
            }
        }
        let names: Vec<String> = unique(self.names(known)).collect();
        let mut addresses = stream::iter(names.clone())
            .map(|name| async { (self.resolver.addresses(&name).await, name) })
            .buffer_unordered(AT_A_TIME);
        while let Some((asked, name)) = addresses.next().await {
            match merge(known.addresses.get(&name), asked) {
                Ok((found, ttl)) => {
                    shortest = shortest.min(ttl);
                    known.addresses.insert(name, found);
                }
                Err(what) => failure = Some(format!("{name}: {what}")),
            }
        }
        known.addresses.retain(|name, _| names.contains(name));
        (shortest, failure)
    }

    /// The names whose addresses are wanted.
    fn names<'a>(&'a self, known: &'a LastAnswers) -> impl Iterator<Item = String> + 'a {
        self.wanted.iter().flat_map(|wanted| match wanted {
            Wanted::Addresses(name, _) => vec![name.clone()],
            Wanted::Services(name) => {
                let found = known.services.get(name).into_iter().flatten();
                found.map(|service| service.target.clone()).collect()
            }
        })
    }

    fn backends(&self, known: &LastAnswers) -> BTreeSet<Backend> {
        let mut set = BTreeSet::new();
        let mut add = |name: &String, port, weight, priority: u32| {
            for ip in known.addresses.get(name).into_iter().flatten().flatten() {
                let mut backend = Backend::from(SocketAddr::new(*ip, port));
                backend.weight = weight;
                if priority > 0 {
                    backend.ext.insert(Priority(priority));
                }
                if set.len() < MOST {
                    set.insert(backend);
                }
            }
        };
        for wanted in &self.wanted {
            match wanted {
                Wanted::Addresses(name, port) => add(name, *port, self.weight, 0),
                Wanted::Services(name) => {
                    let found = known.services.get(name).map_or(&[][..], Vec::as_slice);
                    let best = found.first().map_or(0, |service| service.priority);
                    for service in found {
                        let priority = u32::from(service.priority.saturating_sub(best));
                        let weight = usize::from(service.weight.max(1));
                        add(&service.target, service.port, weight, priority);
                    }
                }
            }
        }
        set
    }
}

/// Each name once, in their order.
fn unique(names: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut seen = BTreeSet::new();
    names
        .filter(move |name| seen.insert(name.clone()))
        .take(MOST)
}

/// The known addresses of a name after its look-ups for A and AAAA records; or the reason why both
/// failed.
fn merge(
    before: Option<&[Vec<IpAddr>; 2]>,
    asked: [Asked<Vec<IpAddr>>; 2],
) -> std::result::Result<([Vec<IpAddr>; 2], Duration), String> {
    let mut found = before.cloned().unwrap_or_default();
    let (mut shortest, mut why) = (None, "no addresses".to_string());
    let mut partly = false;
    for (asked, found) in asked.into_iter().zip(&mut found) {
        match asked {
            Asked::Known(addresses, ttl) => {
                shortest = Some(shortest.map_or(ttl, |shortest: Duration| shortest.min(ttl)));
                *found = addresses;
            }
            Asked::Empty => found.clear(),
            Asked::Failed(what) => {
                partly = true;
                why = what;
            }
        }
    }
    let ttl = shortest.ok_or(why)?;
    // The failed half is queried again soon.
    Ok((found, if partly { ttl.min(RETRY) } else { ttl }))
}

/// Sets the time of the next query, even if the current one is dropped.
struct Rearm<'a> {
    due: &'a watch::Sender<Option<Instant>>,
    after: Duration,
}

impl Drop for Rearm<'_> {
    fn drop(&mut self) {
        let after = self.after.min(FAR);
        self.due.send_replace(Some(Instant::now() + after));
    }
}

#[async_trait]
impl ServiceDiscovery for DnsDiscovery {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut next = Rearm {
            due: &self.due,
            after: RETRY.max(self.shortest),
        };
        let mut known = lock(&self.known).clone();
        let (ttl, failure) = self.ask(&mut known).await;
        let backends = self.backends(&known);
        *lock(&self.known) = known;
        match failure {
            Some(what) if backends.is_empty() => {
                return Error::e_explain(ErrorType::ConnectNoRoute, format!("DNS: {what}"));
            }
            Some(what) => log::error!("DNS: its last answer stays: {what}"),
            None => next.after = ttl.max(self.shortest),
        }
        if backends.is_empty() {
            return Error::e_explain(
                ErrorType::ConnectNoRoute,
                "DNS: no name, or no usable address",
            );
        }
        if backends.len() == MOST {
            log::warn!("DNS: {MOST} backends or more; those beyond are left out");
        }
        Ok((backends, HashMap::new()))
    }

    fn changed(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
        let mut due = self.due.subscribe();
        Some(Box::pin(async move {
            loop {
                let next = *due.borrow_and_update();
                let moved = due.changed();
                let Some(next) = next else {
                    // The sender lives as long as this future.
                    let _ = moved.await;
                    continue;
                };
                if tokio::time::timeout_at(next, moved).await.is_err() {
                    self.due.send_replace(None);
                    return;
                }
            }
        }))
    }
}

impl fmt::Debug for DnsDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsDiscovery")
            .field("wanted", &self.wanted)
            .field("due", &*self.due.borrow())
            .finish_non_exhaustive()
    }
}
