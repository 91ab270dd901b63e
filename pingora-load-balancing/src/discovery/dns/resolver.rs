//! Look-ups for peers, with answers that are kept.

use super::ask::Resolver;
use super::{MOST, RETRY, SHORTEST, merge};
use crate::registry::lock;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// As many addresses of each family are kept: a peer tries no more of both. With at most [`MOST`] names of at most 255
/// bytes, a resolver holds less than 1 MB.
const TRIED: usize = 8;
/// The longest time for which an answer is kept.
const LONGEST: Duration = Duration::from_secs(300);

/// The longest name, in bytes (RFC 1035 section 3.1).
const LONGEST_NAME: usize = 255;

/// Looks up the names of peers, without blocking a thread. Needs the feature `dns`.
///
/// An answer is kept for its time to live, between 1 second and 5 minutes; an answer that was good stays in use while
/// its name fails, which is logged as an error. Requests for one name that is being asked for wait for the same answer,
/// or take the last one if there is one. At most 1,000 names are kept, each with eight addresses of each family; beyond that,
/// the one whose answer ends first goes.
///
/// ```no_run
/// # async fn peer() -> pingora_error::Result<()> {
/// use pingora_load_balancing::discovery::DnsResolver;
///
/// let resolver = DnsResolver::new()?;
/// let peer = resolver.peer("app.example.com:443", true, "app.example.com".into()).await?;
/// # Ok(())
/// # }
/// ```
///
/// For names whose backends are to be balanced or checked, use [`DnsDiscovery`](super::DnsDiscovery).
pub struct DnsResolver {
    resolver: Resolver,
    names: Mutex<HashMap<String, Arc<Name>>>,
}

/// A name that was asked for.
#[derive(Default)]
struct Name {
    answer: Mutex<Option<Answer>>,
    /// Held while the DNS is asked.
    asking: tokio::sync::Mutex<()>,
}

/// The last answer of a name.
#[derive(Clone)]
struct Answer {
    /// The addresses of A records, and those of AAAA records; or why there are none.
    found: std::result::Result<[Vec<IpAddr>; 2], String>,
    until: Instant,
}

impl Name {
    /// The last answer, if it is still good.
    fn fresh(&self) -> Option<Answer> {
        self.last().filter(|answer| answer.until > Instant::now())
    }

    fn last(&self) -> Option<Answer> {
        lock(&self.answer).clone()
    }
}

impl DnsResolver {
    /// Asks the name servers of `/etc/resolv.conf`, and looks into `/etc/hosts` first. Reads both now.
    ///
    /// # Errors
    /// If the system's configuration can't be read.
    pub fn new() -> Result<Self> {
        Ok(DnsResolver::with(Resolver::of_the_system()?))
    }

    /// Asks these name servers, and reads no file.
    ///
    /// # Errors
    /// If there is none.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Self> {
        Ok(DnsResolver::with(Resolver::of_servers(servers)?))
    }

    fn with(resolver: Resolver) -> Self {
        DnsResolver {
            resolver,
            names: Mutex::default(),
        }
    }

    /// A peer at `host_port`, such as `"app.example.com:443"`, with all addresses of the name: the next one is tried if
    /// one fails (RFC 8305), see [`HttpPeer::new`]. An IP address is its own address. Cancel-safe.
    ///
    /// # Errors
    /// `ConnectNoRoute`, with the name: it has no address and never had one, or there is no port.
    pub async fn peer(&self, host_port: &str, tls: bool, sni: String) -> Result<HttpPeer> {
        if let Ok(address) = host_port.parse::<SocketAddr>() {
            return HttpPeer::try_new(address, tls, sni);
        }
        let parts = host_port.rsplit_once(':');
        let parts = parts.and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
        let is_possible = |name: &str| (1..=LONGEST_NAME).contains(&name.len());
        let Some((name, port)) = parts.filter(|(name, _)| is_possible(name)) else {
            let context = format!("{host_port:?} is not a name and a port");
            return Error::e_explain(ErrorType::ConnectNoRoute, context);
        };
        let addresses = in_turn(&self.addresses(name).await?)
            .map(|ip| SocketAddr::new(ip, port))
            .collect::<Vec<_>>();
        HttpPeer::try_new(&addresses[..], tls, sni)
    }

    async fn addresses(&self, name: &str) -> Result<[Vec<IpAddr>; 2]> {
        let entry = self.name(name);
        let answer = match entry.fresh() {
            Some(answer) => answer,
            None => self.ask_in_turn(name, &entry).await,
        };
        answer.found.or_else(|why| {
            Error::e_explain(ErrorType::ConnectNoRoute, format!("DNS: {name}: {why}"))
        })
    }

    /// Asks, unless somebody else does: then that answer counts, or the last good one.
    async fn ask_in_turn(&self, name: &str, entry: &Name) -> Answer {
        let _turn = match entry.asking.try_lock() {
            Ok(turn) => turn,
            Err(_) => match entry.last().filter(|last| last.found.is_ok()) {
                Some(last) => return last,
                None => entry.asking.lock().await,
            },
        };
        if let Some(answer) = entry.fresh() {
            return answer;
        }
        let before = entry.last().and_then(|last| last.found.ok());
        let asked = merge(before.as_ref(), self.resolver.addresses(name).await);
        let (found, kept) = match (asked, before) {
            (Ok((mut found, ttl)), _) => {
                for addresses in &mut found {
                    addresses.truncate(TRIED);
                    addresses.shrink_to_fit();
                }
                (Ok(found), ttl.clamp(SHORTEST, LONGEST))
            }
            (Err(why), Some(before)) => {
                log::error!("DNS: its last answer stays: {name}: {why}");
                (Ok(before), RETRY)
            }
            (Err(why), None) => (Err(why), RETRY),
        };
        let until = Instant::now() + kept;
        let answer = Answer { found, until };
        *lock(&entry.answer) = Some(answer.clone());
        answer
    }

    fn name(&self, name: &str) -> Arc<Name> {
        let mut names = lock(&self.names);
        if let Some(entry) = names.get(name) {
            return entry.clone();
        }
        if names.len() >= MOST {
            // Those that are being asked for have no end yet.
            let ends = |entry: &Arc<Name>| lock(&entry.answer).as_ref().map(|a| a.until);
            let first = names
                .iter()
                .filter_map(|(name, entry)| Some((ends(entry)?, name)))
                .min()
                .map(|(_, name)| name.clone());
            match first {
                Some(first) => drop(names.remove(&first)),
                // All are being asked for: this one is not kept.
                None => return Arc::default(),
            }
        }
        names.entry(name.to_string()).or_default().clone()
    }
}

/// Addresses of both families by turns, as RFC 8305 section 4 orders them.
fn in_turn([v4, v6]: &[Vec<IpAddr>; 2]) -> impl Iterator<Item = IpAddr> {
    let longer = v4.len().max(v6.len());
    (0..longer).flat_map(|n| [v6.get(n), v4.get(n)].into_iter().flatten().copied())
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = lock(&self.names).len();
        f.debug_struct("DnsResolver")
            .field("names", &names)
            .finish()
    }
}
