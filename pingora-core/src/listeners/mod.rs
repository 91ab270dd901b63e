//! Accepts connections: where to listen, which clients are admitted, and how a connection becomes a
//! stream.

mod accept;
mod address;
mod bind;
mod bound;
mod clients;
mod datagram;
mod filter;
mod proxy_protocol;
pub mod tls;
mod transport;

pub use crate::protocols::ALPN;
pub use crate::protocols::l4::stream::{
    DEFAULT_L4_READ_BUFFER_SIZE, DEFAULT_L4_WRITE_BUFFER_SIZE, L4BufferSettings,
};
pub use address::{ServerAddress, TcpSocketOptions};
pub use bound::BoundAddresses;
pub use datagram::UdpSocketOptions;
pub use filter::{AcceptAllFilter, ConnectionFilter};
pub use proxy_protocol::ProxyProtocol;
pub use tls::{TlsAccept, TlsAcceptCallbacks, TlsSettings};

pub(crate) use accept::{AcceptedSocket, Acceptor};
pub(crate) use bind::{BoundSocket, ListenAddress, check_address};
use clients::ListenerLimits;
pub(crate) use clients::OfClient;
pub(crate) use datagram::{BoundDatagram, bind_datagram, check_datagram_address};
pub(crate) use transport::Transport;

use crate::metrics::Listener;
use crate::process::{Fds, ReloadHook};
use crate::protocols::l4::stream::Stream as L4Stream;
use async_trait::async_trait;
use pingora_error::{ErrorType, OrErr, Result};
use std::fmt;
use std::fs::Permissions;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Reads data that precedes the TLS handshake. For PROXY protocol headers, which come before this, see
/// [`ProxyProtocol`].
#[async_trait]
pub trait PreTlsProcess: Send + Sync {
    /// Called for each accepted connection, before its TLS handshake, or before the application if
    /// there is none. Data that it reads from the stream is consumed; see
    /// [`rewind`](L4Stream::rewind) for giving it back. Counts towards the time that a client has
    /// for its handshake.
    ///
    /// # Errors
    /// An error closes the connection.
    async fn process(&self, stream: &mut L4Stream) -> Result<()>;
}

/// A [`PreTlsProcess`] shared by all endpoints.
pub type PreTlsCallback = Arc<dyn PreTlsProcess>;

/// One endpoint: where to listen, and how.
pub struct ListenerConfig {
    address: ServerAddress,
    tls: Option<TlsSettings>,
    l4_buffer: Option<L4BufferSettings>,
    defer_accept: Option<bool>,
    proxy_protocol: Option<Arc<ProxyProtocol>>,
    connections: Option<usize>,
    connections_per_client: Option<usize>,
}

impl ListenerConfig {
    /// A TCP endpoint; see [`ServerAddress::Tcp`] for the form of the address.
    pub fn tcp(addr: impl Into<String>) -> Self {
        ListenerConfig::new(ServerAddress::Tcp(addr.into(), None))
    }

    /// An endpoint on a Unix socket, by the path of its file.
    pub fn uds(addr: impl Into<String>) -> Self {
        ListenerConfig::new(ServerAddress::Uds(addr.into(), None))
    }

    fn new(address: ServerAddress) -> Self {
        ListenerConfig {
            address,
            tls: None,
            l4_buffer: None,
            defer_accept: None,
            proxy_protocol: None,
            connections: None,
            connections_per_client: None,
        }
    }

    /// Sets socket options. No effect on a Unix socket.
    pub fn tcp_socket_options(mut self, options: TcpSocketOptions) -> Self {
        if let ServerAddress::Tcp(_, current) = &mut self.address {
            *current = Some(options);
        }
        self
    }

    /// Sets the permissions of a Unix socket's file. No effect on TCP.
    pub fn permissions(mut self, permissions: Permissions) -> Self {
        if let ServerAddress::Uds(_, current) = &mut self.address {
            *current = Some(permissions);
        }
        self
    }

    /// Uses TLS on this endpoint.
    pub fn tls(mut self, settings: TlsSettings) -> Self {
        self.tls = Some(settings);
        self
    }

    /// Sets whether the kernel holds a connection back until it has data to read, for at most a second
    /// (`TCP_DEFER_ACCEPT`). Accepting and reading then take one wake-up instead of two, and clients that
    /// connect in advance cost nothing here meanwhile. They wait among the half-open connections; if
    /// there are too many of those, and the kernel answers with SYN cookies, no connection is held back.
    /// When the endpoint is closed, connections that are held back are reset.
    ///
    /// By default this is on if clients speak first: with TLS, and if the application [says
    /// so](crate::apps::ServerApp::client_speaks_first), as HTTP does; but not with a
    /// [`PreTlsProcess`], which may be meant to speak first. No effect on a Unix socket, or on
    /// systems other than Linux.
    pub fn defer_accept(mut self, defer: bool) -> Self {
        self.defer_accept = Some(defer);
        self
    }

    /// Expects a PROXY protocol header at the beginning of each connection.
    pub fn proxy_protocol(mut self, expected: ProxyProtocol) -> Self {
        self.proxy_protocol = Some(Arc::new(expected));
        self
    }

    /// Sets the maximum number of concurrent connections to this endpoint. Further ones are closed when
    /// they are accepted, before a TLS handshake. Any number by default, within
    /// [`ServerBounds::connections`](crate::server::ServerBounds::connections). 0 admits no client.
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = Some(most);
        self
    }

    /// Sets the maximum number of concurrent connections from one client to this endpoint: one IPv4 address,
    /// or the 64 leading bits of an IPv6 one. Further ones are closed when they are accepted, before a TLS
    /// handshake. Any number by default, within
    /// [`ServerBounds::connections_per_client`](crate::server::ServerBounds::connections_per_client). 0 admits
    /// no client that has an address. Clients on this machine are counted here, except for those of Unix
    /// sockets, which have no address.
    pub fn connections_per_client(mut self, most: usize) -> Self {
        self.connections_per_client = Some(most);
        self
    }

    /// Sets how much a connection may buffer. Streams own no buffer, so every bound already holds: see
    /// [`L4BufferSettings`].
    pub fn l4_buffer(mut self, settings: L4BufferSettings) -> Self {
        self.l4_buffer = Some(settings);
        self
    }
}

impl fmt::Debug for ListenerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerConfig")
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .field("l4_buffer", &self.l4_buffer)
            .field("defer_accept", &self.defer_accept)
            .field("proxy_protocol", &self.proxy_protocol)
            .field("connections", &self.connections)
            .field("connections_per_client", &self.connections_per_client)
            .finish()
    }
}

/// The endpoints of a service.
#[derive(Default)]
pub struct Listeners {
    endpoints: Vec<ListenerConfig>,
    filter: Option<Arc<dyn ConnectionFilter>>,
    pre_tls: Option<PreTlsCallback>,
    /// The TLS acceptors of the listening endpoints.
    acceptors: Arc<Mutex<Vec<Weak<tls::GatedAcceptor>>>>,
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners")
            .field("endpoints", &self.endpoints)
            .field("filter", &self.filter)
            .field("pre_tls", &self.pre_tls.is_some())
            .finish()
    }
}

impl Listeners {
    /// No endpoint yet.
    pub fn new() -> Self {
        Listeners::default()
    }

    /// One TCP endpoint; see [`ServerAddress::Tcp`] for the form of the address.
    pub fn tcp(addr: &str) -> Self {
        let mut listeners = Listeners::new();
        listeners.add_tcp(addr);
        listeners
    }

    /// One endpoint on a Unix socket; see [`ServerAddress::Uds`].
    pub fn uds(addr: &str, perm: Option<Permissions>) -> Self {
        let mut listeners = Listeners::new();
        listeners.add_uds(addr, perm);
        listeners
    }

    /// One TLS endpoint; see [`Listeners::add_tls`].
    ///
    /// # Errors
    /// If the certificate or the key is unusable.
    pub fn tls(addr: &str, cert_path: &str, key_path: &str) -> Result<Self> {
        let mut listeners = Listeners::new();
        listeners.add_tls(addr, cert_path, key_path)?;
        Ok(listeners)
    }

    /// Adds a TCP endpoint; see [`ServerAddress::Tcp`] for the form of the address.
    pub fn add_tcp(&mut self, addr: &str) {
        self.add_listener(ListenerConfig::tcp(addr));
    }

    /// Adds a TCP endpoint with socket options.
    pub fn add_tcp_with_settings(&mut self, addr: &str, sock_opt: TcpSocketOptions) {
        self.add_listener(ListenerConfig::tcp(addr).tcp_socket_options(sock_opt));
    }

    /// Adds an endpoint on a Unix socket; see [`ServerAddress::Uds`].
    pub fn add_uds(&mut self, addr: &str, perm: Option<Permissions>) {
        self.add_address(ServerAddress::Uds(addr.into(), perm));
    }

    /// Adds a TLS endpoint, with the certificate chain and the private key in these two PEM files.
    ///
    /// # Errors
    /// If the certificate or the key is unusable.
    pub fn add_tls(&mut self, addr: &str, cert_path: &str, key_path: &str) -> Result<()> {
        let settings = TlsSettings::intermediate(cert_path, key_path)?;
        self.add_tls_with_settings(addr, None, settings);
        Ok(())
    }

    /// Adds a TLS endpoint with these settings.
    pub fn add_tls_with_settings(
        &mut self,
        addr: &str,
        sock_opt: Option<TcpSocketOptions>,
        settings: TlsSettings,
    ) {
        self.add_endpoint(ServerAddress::Tcp(addr.into(), sock_opt), Some(settings));
    }

    /// Adds an endpoint without TLS.
    pub fn add_address(&mut self, addr: ServerAddress) {
        self.add_listener(ListenerConfig::new(addr));
    }

    /// The addresses of the endpoints as they were given, in the order they were added.
    pub fn addresses(&self) -> Vec<String> {
        let address = |e: &ListenerConfig| e.address.as_ref().to_string();
        self.endpoints.iter().map(address).collect()
    }

    /// Adds an endpoint.
    pub fn add_listener(&mut self, endpoint: ListenerConfig) {
        self.endpoints.push(endpoint);
    }

    /// Sets the callback that reads the first bytes of each connection, on all endpoints.
    pub fn set_pre_tls_callback(&mut self, callback: PreTlsCallback) {
        self.pre_tls = Some(callback);
    }

    /// Sets the filter that decides about each connection right after it was accepted, on all
    /// endpoints.
    pub(crate) fn set_connection_filter(&mut self, filter: Arc<dyn ConnectionFilter>) {
        self.filter = Some(filter);
    }

    /// Adds an endpoint, with TLS if there are settings for it.
    pub fn add_endpoint(&mut self, l4: ServerAddress, tls: Option<TlsSettings>) {
        let mut endpoint = ListenerConfig::new(l4);
        endpoint.tls = tls;
        self.add_listener(endpoint);
    }

    /// Checks the addresses as far as that is possible without listening on them.
    ///
    /// # Errors
    /// One line that names the address.
    pub(crate) fn check(&self) -> Result<()> {
        self.endpoints.iter().try_for_each(|endpoint| {
            let tls = endpoint.tls.as_ref();
            tls.map_or(Ok(()), TlsSettings::check)?;
            bind::check(&endpoint.address)
        })
    }

    /// The endpoints' actions when the server is told to reload: certificates are reloaded from their
    /// files, including those of endpoints that are added later.
    pub(crate) fn reload_hooks(&self, service: &str) -> Vec<ReloadHook> {
        let acceptors = self.acceptors.clone();
        let name = format!("{service}: certificates");
        vec![ReloadHook::in_two_steps(&name, move |_| {
            let acceptors = acceptors.clone();
            async move {
                let read = move || {
                    let mut known = acceptors.lock().unwrap_or_else(PoisonError::into_inner);
                    known.retain(|acceptor| acceptor.strong_count() > 0);
                    let renewals = known
                        .iter()
                        .filter_map(|a| a.upgrade()?.renew().transpose());
                    renewals.collect::<Result<Vec<_>>>()
                };
                let read = tokio::task::spawn_blocking(read).await;
                let renewals = read.or_err(ErrorType::InternalError, "reading certificates")??;
                Ok(move || renewals.into_iter().for_each(|renewal| renewal()))
            }
        })]
    }

    /// Makes every endpoint listen: takes the sockets that were passed to this process from `fds`,
    /// and enters those that it creates. If a group of sockets shares an address, all are taken:
    /// closing one would end the connections that wait in its queue.
    ///
    /// # Errors
    /// If an address is not available; the endpoints are consumed in that case.
    pub(crate) fn bind(&mut self, fds: &mut Fds) -> Result<Vec<Endpoint>> {
        let mut bound: Vec<Endpoint> = Vec::with_capacity(self.endpoints.len());
        let mut configured = Vec::with_capacity(self.endpoints.len());
        for config in self.endpoints.drain(..) {
            let socket = bind::bind_address(&config.address, fds)?;
            let tls = config
                .tls
                .map(TlsSettings::build)
                .transpose()?
                .map(Arc::new);
            if let Some(acceptor) = &tls {
                let mut known = self
                    .acceptors
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                known.push(Arc::downgrade(acceptor));
            }
            let transport = Transport {
                filter: self.filter.clone(),
                pre_tls: self.pre_tls.clone(),
                tls,
                defer_accept: config.defer_accept,
                proxy_protocol: config.proxy_protocol,
                is_deferred: false,
                limits: ListenerLimits::new(config.connections, config.connections_per_client),
                listener: Listener::default(),
                figures: None,
            };
            configured.push((config.address.clone(), transport.clone()));
            bound.push(Endpoint {
                given: config.address.as_ref().to_string(),
                socket,
                transport,
            });
        }
        for (address, transport) in configured {
            while let Some(socket) = bind::take_rest_of_group(&address, fds)? {
                bound.push(Endpoint {
                    given: address.as_ref().to_string(),
                    socket,
                    transport: transport.clone(),
                });
            }
        }
        Ok(bound)
    }
}

/// A listening endpoint that is not accepted from yet.
pub(crate) struct Endpoint {
    /// The address as it was given.
    pub(crate) given: String,
    pub(crate) socket: BoundSocket,
    pub(crate) transport: Transport,
}

#[cfg(test)]
mod tests;
