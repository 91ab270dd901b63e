//! Upstream peers: an address, and everything that a connection to it depends on.

mod basic;
mod below;
mod http;
mod identity;
mod options;
mod proxy;

pub use self::http::{HttpPeer, Scheme};
pub use crate::protocols::l4::{Tracer, Tracing};
pub use crate::protocols::raw_connect::ProxyDigestUserDataHook;
pub use crate::protocols::tls::ALPN;
pub use basic::BasicPeer;
pub use options::{
    DEFAULT_READ_TIMEOUT, H1UpgradePolicy, HttpUpstreamRequestPolicy, PeerOptions,
    TcpSocketTweakHook,
};
pub(crate) use proxy::NextHop;
pub use proxy::Proxy;

use crate::protocols::l4::BindTo;
use crate::protocols::l4::ext::TcpKeepalive;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::tls::certificate::CertKey;
use crate::protocols::tls::{CaType, HandshakeCompleteHook};
use std::fmt::Display;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

/// Something to connect to.
///
/// Only the first four methods need an implementation; the others answer from
/// [`get_peer_options`](Peer::get_peer_options).
pub trait Peer: Display + Clone {
    /// The address of the transport.
    fn address(&self) -> &SocketAddr;

    /// Whether to use TLS.
    fn tls(&self) -> bool;

    /// The server name for the TLS handshake, which is also verified. Empty: none.
    fn sni(&self) -> &str;

    /// Distinguishes peers in the connection pool: a connection made for one peer may serve another
    /// exactly if this number is the same. It is only valid for the lifetime of the process.
    fn reuse_hash(&self) -> u64;

    /// The CONNECT proxy on the way.
    fn get_proxy(&self) -> Option<&Proxy> {
        None
    }

    /// The peer's options.
    fn get_peer_options(&self) -> Option<&PeerOptions> {
        None
    }

    /// The peer's options, mutable.
    fn get_mut_peer_options(&mut self) -> Option<&mut PeerOptions> {
        None
    }

    /// Whether to verify the certificate chain. On by default.
    fn verify_cert(&self) -> bool {
        self.get_peer_options().is_none_or(|o| o.verify_cert)
    }

    /// Whether to verify that the certificate is for this peer. On by default.
    fn verify_hostname(&self) -> bool {
        self.get_peer_options().is_none_or(|o| o.verify_hostname)
    }

    /// An alternative name that the certificate may have.
    fn alternative_cn(&self) -> Option<&String> {
        self.get_peer_options()?.alternative_cn.as_ref()
    }

    /// The local end of the connection.
    fn bind_to(&self) -> Option<&BindTo> {
        self.get_peer_options()?.bind_to.as_ref()
    }

    /// The time limit for connecting the transport, and again for the TLS handshake.
    fn connection_timeout(&self) -> Option<Duration> {
        self.get_peer_options()?.connection_timeout
    }

    /// The time limit for connecting in total, TLS included.
    fn total_connection_timeout(&self) -> Option<Duration> {
        self.get_peer_options()?.total_connection_timeout
    }

    /// The time limit for each read of a response; `None`: unlimited. [`DEFAULT_READ_TIMEOUT`] if the
    /// options don't set it, or there are none.
    fn read_limit(&self) -> Option<Duration> {
        match self.get_peer_options() {
            Some(options) => options.read_limit(),
            None => Some(DEFAULT_READ_TIMEOUT),
        }
    }

    /// The time that an idle connection may stay in the pool; `None`: unlimited.
    fn idle_timeout(&self) -> Option<Duration> {
        self.get_peer_options()?.idle_timeout
    }

    /// Application protocols to offer in the TLS handshake.
    fn get_alpn(&self) -> Option<&ALPN> {
        Some(&self.get_peer_options()?.alpn)
    }

    /// Certificates to trust instead of the connector's.
    fn get_ca(&self) -> Option<&Arc<CaType>> {
        self.get_peer_options()?.ca.as_ref()
    }

    /// The certificate to present to the peer.
    fn get_client_cert_key(&self) -> Option<&Arc<CertKey>> {
        None
    }

    /// When to probe an idle connection.
    fn tcp_keepalive(&self) -> Option<&TcpKeepalive> {
        self.get_peer_options()?.tcp_keepalive.as_ref()
    }

    /// The interval at which to ping an HTTP/2 connection.
    fn h2_ping_interval(&self) -> Option<Duration> {
        self.get_peer_options()?.h2_ping_interval
    }

    /// Size of the socket's receive buffer, in bytes.
    fn tcp_recv_buf(&self) -> Option<usize> {
        self.get_peer_options()?.tcp_recv_buf
    }

    /// Differentiated-services code point, 0 to 63.
    fn dscp(&self) -> Option<u8> {
        self.get_peer_options()?.dscp
    }

    /// Whether to send the first data with the SYN.
    fn tcp_fast_open(&self) -> bool {
        self.get_peer_options().is_some_and(|o| o.tcp_fast_open)
    }

    /// Whether the socket behind `fd` is connected to this peer's address: one system call.
    ///
    /// True for a peer with a custom connector: the kernel's address has no meaning there.
    fn matches_fd<V: AsRawFd>(&self, fd: V) -> bool {
        let options = self.get_peer_options();
        if options.is_some_and(|o| o.own_way().is_some()) {
            return true;
        }
        let Some(far_end) = SocketAddr::from_raw_fd(fd.as_raw_fd(), true) else {
            return false;
        };
        let several = options.map_or(&[][..], |o| o.addresses(self.address()));
        far_end == *self.address() || far_end.as_inet().is_some_and(|a| several.contains(a))
    }

    /// Notified of the beginning and the end of connections.
    fn get_tracer(&self) -> Option<Tracer> {
        self.get_peer_options()?.tracer.clone()
    }

    /// Configures a TCP socket before it connects.
    fn upstream_tcp_sock_tweak_hook(&self) -> Option<&TcpSocketTweakHook> {
        self.get_peer_options()?
            .upstream_tcp_sock_tweak_hook
            .as_ref()
    }

    /// Computes a value from a CONNECT proxy's answer.
    fn proxy_digest_user_data_hook(&self) -> Option<&ProxyDigestUserDataHook> {
        self.get_peer_options()?
            .proxy_digest_user_data_hook
            .as_ref()
    }

    /// Called when a TLS handshake is complete.
    fn upstream_tls_handshake_complete_hook(&self) -> Option<&HandshakeCompleteHook> {
        self.get_peer_options()?
            .upstream_tls_handshake_complete_hook
            .as_ref()
    }
}

#[cfg(test)]
mod tests;
