//! What is known about a connection besides its bytes.

use super::l4::socket::SocketAddr;
use super::tls::SslDigest;
use pingora_http::ResponseHeader;
use std::any::Any;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// All that is known about a connection, from the socket up.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    /// What the TLS handshake agreed upon; `None` on a plain connection.
    pub ssl_digest: Option<Arc<SslDigest>>,
    /// When each layer was established, the lowest first.
    pub timing_digest: Vec<Option<TimingDigest>>,
    /// What a CONNECT proxy on the way answered.
    pub proxy_digest: Option<Arc<ProxyDigest>>,
    /// Addresses and options of the socket.
    pub socket_digest: Option<Arc<SocketDigest>>,
}
