//! A peer that speaks HTTP.

use super::basic::unix_address;
use super::identity::IdentityHasher;
use super::{NextHop, Peer, PeerOptions, Proxy};
use crate::protocols::l4::Addresses;
use crate::protocols::l4::socket::{NotInet, SocketAddr, name_error};
use crate::protocols::tls::certificate::CertKey;
use pingora_error::{ErrorType, OrErr, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr as InetSocketAddr, ToSocketAddrs as ToInetSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Plain HTTP or HTTP over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`.
    HTTP,
    /// `https`.
    HTTPS,
}

impl Scheme {
    /// `https` if `tls`.
    pub fn from_tls_bool(tls: bool) -> Self {
        if tls { Self::HTTPS } else { Self::HTTP }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::HTTP => "http",
            Scheme::HTTPS => "https",
        })
    }
}

/// A peer that speaks HTTP, plain or over TLS.
///
/// ```
/// use pingora_core::upstreams::peer::HttpPeer;
///
/// let peer = HttpPeer::new("127.0.0.1:443", true, "one.example".to_string());
/// assert!(peer.is_tls());
/// ```
#[derive(Clone, Debug)]
pub struct HttpPeer {
    /// The address of the transport.
    pub _address: SocketAddr,
    /// Plain or over TLS.
    pub scheme: Scheme,
    /// The server name for the TLS handshake, which is also verified. Empty: the certificate has to
    /// be for the address.
    pub sni: String,
    /// A CONNECT proxy on the way.
    pub proxy: Option<Proxy>,
    /// The certificate to present to the peer.
    pub client_cert_key: Option<Arc<CertKey>>,
    /// Peers with different keys never share a connection.
    pub group_key: u64,
    /// How to connect, and how to communicate with it.
    pub options: PeerOptions,
}

impl HttpPeer {
    /// Whether the peer speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    fn from_address(address: SocketAddr, tls: bool, sni: String) -> Self {
        HttpPeer {
            _address: address,
            scheme: Scheme::from_tls_bool(tls),
            sni,
            proxy: None,
            client_cert_key: None,
            group_key: 0,
            options: PeerOptions::new(),
        }
    }

    #[cold]
    fn keep_others(
        &mut self,
        first: InetSocketAddr,
        second: InetSocketAddr,
        others: impl Iterator<Item = InetSocketAddr>,
    ) {
        let all: Vec<_> = [first, second].into_iter().chain(others).collect();
        if let Some(several) = Addresses::of(&all) {
            self.options.custom_l4 = Some(Arc::new(several));
        }
    }

    /// A peer at `address`.
    ///
    /// An address that needs no lookup (`"10.0.0.1:80"`, a `SocketAddr`, a backend) costs neither
    /// time nor memory. A name is resolved **immediately, blocking the thread**: in async code use
    /// [`resolve`](HttpPeer::resolve) instead. A name that does not resolve is logged as an error;
    /// every connection to the resulting peer fails with `ConnectNoRoute` and the reason. To get
    /// the error at once, use [`try_new`](HttpPeer::try_new).
    ///
    /// If a name has several addresses, at most eight of them are tried in turn: the next one when the
    /// previous one has failed, or after a quarter of a second without an answer, all of them within
    /// one [`connection_timeout`](PeerOptions::connection_timeout) (RFC 8305). They are stored in the
    /// [`custom_l4`](PeerOptions::custom_l4) of the options: replacing the options as a whole leaves
    /// only the first address.
    pub fn new<A: ToInetSocketAddrs>(address: A, tls: bool, sni: String) -> Self {
        let mut found = match address.to_socket_addrs() {
            Ok(found) => found,
            Err(e) => return Self::not_found(named(&address, e), tls, sni),
        };
        let Some(first) = found.next() else {
            return Self::not_found(named(&address, no_address()), tls, sni);
        };
        let mut peer = Self::from_address(SocketAddr::Inet(first), tls, sni);
        if let Some(second) = found.next() {
            peer.keep_others(first, second, found);
        }
        peer
    }

    /// A peer for a name that could not be resolved.
    #[cold]
    fn not_found(error: std::io::Error, tls: bool, sni: String) -> Self {
        let address = unix_of(&error).unwrap_or_else(|| {
            log::error!("a peer that can't be connected to (sni {sni:?}): {error}");
            SocketAddr::unresolved(&error.to_string())
        });
        Self::from_address(address, tls, sni)
    }

    /// [`new`](HttpPeer::new) that fails if the name does not resolve. It blocks the thread while
    /// resolving.
    ///
    /// # Errors
    /// `ConnectNoRoute` with the name, if `address` is text, and the resolver's reason.
    pub fn try_new<A: ToInetSocketAddrs>(address: A, tls: bool, sni: String) -> Result<Self> {
        let context = "resolving a peer";
        let mut found = match address.to_socket_addrs() {
            Ok(found) => found,
            Err(e) => {
                let unix = unix_of(&e).ok_or_else(|| name_error(&address, e));
                let unix = unix.or_err(ErrorType::ConnectNoRoute, context)?;
                return Ok(Self::from_address(unix, tls, sni));
            }
        };
        let first = found.next().ok_or_else(|| named(&address, no_address()));
        let first = first.or_err(ErrorType::ConnectNoRoute, context)?;
        let mut peer = Self::from_address(SocketAddr::Inet(first), tls, sni);
        if let Some(second) = found.next() {
            peer.keep_others(first, second, found);
        }
        Ok(peer)
    }

    /// A peer at `host_port`, such as `"one.example:443"`, whose name is resolved without blocking
    /// the thread.
    ///
    /// It asks the system's resolver, on a thread of its own, each time: nothing is kept, and the system has its own time
    /// limits. Dropping the future stops waiting. To use another resolver, look the name up with it and pass all of its
    /// addresses to [`try_new`](Self::try_new), which does not block then. `DnsResolver` and `DnsDiscovery` of the load
    /// balancing crate keep answers for as long as they are good.
    ///
    /// # Errors
    /// `ConnectNoRoute` with the resolver's reason.
    pub async fn resolve(host_port: &str, tls: bool, sni: String) -> Result<Self> {
        if let Ok(address) = host_port.parse::<InetSocketAddr>() {
            return Ok(Self::from_address(address.into(), tls, sni));
        }
        let context = || format!("resolving {host_port:?}");
        let found = tokio::net::lookup_host(host_port)
            .await
            .or_err_with(ErrorType::ConnectNoRoute, context)?;
        let found: Vec<InetSocketAddr> = found.collect();
        Self::try_new(&found[..], tls, sni).or_err_with(ErrorType::ConnectNoRoute, context)
    }

    /// A peer at the Unix socket `path`.
    ///
    /// # Errors
    /// `InternalError` if the path is empty or too long for a socket address.
    pub fn new_uds(path: &str, tls: bool, sni: String) -> Result<Self> {
        Ok(Self::from_address(unix_address(Path::new(path))?, tls, sni))
    }

    /// A peer behind a CONNECT proxy that listens on `next_hop`, the path of a Unix socket or
    /// `HOST:PORT`; see [`Proxy::next_hop`]. `headers` go into the CONNECT request, as do the
    /// [`extra_proxy_headers`](PeerOptions::extra_proxy_headers) of the options; a field that both
    /// have is taken from the options.
    ///
    /// The TLS session, if there is one, is with the peer: the proxy sees its bytes and can't read
    /// them.
    pub fn new_proxy(
        next_hop: &str,
        ip_addr: IpAddr,
        port: u16,
        tls: bool,
        sni: &str,
        headers: BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let address = SocketAddr::Inet(InetSocketAddr::new(ip_addr, port));
        let mut peer = Self::from_address(address, tls, sni.to_string());
        peer.proxy = Some(Proxy {
            next_hop: PathBuf::from(next_hop).into(),
            host: ip_addr.to_string(),
            port,
            headers,
        });
        peer
    }

    /// A peer that uses TLS and is presented with a client certificate. For `address`, see
    /// [`new`](HttpPeer::new).
    pub fn new_mtls<A: ToInetSocketAddrs>(
        address: A,
        sni: String,
        client_cert_key: Arc<CertKey>,
    ) -> Self {
        let mut peer = Self::new(address, true, sni);
        peer.client_cert_key = Some(client_cert_key);
        peer
    }
}

/// A Unix address can't be looked up, but one of our own type reports that in a way that lets us use it
/// all the same.
fn unix_of(error: &std::io::Error) -> Option<SocketAddr> {
    let unix = error.get_ref()?.downcast_ref::<NotInet>()?;
    Some(unix.0.clone())
}

/// The error of an address that can't be resolved, with the name that was looked up.
#[cold]
fn named<A: ToInetSocketAddrs>(address: &A, error: std::io::Error) -> std::io::Error {
    if unix_of(&error).is_some() {
        error
    } else {
        name_error(address, error)
    }
}

fn no_address() -> std::io::Error {
    std::io::Error::other("the name has no address")
}

impl Hash for HttpPeer {
    /// Includes everything that a connection to the peer depends on.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.options.hash_address(&self._address, state);
        self.scheme.hash(state);
        self.proxy.hash(state);
        if self.proxy.is_some() {
            self.options.extra_proxy_headers.hash(state);
        }
        self.group_key.hash(state);
        self.options.bind_to.hash(state);
        if self.is_tls() {
            self.sni.hash(state);
            self.client_cert_key.hash(state);
            self.options.hash_tls(state);
        }
    }
}

impl fmt::Display for HttpPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "addr: {}, scheme: {}", self._address, self.scheme)?;
        if !self.sni.is_empty() {
            write!(f, ", sni: {}", self.sni)?;
        }
        if let Some(proxy) = &self.proxy {
            write!(f, ", proxy: ({proxy})")?;
        }
        if let Some(cert) = &self.client_cert_key {
            write!(f, ", client_cert: {cert}")?;
        }
        Ok(())
    }
}

impl Peer for HttpPeer {
    fn address(&self) -> &SocketAddr {
        &self._address
    }

    fn tls(&self) -> bool {
        self.is_tls()
    }

    fn sni(&self) -> &str {
        &self.sni
    }

    fn reuse_hash(&self) -> u64 {
        let mut hasher = IdentityHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn get_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    fn get_peer_options(&self) -> Option<&PeerOptions> {
        Some(&self.options)
    }

    fn get_mut_peer_options(&mut self) -> Option<&mut PeerOptions> {
        Some(&mut self.options)
    }

    fn get_client_cert_key(&self) -> Option<&Arc<CertKey>> {
        self.client_cert_key.as_ref()
    }

    fn matches_fd<V: std::os::fd::AsRawFd>(&self, fd: V) -> bool {
        let far_end = SocketAddr::from_raw_fd(fd.as_raw_fd(), true);
        let next_hop = self.proxy.as_ref().map(Proxy::listens_on);
        match next_hop {
            _ if self.options.own_way().is_some() => true,
            Some(NextHop::Unix(path)) => {
                far_end.as_ref().and_then(|a| a.as_unix()?.as_pathname()) == Some(path)
            }
            // A name may stand for any address.
            Some(NextHop::Inet(text)) => text
                .parse()
                .map_or(true, |addr: InetSocketAddr| far_end == Some(addr.into())),
            None => {
                let several = self.options.addresses(&self._address);
                let far_end = far_end.as_ref();
                far_end == Some(&self._address)
                    || far_end
                        .and_then(SocketAddr::as_inet)
                        .is_some_and(|a| several.contains(a))
            }
        }
    }
}
