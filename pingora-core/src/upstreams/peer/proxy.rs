//! A CONNECT proxy on the way to a peer.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;

/// A CONNECT proxy on the way to a peer (RFC 9110 section 9.3.6).
#[derive(Clone, Debug)]
pub struct Proxy {
    /// The Unix socket that the proxy listens on.
    pub next_hop: Box<Path>,
    /// Host to connect to, from the proxy.
    pub host: String,
    /// Port to connect to, from the proxy.
    pub port: u16,
    /// Header fields of the CONNECT request.
    pub headers: BTreeMap<String, Vec<u8>>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "next_hop: {}, host: {}, port: {}",
            self.next_hop.display(),
            self.host,
            self.port
        )
    }
}

impl Hash for Proxy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.next_hop.hash(state);
        self.host.hash(state);
        self.port.hash(state);
        self.headers.hash(state);
    }
}
