//! One server that requests can go to.

use http::Extensions;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Context, Result};
use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{SocketAddr as StdSocketAddr, ToSocketAddrs};
use std::ops::{Deref, DerefMut};

/// One of the servers that requests can go to.
///
/// Two backends are the same if their addresses and weights are the same. Cloning one without extensions
/// does not allocate.
#[derive(Clone)]
pub struct Backend {
    /// The address that it listens on.
    pub addr: SocketAddr,
    /// Its share relative to the others' weights. A backend of weight 0 is never selected.
    pub weight: usize,
    /// Data that discovery passes to selection. Not part of the backend's identity.
    pub ext: Extensions,
}

impl Backend {
    /// A backend of weight 1 at `addr`: `IP:PORT`, or the path of a Unix socket (`/path` or
    /// `unix:path`). Names are not resolved.
    ///
    /// # Errors
    /// If `addr` is neither.
    pub fn new(addr: &str) -> Result<Self> {
        Backend::new_with_weight(addr, 1)
    }

    /// [`Backend::new`] with a weight.
    ///
    /// # Errors
    /// If `addr` is neither `IP:PORT` nor the path of a Unix socket.
    pub fn new_with_weight(addr: &str, weight: usize) -> Result<Self> {
        let addr = addr
            .parse()
            .err_context(|| format!("not the address of a backend: {addr:?}"))?;
        Ok(Backend {
            addr,
            weight,
            ext: Extensions::new(),
        })
    }

    /// The key of this backend in the second part of the result of
    /// [`discover`](crate::discovery::ServiceDiscovery::discover). The same for the same address and
    /// weight, in every process that was built by the same compiler.
    pub fn hash_key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// The maximum number of concurrent requests at one backend: an entry of its [extensions](Backend::ext),
/// which takes precedence over [the registry's](crate::HealthRegistry::set_max_in_flight). 0 counts as
/// 1; to drain a backend, give it weight 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxInFlight(pub usize);

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Backend");
        out.field("addr", &self.addr).field("weight", &self.weight);
        if !self.ext.is_empty() {
            out.field("ext", &self.ext);
        }
        out.finish()
    }
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr && self.weight == other.weight
    }
}

impl Eq for Backend {}

impl PartialOrd for Backend {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Backend {
    /// By address, then by weight.
    fn cmp(&self, other: &Self) -> Ordering {
        self.addr
            .cmp(&other.addr)
            .then_with(|| self.weight.cmp(&other.weight))
    }
}

impl Hash for Backend {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.addr.hash(state);
        self.weight.hash(state);
    }
}

impl Deref for Backend {
    type Target = SocketAddr;

    fn deref(&self) -> &Self::Target {
        &self.addr
    }
}

impl DerefMut for Backend {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.addr
    }
}

impl ToSocketAddrs for Backend {
    type Iter = <SocketAddr as ToSocketAddrs>::Iter;

    /// # Errors
    /// If the backend listens on a Unix socket.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.addr.to_socket_addrs()
    }
}

impl From<StdSocketAddr> for Backend {
    /// A backend of weight 1.
    fn from(addr: StdSocketAddr) -> Self {
        Backend {
            addr: SocketAddr::Inet(addr),
            weight: 1,
            ext: Extensions::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_shows_its_address_and_weight_and_extensions_only_if_there_are_some() {
        let mut backend = Backend::new("1.0.0.1:443").unwrap();
        assert_eq!(
            format!("{backend:?}"),
            "Backend { addr: Inet(1.0.0.1:443), weight: 1 }"
        );
        backend.ext.insert(7_u8);
        assert!(format!("{backend:?}").contains(", ext: "));
    }

    #[test]
    fn address_and_weight_make_its_identity() {
        let backend = |weight| Backend::new_with_weight("[::1]:80", weight).unwrap();
        let mut with_ext = backend(1);
        with_ext.ext.insert(7_u8);
        assert_eq!(backend(1), with_ext);
        assert_eq!(backend(1).hash_key(), with_ext.hash_key());
        assert_ne!(backend(1), backend(2));
        assert_ne!(backend(1).hash_key(), backend(2).hash_key());
        let set = BTreeSet::from([backend(1), with_ext, backend(2)]);
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn addresses() {
        for good in ["1.2.3.4:5", "[::1]:80", "/run/a.sock", "unix:a.sock"] {
            assert!(Backend::new(good).is_ok(), "{good}");
        }
        for bad in ["", "localhost:80", "1.2.3.4", "1.2.3.4:65536", "::1:80"] {
            let err = Backend::new(bad).unwrap_err();
            assert!(err.to_string().contains(&format!("{bad:?}")), "{err}");
        }
        let mut backend = Backend::new("1.2.3.4:5").unwrap();
        assert_eq!(backend.to_socket_addrs().unwrap().count(), 1);
        backend.set_port(6);
        assert_eq!(backend.as_inet().unwrap().port(), 6);
        assert!(Backend::new("/a").unwrap().to_socket_addrs().is_err());
    }
}
