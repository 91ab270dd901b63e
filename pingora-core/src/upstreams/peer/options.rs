//! How to connect to a peer, and how to communicate with it.

pub use crate::protocols::http::hop_by_hop::{H1UpgradePolicy, HttpUpstreamRequestPolicy};

use super::identity::IdentityHasher;
use crate::protocols::l4::ext::TcpKeepalive;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::l4::{Announcement, BindTo, Connect as L4Connect, Tracer};
use crate::protocols::proxy_protocol::{ProxyHeader, ProxyVersion};
use crate::protocols::raw_connect::ProxyDigestUserDataHook;
use crate::protocols::tls::{ALPN, CaType, HandshakeCompleteHook, hash_ca};
use pingora_error::Result;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr as InetSocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;

/// Configures a TCP socket before it connects. An error ends the attempt.
pub type TcpSocketTweakHook = Arc<dyn Fn(&TcpSocket) -> Result<()> + Send + Sync + 'static>;

/// The time limit for each read of a response if [`PeerOptions::read_timeout`] does not set another.
pub const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How to connect to a peer, and how to communicate with it.
///
/// Created per request: neither [`new`](PeerOptions::new) nor a clone of it allocates.
#[derive(Clone)]
pub struct PeerOptions {
    /// The local end of the connection. `None`: the connector's choice, or the kernel's.
    pub bind_to: Option<BindTo>,
    /// The time limit for connecting the transport, and again for the TLS handshake. `None`: the
    /// kernel's limit, and a minute for TLS.
    pub connection_timeout: Option<Duration>,
    /// The time limit for connecting in total, TLS included. `None`: only the limits of the parts.
    pub total_connection_timeout: Option<Duration>,
    /// The time limit for each read of a response: for its head, and between two pieces of its body.
    /// `None`: [`DEFAULT_READ_TIMEOUT`]; `Some(Duration::MAX)`: no limit. A tunnel (a WebSocket, CONNECT)
    /// only uses it if it is set.
    pub read_timeout: Option<Duration>,
    /// The time that an idle connection may stay in the pool. `None`: no limit; zero: connections
    /// are not kept.
    pub idle_timeout: Option<Duration>,
    /// The time limit for each write. `None`: no limit.
    pub write_timeout: Option<Duration>,
    /// Verify the certificate chain. On by default.
    pub verify_cert: bool,
    /// Verify that the certificate is for this peer: for its name, or, if there is none, for its
    /// address. On by default; has no effect without `verify_cert`. The subject's common name counts
    /// only if the certificate names no host otherwise.
    pub verify_hostname: bool,
    /// An alternative name that the certificate may have.
    pub alternative_cn: Option<String>,
    /// Application protocols to offer. HTTP/1.1 by default.
    pub alpn: ALPN,
    /// Certificates to trust instead of the connector's.
    pub ca: Option<Arc<CaType>>,
    /// When to probe an idle connection. `None`: never.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Size of the socket's receive buffer, in bytes. `None`: the kernel's choice.
    pub tcp_recv_buf: Option<usize>,
    /// Differentiated-services code point, 0 to 63.
    pub dscp: Option<u8>,
    /// The interval at which to ping an HTTP/2 connection. A connection that does not answer within
    /// 5 s is closed. `None`: never.
    pub h2_ping_interval: Option<Duration>,
    /// The maximum number of concurrent requests on one HTTP/2 connection. 1 by default.
    pub max_h2_streams: usize,
    /// Window of one HTTP/2 stream, in bytes. `None`: the protocol's default.
    pub h2_stream_window_size: Option<u32>,
    /// Window of one HTTP/2 connection, in bytes. `None`: the sum of all its streams' windows, so that
    /// slow clients don't hold up others, but no more than 16 MiB unless two streams need it.
    pub h2_connection_window_size: Option<u32>,
    /// Treat a response whose `Content-Length` is invalid as delimited by the end of the
    /// connection, instead of refusing it. Off by default.
    pub allow_h1_response_invalid_content_length: bool,
    /// How hop-by-hop fields are treated.
    pub http_upstream_request_policy: HttpUpstreamRequestPolicy,
    /// Header fields for a CONNECT proxy on the way, in addition to those of the proxy itself.
    /// Connections with different ones are kept apart.
    pub extra_proxy_headers: BTreeMap<String, Vec<u8>>,
    /// Groups ("curves") to offer in the TLS handshake, separated by colons, best first, by the names
    /// that the TLS library knows (`X25519:P-256`). An unknown name makes every handshake fail with
    /// `InternalError`. `None`: the library's default.
    pub curves: Option<Cow<'static, str>>,
    /// Offer a second key share. Has no effect with OpenSSL before 3.5: it sends one for the first
    /// group, and a server that wants another group costs another round trip. Later versions decide by
    /// themselves.
    pub second_keyshare: bool,
    /// Send the first data with the SYN (RFC 7413). Off by default.
    pub tcp_fast_open: bool,
    /// Notified of the beginning and the end of connections.
    pub tracer: Option<Tracer>,
    /// Connects instead of TCP and Unix sockets. The pool can't tell one from another: give peers that
    /// differ in it different group keys. A peer created from a name with several addresses stores
    /// them here.
    pub custom_l4: Option<Arc<dyn L4Connect + Send + Sync>>,
    /// Configures a TCP socket before it connects.
    pub upstream_tcp_sock_tweak_hook: Option<TcpSocketTweakHook>,
    /// Computes a value from a CONNECT proxy's answer.
    pub proxy_digest_user_data_hook: Option<ProxyDigestUserDataHook>,
    /// Called when a TLS handshake is complete.
    pub upstream_tls_handshake_complete_hook: Option<HandshakeCompleteHook>,
}

impl PeerOptions {
    /// The defaults, as documented for each field.
    pub fn new() -> Self {
        PeerOptions {
            bind_to: None,
            connection_timeout: None,
            total_connection_timeout: None,
            read_timeout: None,
            idle_timeout: None,
            write_timeout: None,
            verify_cert: true,
            verify_hostname: true,
            alternative_cn: None,
            alpn: ALPN::H1,
            ca: None,
            tcp_keepalive: None,
            tcp_recv_buf: None,
            dscp: None,
            h2_ping_interval: None,
            max_h2_streams: 1,
            h2_stream_window_size: None,
            h2_connection_window_size: None,
            allow_h1_response_invalid_content_length: false,
            http_upstream_request_policy: HttpUpstreamRequestPolicy::standard(),
            extra_proxy_headers: BTreeMap::new(),
            curves: None,
            second_keyshare: true,
            tcp_fast_open: false,
            tracer: None,
            custom_l4: None,
            upstream_tcp_sock_tweak_hook: None,
            proxy_digest_user_data_hook: None,
            upstream_tls_handshake_complete_hook: None,
        }
    }

    /// The effective limit of [`read_timeout`](PeerOptions::read_timeout); `None`: there is none.
    pub fn read_limit(&self) -> Option<Duration> {
        match self.read_timeout {
            None => Some(DEFAULT_READ_TIMEOUT),
            Some(Duration::MAX) => None,
            limit => limit,
        }
    }

    /// The addresses at which a peer at `address` can be reached; empty if that is the only one.
    #[inline]
    pub(crate) fn addresses(&self, address: &SocketAddr) -> &[InetSocketAddr] {
        let several = self.custom_l4.as_ref().map_or(&[][..], |l4| l4.addresses());
        if several.is_empty() {
            return several;
        }
        match address.as_inet() {
            Some(address) if several.contains(address) => several,
            _ => &[],
        }
    }

    /// The user's custom connector.
    pub(crate) fn own_way(&self) -> Option<&(dyn L4Connect + Send + Sync)> {
        let mut own = self.custom_l4.as_deref()?;
        if let Some(announcement) = own.announcement() {
            own = &**announcement.way()?;
        }
        own.addresses().is_empty().then_some(own)
    }

    /// Begins each connection to the peer with a PROXY protocol header, before a TLS handshake, or, through a
    /// CONNECT proxy, after its answer. The header describes the whole connection: the pool keeps connections
    /// with different headers apart, so none is used for another client. An idle one waits for the same client's
    /// next request, for at most [`idle_timeout`](Self::idle_timeout).
    ///
    /// For a custom peer type, [`reuse_hash`](super::Peer::reuse_hash) has to include the
    /// [announcement](Self::announcement).
    ///
    /// Call it after setting [`custom_l4`](Self::custom_l4), which it replaces; connecting still uses the
    /// previous value. A second header replaces the first.
    ///
    /// ```
    /// use pingora_core::protocols::proxy_protocol::{ProxyHeader, ProxyVersion};
    /// use pingora_core::upstreams::peer::HttpPeer;
    ///
    /// let mut peer = HttpPeer::new("127.0.0.1:80", false, String::new());
    /// let header = ProxyHeader::new("192.0.2.1:5000".parse()?, "198.51.100.1:443".parse()?);
    /// peer.options.send_proxy_header(&header, ProxyVersion::V2);
    /// # Ok::<(), pingora_core::BError>(())
    /// ```
    pub fn send_proxy_header(&mut self, header: &ProxyHeader, version: ProxyVersion) {
        let way = match self.custom_l4.take() {
            Some(way) => match way.announcement() {
                Some(former) => former.way().cloned(),
                None => Some(way),
            },
            None => None,
        };
        let announcement = Announcement::new(header.encode(version), way);
        self.custom_l4 = Some(Arc::new(announcement));
    }

    /// The bytes that each connection to the peer begins with, before everything else; `None`:
    /// nothing.
    pub fn announcement(&self) -> Option<&[u8]> {
        let announcement = self.custom_l4.as_ref()?.announcement();
        announcement.map(Announcement::bytes)
    }

    /// Offers HTTP versions from `min` to `max`, each 1 or 2.
    pub fn set_http_version(&mut self, max: u8, min: u8) {
        self.alpn = ALPN::new(max, min);
    }

    /// Hashes where a connection to a peer at `address` may lead, and what it began with. A peer with several addresses
    /// is the same as one with the same addresses in another order, and as no other.
    #[inline]
    pub(super) fn hash_address<H: Hasher>(&self, address: &SocketAddr, state: &mut H) {
        match self.addresses(address) {
            [] => address.hash(state),
            several => hash_of_any_order(several).hash(state),
        }
        if let Some(announcement) = self.announcement() {
            announcement.hash(state);
        }
    }

    /// Hashes everything that a TLS connection depends on: how the peer was verified, and what was
    /// offered to it.
    pub(super) fn hash_tls<H: Hasher>(&self, state: &mut H) {
        self.verify_cert.hash(state);
        self.verify_hostname.hash(state);
        self.alternative_cn.hash(state);
        self.alpn.hash(state);
        self.curves.hash(state);
        hash_ca(self.ca.as_deref(), state);
    }
}

/// The same for the same addresses, in any order.
#[cold]
fn hash_of_any_order(addresses: &[InetSocketAddr]) -> (usize, u64) {
    let sum = addresses.iter().fold(0u64, |sum, address| {
        let mut hasher = IdentityHasher::new();
        address.hash(&mut hasher);
        sum.wrapping_add(hasher.finish())
    });
    (addresses.len(), sum)
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for PeerOptions {
    /// The differences from the defaults, for a log line; empty if there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut option = |name: &str, value: Option<&dyn fmt::Debug>| {
            let Some(value) = value else { return Ok(()) };
            let written = write!(f, "{separator}{name}: {value:?}");
            separator = ", ";
            written
        };
        fn some<T: fmt::Debug>(value: &Option<T>) -> Option<&dyn fmt::Debug> {
            value.as_ref().map(|value| value as &dyn fmt::Debug)
        }
        option("bind_to", some(&self.bind_to.as_ref().and_then(|b| b.addr)))?;
        option("connection_timeout", some(&self.connection_timeout))?;
        option(
            "total_connection_timeout",
            some(&self.total_connection_timeout),
        )?;
        option("read_timeout", some(&self.read_timeout))?;
        option("write_timeout", some(&self.write_timeout))?;
        option("idle_timeout", some(&self.idle_timeout))?;
        option("alternative_cn", some(&self.alternative_cn))?;
        option("tcp_keepalive", some(&self.tcp_keepalive))?;
        option("dscp", some(&self.dscp))?;
        option("verify_cert", (!self.verify_cert).then_some(&false as _))?;
        option(
            "verify_hostname",
            (!self.verify_hostname).then_some(&false as _),
        )?;
        option("alpn", (self.alpn != ALPN::H1).then_some(&self.alpn as _))?;
        option("own_ca", self.ca.is_some().then_some(&true as _))
    }
}

impl fmt::Debug for PeerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerOptions({self})")
    }
}
