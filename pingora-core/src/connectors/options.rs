//! The options that all connections of one connector share.

use crate::process::ServerConf;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Called with the idle time when a connection is taken out of the pool for reuse. It must not
/// block.
pub type PoolCallback = Arc<dyn Fn(Duration) + Send + Sync>;

/// The default number of connections that are kept.
pub(crate) const DEFAULT_POOL_SIZE: usize = 128;

/// The options that all connections of one connector share.
#[derive(Clone)]
pub struct ConnectorOptions {
    /// Certificates to trust, a PEM file. `None`: the system's. Revocation lists in the file are
    /// applied to the upstreams' own certificates; in that case every authority that signs one needs
    /// a list there. A peer with a `ca` of its own uses neither these certificates nor these lists.
    pub ca_file: Option<String>,
    /// The certificate chain and key to present to upstreams that ask for one, PEM files.
    pub cert_key_file: Option<(String, String)>,
    /// Write the secrets of TLS sessions to the file that the environment variable `SSLKEYLOGFILE`
    /// names, for a debugger. Anyone who can read that file can read the traffic.
    pub debug_ssl_keylog: bool,
    /// The maximum number of idle connections to keep, in total. 128 by default; 0 keeps none.
    pub keepalive_pool_size: usize,
    /// Kept for programs that set it: connecting blocks no thread, so there is nothing to offload.
    pub offload_threadpool: Option<(usize, usize)>,
    /// Local addresses to connect from, one chosen at random, if the upstream has an IPv4 address
    /// and the peer sets none.
    pub bind_to_v4: Vec<SocketAddr>,
    /// The same for IPv6.
    pub bind_to_v6: Vec<SocketAddr>,
    /// Called with the idle time when an idle connection is reused.
    pub keepalive_pool_callback: Option<PoolCallback>,
}

impl ConnectorOptions {
    /// The options in the server's configuration. An invalid local address is logged and omitted.
    pub fn from_server_conf(server_conf: &ServerConf) -> Self {
        ConnectorOptions {
            ca_file: server_conf.ca_file.clone(),
            debug_ssl_keylog: server_conf.upstream_debug_ssl_keylog,
            offload_threadpool: server_conf.upstream_connect_offload_threadpool(),
            bind_to_v4: local_addresses(&server_conf.client_bind_to_ipv4, IpAddr::is_ipv4),
            bind_to_v6: local_addresses(&server_conf.client_bind_to_ipv6, IpAddr::is_ipv6),
            ..Self::new(server_conf.upstream_keepalive_pool_size)
        }
    }

    /// The defaults, with room for `keepalive_pool_size` idle connections.
    pub fn new(keepalive_pool_size: usize) -> Self {
        ConnectorOptions {
            ca_file: None,
            cert_key_file: None,
            debug_ssl_keylog: false,
            keepalive_pool_size,
            offload_threadpool: None,
            bind_to_v4: Vec::new(),
            bind_to_v6: Vec::new(),
            keepalive_pool_callback: None,
        }
    }
}

fn local_addresses(texts: &[String], right_family: fn(&IpAddr) -> bool) -> Vec<SocketAddr> {
    let parse = |text: &String| match text.parse::<IpAddr>() {
        Ok(ip) if right_family(&ip) => Some(SocketAddr::new(ip, 0)),
        _ => {
            log::error!("{text:?} is no local address of its family; it is not used");
            None
        }
    };
    texts.iter().filter_map(parse).collect()
}

impl fmt::Debug for ConnectorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorOptions")
            .field("ca_file", &self.ca_file)
            .field("cert_key_file", &self.cert_key_file)
            .field("keepalive_pool_size", &self.keepalive_pool_size)
            .field("bind_to_v4", &self.bind_to_v4)
            .field("bind_to_v6", &self.bind_to_v6)
            .finish_non_exhaustive()
    }
}
