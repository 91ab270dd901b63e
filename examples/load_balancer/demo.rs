//! Two origins that run in the same server, and an address that refuses connections.

use async_trait::async_trait;
use pingora::Result;
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::{Backend, Backends};
use pingora::listeners::BoundAddresses;
use pingora::server::Server;
use pingora_examples::origin;
use std::collections::{BTreeSet, HashMap};

/// A description of what [`origins`] starts.
pub(super) const DESCRIPTION: &str = "It balances over two small origins that it started itself, and \
                               leaves out a third upstream,\n127.0.0.1:343, where nobody listens.";

/// An address without a listener.
const DEAD: &str = "127.0.0.1:343";

/// Starts two origins in the server. They and an address without a listener are the backends.
pub(super) fn origins(server: &mut Server) -> Backends {
    let origins = ["origin one", "origin two"].map(origin);
    let addresses = origins.each_ref().map(|origin| origin.bound_addresses());
    for origin in origins {
        server.add_service(origin);
    }
    Backends::new(Box::new(Origins(addresses)))
}

/// Finds the origins: their ports are known only once they listen.
struct Origins([BoundAddresses; 2]);

#[async_trait]
impl ServiceDiscovery for Origins {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut backends = BTreeSet::from([Backend::new(DEAD)?]);
        for origin in &self.0 {
            backends.extend(origin.wait().await?.into_iter().map(Backend::from));
        }
        Ok((backends, HashMap::new()))
    }
}
