//! Two origins that run in the same server, and an address that refuses connections.

use pingora::lb::Backends;
use pingora::server::Server;
use pingora_examples::{backends, origin};

/// A description of the services that [`origins`] starts.
pub(super) const DESCRIPTION: &str = "It balances over two small origins that it started itself, and \
                               leaves out a third upstream,\n127.0.0.1:343, where nobody listens.";

/// An address without a listener.
const DEAD: &str = "127.0.0.1:343";

/// Starts two origins in the server. They and an address without a listener are the backends.
pub(super) fn origins(server: &mut Server) -> Backends {
    let origins = ["origin one", "origin two"].map(origin);
    let addresses = origins.iter().map(|origin| origin.bound_addresses());
    let addresses = addresses.collect();
    for origin in origins {
        server.add_service(origin);
    }
    backends(addresses, &[DEAD])
}
