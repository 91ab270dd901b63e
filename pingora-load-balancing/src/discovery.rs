//! The source of the set of backends.

#[cfg(feature = "dns")]
mod dns;
mod file;

#[cfg(feature = "dns")]
pub use dns::{DnsDiscovery, DnsResolver};
pub use file::FileDiscovery;

use crate::Backend;
use async_trait::async_trait;
use pingora_core::protocols::l4::socket::name_error;
use pingora_error::Result;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::io;
use std::net::ToSocketAddrs;
use std::pin::Pin;
use std::time::Duration;

/// The default time limit of [`ServiceDiscovery::discover`].
const TIMEOUT: Duration = Duration::from_secs(10);

/// Finds the set of backends.
///
/// The `update()` of a load balancer asks it. As a background service, the balancer asks repeatedly, and
/// at once when discovery [reports a change](Self::changed).
#[async_trait]
pub trait ServiceDiscovery {
    /// The current set of backends; and for some of them, by [`Backend::hash_key`], whether they may be
    /// selected. Backends that are not named there keep their state; new ones may be selected.
    ///
    /// Must not block its thread, which it may share with health checks. Dropped if it takes longer than
    /// [its timeout](Self::timeout).
    ///
    /// # Errors
    /// An error leaves the set as it was. A panic counts as an error.
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)>;

    /// The set of backends, if it is known without asking: it is then available from the start, and not
    /// only once a background service runs. Unlike [`discover`](Self::discover) this is also called
    /// outside of any runtime. `None` by default.
    fn known(&self) -> Option<BTreeSet<Backend>> {
        None
    }

    /// Returns when the set may have changed, so that a background service asks for it at once and not
    /// only when the next update is due. `None`, the default: discovery never reports changes.
    ///
    /// Called before each update, and again after the future has returned, so that a change during an
    /// update leads to another one. The starts of two updates are at least 100 milliseconds apart,
    /// however often this returns. Dropping the future must lose no change: the method is called again.
    ///
    /// ```
    /// # use pingora_load_balancing::{Backend, discovery::ServiceDiscovery};
    /// # use std::collections::{BTreeSet, HashMap};
    /// # use std::pin::Pin;
    /// # use std::sync::Mutex;
    /// struct Pushed {
    ///     latest: Mutex<BTreeSet<Backend>>,
    ///     arrived: tokio::sync::Notify, // `notify_one` remembers a change until it is waited for
    /// }
    ///
    /// #[async_trait::async_trait]
    /// impl ServiceDiscovery for Pushed {
    ///     async fn discover(&self) -> pingora_core::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
    ///         Ok((self.latest.lock().unwrap().clone(), HashMap::new()))
    ///     }
    ///
    ///     fn changed(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
    ///         Some(Box::pin(self.arrived.notified()))
    ///     }
    /// }
    /// ```
    fn changed(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
        None
    }

    /// How long a background service waits for [`discover`](Self::discover) before it abandons that
    /// round, which counts as an error. `None`: without limit, as needed by a discovery that waits for
    /// the next change. 10 seconds by default.
    fn timeout(&self) -> Option<Duration> {
        Some(TIMEOUT)
    }
}

/// A set of backends that does not change.
#[derive(Debug, Default)]
pub struct Static {
    backends: BTreeSet<Backend>,
}

impl Static {
    /// These backends.
    pub fn new(backends: BTreeSet<Backend>) -> Box<Self> {
        Box::new(Static { backends })
    }

    /// Backends of weight 1 at these addresses. A name becomes as many backends as it has addresses; it
    /// is resolved now, which blocks the thread.
    ///
    /// # Errors
    /// For the first address that can't be resolved; it contains the name, if the address is text.
    pub fn try_from_iter<A, T: IntoIterator<Item = A>>(iter: T) -> io::Result<Box<Self>>
    where
        A: ToSocketAddrs,
    {
        let mut backends = BTreeSet::new();
        for addr in iter {
            let found = addr.to_socket_addrs().map_err(|e| name_error(&addr, e))?;
            backends.extend(found.map(Backend::from));
        }
        Ok(Static::new(backends))
    }

    /// The backends.
    pub fn get(&self) -> BTreeSet<Backend> {
        self.backends.clone()
    }
}

#[async_trait]
impl ServiceDiscovery for Static {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        Ok((self.get(), HashMap::new()))
    }

    fn known(&self) -> Option<BTreeSet<Backend>> {
        Some(self.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_once() {
        let twice = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:1"];
        let discovery = Static::try_from_iter(twice).unwrap();
        assert_eq!(discovery.get().len(), 2);
        assert_eq!(discovery.known().unwrap(), discovery.get());
        assert!(Static::default().get().is_empty());
    }

    #[test]
    fn what_is_not_an_address_is_an_error() {
        let error = Static::try_from_iter(["127.0.0.1:1", "no such name:2"]).unwrap_err();
        assert!(
            error.to_string().starts_with(r#""no such name:2": "#),
            "{error}"
        );
        assert!(Static::try_from_iter(["127.0.0.1:1", "127.0.0.1"]).is_err());
    }
}
