//! Facts about a connection, apart from its bytes.

use super::l4::ext::{self, TCP_INFO};
use super::l4::socket::SocketAddr;
use super::proxy_protocol::ProxyHeader;
use super::tls::SslDigest;
use crate::metrics::Listener;
use once_cell::sync::OnceCell;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::any::Any;
use std::fmt;
use std::net::SocketAddr as InetSocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// Everything known about a connection, from the socket up.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    /// The results of the TLS handshake; `None` on a plain connection.
    pub ssl_digest: Option<Arc<SslDigest>>,
    /// The time at which each layer was established, lowest layer first.
    pub timing_digest: Vec<Option<TimingDigest>>,
    /// The response of a CONNECT proxy on the way.
    pub proxy_digest: Option<Arc<ProxyDigest>>,
    /// Addresses and options of the socket.
    pub socket_digest: Option<Arc<SocketDigest>>,
}

/// Access to the [`Digest`] of a session.
pub trait ProtoDigest {
    /// The digest, if the protocol keeps one.
    fn get_digest(&self) -> Option<&Digest> {
        None
    }
}

/// The time at which a layer of a connection was established, and how long that took.
#[derive(Clone, Debug)]
pub struct TimingDigest {
    /// The time at which the layer was ready for use.
    pub established_ts: SystemTime,
    /// The duration of the establishment; `None` if it was not measured.
    pub establishment_duration: Option<Duration>,
    /// The time it waited for another thread; `None` if it did not wait.
    pub offload_wait_duration: Option<Duration>,
}

impl Default for TimingDigest {
    /// The Unix epoch, and no durations.
    fn default() -> Self {
        TimingDigest {
            established_ts: SystemTime::UNIX_EPOCH,
            establishment_duration: None,
            offload_wait_duration: None,
        }
    }
}

/// The response of the proxy that a connection passes through.
pub struct ProxyDigest {
    /// The proxy's response to CONNECT.
    pub response: Box<ResponseHeader>,
    /// The value that the program's hook returned.
    pub user_data: Option<Box<dyn Any + Send + Sync>>,
}

impl ProxyDigest {
    /// A digest of `response`.
    pub fn new(
        response: Box<ResponseHeader>,
        user_data: Option<Box<dyn Any + Send + Sync>>,
    ) -> Self {
        ProxyDigest {
            response,
            user_data,
        }
    }
}

impl fmt::Debug for ProxyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyDigest")
            .field("status", &self.response.status)
            .finish_non_exhaustive()
    }
}

/// Addresses and options of a socket, queried from the kernel on first use.
///
/// Creating one costs no system call. It may outlive its connection: once a connection of this
/// crate is closed, its digest only returns values that were queried before, because the kernel may
/// have reused the descriptor.
#[derive(Debug)]
pub struct SocketDigest {
    raw_fd: RawFd,
    closed: AtomicBool,
    listener: Listener,
    behind_proxy: Option<Box<BehindProxy>>,
    /// The other end; see [`SocketDigest::peer_addr`].
    pub peer_addr: OnceCell<Option<SocketAddr>>,
    /// This end; see [`SocketDigest::local_addr`].
    pub local_addr: OnceCell<Option<SocketAddr>>,
    /// See [`SocketDigest::original_dst`].
    pub original_dst: OnceCell<Option<SocketAddr>>,
}

/// The header that a proxy in front sent about the connection, and the addresses of the connection
/// between the proxy and us.
#[derive(Debug)]
struct BehindProxy {
    header: ProxyHeader,
    peer_addr: Option<SocketAddr>,
    local_addr: OnceCell<Option<SocketAddr>>,
}

impl SocketDigest {
    /// A digest of the socket behind `raw_fd`, which must stay open while the digest is in use.
    pub fn from_raw_fd(raw_fd: RawFd) -> SocketDigest {
        SocketDigest {
            raw_fd,
            closed: AtomicBool::new(false),
            listener: Listener::default(),
            behind_proxy: None,
            peer_addr: OnceCell::new(),
            local_addr: OnceCell::new(),
            original_dst: OnceCell::new(),
        }
    }

    /// The same, if the other end is already known, as it is after accept(2) and connect(2).
    pub(crate) fn with_peer_addr(raw_fd: RawFd, peer: SocketAddr) -> SocketDigest {
        let digest = Self::from_raw_fd(raw_fd);
        let _ = digest.peer_addr.set(Some(peer));
        digest
    }

    /// The same, if a proxy forwards a client's connection. If the header names the ends of that
    /// connection, they become this digest's.
    pub(crate) fn behind_proxy(
        raw_fd: RawFd,
        proxy: Option<InetSocketAddr>,
        header: ProxyHeader,
    ) -> SocketDigest {
        let mut digest = Self::from_raw_fd(raw_fd);
        let proxy = proxy.map(SocketAddr::Inet);
        if let (Some(source), Some(destination)) = (header.source(), header.destination()) {
            digest.peer_addr = OnceCell::with_value(Some(source.clone()));
            digest.local_addr = OnceCell::with_value(Some(destination.clone()));
        } else {
            digest.peer_addr = OnceCell::with_value(proxy.clone());
        }
        digest.behind_proxy = Some(Box::new(BehindProxy {
            header,
            peer_addr: proxy,
            local_addr: OnceCell::new(),
        }));
        digest
    }

    /// The PROXY protocol header that a proxy in front sent for this connection; `None` if the endpoint does
    /// not expect one.
    pub fn proxy_header(&self) -> Option<&ProxyHeader> {
        self.behind_proxy.as_ref().map(|behind| &behind.header)
    }

    /// The other end of the socket: the proxy, if one speaks the PROXY protocol; otherwise the same as
    /// [`peer_addr`](Self::peer_addr).
    pub fn transport_peer_addr(&self) -> Option<&SocketAddr> {
        match &self.behind_proxy {
            Some(behind) => behind.peer_addr.as_ref(),
            None => self.peer_addr(),
        }
    }

    /// This end of the socket, even if a proxy names another address that its client connected to.
    pub fn transport_local_addr(&self) -> Option<&SocketAddr> {
        match &self.behind_proxy {
            Some(behind) => behind
                .local_addr
                .get_or_init(|| SocketAddr::from_raw_fd(self.open_fd()?, false))
                .as_ref(),
            None => self.local_addr(),
        }
    }

    /// A PROXY protocol header that describes this connection to an upstream: its
    /// [`peer_addr`](Self::peer_addr) and [`local_addr`](Self::local_addr). Values of a received header are
    /// not passed on; [`proxy_header`](Self::proxy_header) has them.
    pub fn to_proxy_header(&self) -> ProxyHeader {
        match (self.peer_addr(), self.local_addr()) {
            (Some(peer), Some(local)) => ProxyHeader::new(peer.clone(), local.clone()),
            _ => ProxyHeader::unknown(),
        }
    }

    /// The listener that the connection came over; the default one for a connection to an upstream.
    pub(crate) fn listener(&self) -> Listener {
        self.listener
    }

    pub(crate) fn set_listener(&mut self, listener: Listener) {
        self.listener = listener;
    }

    /// The socket is about to be closed: the kernel is not queried from now on.
    pub(crate) fn set_closed(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn open_fd(&self) -> Option<RawFd> {
        (!self.closed.load(Ordering::Relaxed)).then_some(self.raw_fd)
    }

    /// Selects whether this connection ends with a reset or in an orderly way. Unix sockets know no
    /// resets.
    pub(crate) fn set_reset_on_close(&self, resets: bool) {
        if let Some(fd) = self.open_fd() {
            // The kernel refuses this only for a broken socket, or one that is not TCP.
            let _ = crate::sys::socket::set_reset_on_close(fd, resets);
        }
    }

    /// `SO_COOKIE`: a number of this socket that is unique until the host reboots.
    ///
    /// # Errors
    /// `SocketError` if the kernel does not answer or the connection is closed.
    pub fn socket_cookie(&self) -> Result<u64> {
        let Some(fd) = self.open_fd() else {
            return Error::e_explain(ErrorType::SocketError, "the connection is closed");
        };
        ext::get_socket_cookie(fd)
            .map_err(|e| Error::because(ErrorType::SocketError, "reading SO_COOKIE", e))
    }

    /// The other end of the connection. If the endpoint expects the PROXY protocol, this is the client that the
    /// proxy names. `None` if the peer is gone or has no address.
    pub fn peer_addr(&self) -> Option<&SocketAddr> {
        self.peer_addr
            .get_or_init(|| SocketAddr::from_raw_fd(self.open_fd()?, true))
            .as_ref()
    }

    /// This end of the connection. If a proxy names the address that the client connected to, this
    /// is that address.
    pub fn local_addr(&self) -> Option<&SocketAddr> {
        self.local_addr
            .get_or_init(|| SocketAddr::from_raw_fd(self.open_fd()?, false))
            .as_ref()
    }

    /// The kernel's current view of a TCP connection. Each call is a system call.
    pub fn tcp_info(&self) -> Option<TCP_INFO> {
        ext::get_tcp_info(self.open_fd()?).ok()
    }

    /// Size of the receive buffer, in bytes as the kernel counts them. Each call is a system call.
    pub fn get_recv_buf(&self) -> Option<usize> {
        ext::get_recv_buf(self.open_fd()?).ok()
    }

    /// Size of the send buffer, in bytes as the kernel counts them. Each call is a system call.
    pub fn get_snd_buf(&self) -> Option<usize> {
        ext::get_snd_buf(self.open_fd()?).ok()
    }

    /// The original destination of a connection that netfilter redirected here. `None` if it was
    /// not redirected.
    pub fn original_dst(&self) -> Option<&SocketAddr> {
        self.original_dst
            .get_or_init(|| {
                ext::get_original_dest(self.open_fd()?)
                    .ok()
                    .flatten()
                    .map(SocketAddr::Inet)
            })
            .as_ref()
    }
}

/// The times at which the layers of a connection were established.
pub trait GetTimingDigest {
    /// One entry per layer, lowest layer first.
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>>;

    /// The total time that reads waited; 0 if it is not measured.
    fn get_read_pending_time(&self) -> Duration {
        Duration::ZERO
    }

    /// The total time that writes waited; 0 if it is not measured.
    fn get_write_pending_time(&self) -> Duration {
        Duration::ZERO
    }
}

/// The response of a CONNECT proxy on the way.
pub trait GetProxyDigest {
    /// The response; `None` if there was no proxy.
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>>;

    /// Stores the response with the connection. Ignored if the transport has no place for it.
    fn set_proxy_digest(&mut self, _digest: ProxyDigest) {}
}

/// Addresses and options of the socket at the bottom of a connection.
pub trait GetSocketDigest {
    /// The digest; `None` if there is no socket.
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>>;

    /// Where the connection is counted: the listener that it came over. Unlike the digest it costs no memory.
    fn listener(&self) -> Listener {
        Listener::default()
    }

    /// Replaces the digest. Ignored if the transport has no place for it.
    fn set_socket_digest(&mut self, _socket_digest: SocketDigest) {}
}
