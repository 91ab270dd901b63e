//! Where the set of backends comes from.

use crate::Backend;
use async_trait::async_trait;
use pingora_error::Result;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::ToSocketAddrs;

/// Finds the set of backends.
#[async_trait]
pub trait ServiceDiscovery {
    /// The set of backends as of now; and for some of them, by [`Backend::hash_key`], whether they
    /// may be selected. Those that are not named there stay as they are; new ones may be.
    ///
    /// # Errors
    /// Leave the set as it was.
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)>;

    /// The set of backends, if it is known without asking anyone: it is there from the start, and
    /// not only once a background service runs. Unlike [`discover`](Self::discover) this is called
    /// outside of any runtime, too. `None` by default.
    fn known(&self) -> Option<BTreeSet<Backend>> {
        None
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

    /// Backends of weight 1 at these addresses. A name becomes as many backends as it has
    /// addresses; it is resolved now, and the thread waits for that.
    ///
    /// # Errors
    /// The first address that can't be resolved.
    pub fn try_from_iter<A, T: IntoIterator<Item = A>>(iter: T) -> io::Result<Box<Self>>
    where
        A: ToSocketAddrs,
    {
        let mut backends = BTreeSet::new();
        for addr in iter {
            backends.extend(addr.to_socket_addrs()?.map(Backend::from));
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
        assert!(Static::try_from_iter(["127.0.0.1:1", "127.0.0.1"]).is_err());
    }
}
