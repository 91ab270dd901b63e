//! Turns an accepted descriptor into a stream that an application can use.

use super::accept::AcceptedSocket;
use super::clients::{ListenerLimits, TooMany};
use super::proxy_protocol::{PeerRole, ProxyProtocol};
use super::{BoundSocket, ConnectionFilter, ListenAddress, OfClient, PreTlsCallback, tls};
use crate::metrics::{Listener, RefusedConnection};
use crate::process::memory::{self, HandshakeCharge, Level, Turned};
use crate::protocols::Stream;
use crate::protocols::l4::ext;
use crate::protocols::l4::plain::Plain;
use crate::protocols::l4::stream::Stream as L4Stream;
use futures::future::{BoxFuture, FutureExt};
use log::{debug, error, warn};
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The time limit for a filter's decision.
const FILTER_TIMEOUT: Duration = Duration::from_secs(60);

/// The common properties of all connections of one endpoint.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(super) filter: Option<Arc<dyn ConnectionFilter>>,
    pub(super) pre_tls: Option<PreTlsCallback>,
    pub(super) tls: Option<Arc<tls::GatedAcceptor>>,
    /// Whether connections should be held back until they have brought data, if configured.
    pub(super) defer_accept: Option<bool>,
    /// Whether they are.
    pub(super) is_deferred: bool,
    /// Whether they begin with a PROXY protocol header.
    pub(super) proxy_protocol: Option<Arc<ProxyProtocol>>,
    /// The limits on connections, if the endpoint has its own.
    pub(super) limits: Option<Arc<ListenerLimits>>,
    /// Where its connections are counted.
    pub(super) listener: Listener,
    /// Tells the figures of the handshakes, as long as the endpoint is there.
    pub(super) figures: Option<Arc<tls::Figures>>,
}

fn name_of(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(
        || "a client of a Unix socket".into(),
        |peer| peer.to_string(),
    )
}

/// A connection that has become a stream.
enum Begun<'a> {
    Plain(Stream),
    /// Boxed: the plain case must not pay for the memory of the other.
    Handshake(BoxFuture<'a, Result<Stream>>),
}

impl Transport {
    /// Neither TLS nor a filter.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Transport {
            filter: None,
            pre_tls: None,
            tls: None,
            defer_accept: None,
            is_deferred: false,
            proxy_protocol: None,
            limits: None,
            listener: Listener::default(),
            figures: None,
        }
    }

    /// The acceptor that makes the handshakes.
    #[cfg(test)]
    #[cfg(feature = "openssl")]
    pub(super) fn tls(&self) -> Option<Arc<tls::GatedAcceptor>> {
        self.tls.clone()
    }

    /// Makes the kernel hold connections back until they have data to read, or not.
    /// `client_speaks_first` is the application's statement about its protocol.
    pub(crate) fn prepare(&mut self, socket: &BoundSocket, client_speaks_first: bool) {
        let ListenAddress::Tcp(address) = socket.place else {
            return;
        };
        let is_safe = self.pre_tls.is_none() && (self.tls.is_some() || client_speaks_first);
        let wanted = self.defer_accept.unwrap_or(is_safe);
        // Also if it is not wanted: the previous server may have set it.
        match ext::defer_accept(socket.fd.as_raw_fd(), wanted) {
            Ok(is_deferred) => self.is_deferred = is_deferred,
            Err(e) => warn!("{address}: connections are not held back until they bring data: {e}"),
        }
    }

    /// Counts the connections from now on as those of this service and address.
    pub(crate) fn count_for(&mut self, service: &str, place: &ListenAddress) {
        let address = place.to_string();
        self.listener = Listener::find(service, &address);
        self.figures = self
            .tls
            .as_ref()
            .map(|tls| tls.tell_figures(service, &address));
    }

    /// Asks the filter about the connection.
    ///
    /// # Errors
    /// The connection must be closed.
    async fn ask_filter(
        &self,
        filter: &dyn ConnectionFilter,
        peer: Option<SocketAddr>,
    ) -> Result<()> {
        let verdict = AssertUnwindSafe(async { filter.should_accept(peer.as_ref()).await });
        let reason = match timeout(FILTER_TIMEOUT, verdict.catch_unwind()).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => "the connection filter does not let it in",
            Ok(Err(_)) => {
                error!(
                    "the connection filter panicked; {} was turned away",
                    name_of(peer)
                );
                "the connection filter panicked"
            }
            Err(_) => {
                warn!(
                    "the connection filter took too long; {} was turned away",
                    name_of(peer)
                );
                "the connection filter took too long"
            }
        };
        self.listener.connection_refused(RefusedConnection::Filter);
        Error::e_explain(ErrorType::AcceptError, reason)
    }

    fn role_of(&self, accepted: &AcceptedSocket) -> PeerRole {
        match &self.proxy_protocol {
            Some(expected) => expected.role_of(accepted.peer),
            None => PeerRole::Client,
        }
    }

    /// Decides whether the connection may stay, and counts it if so: in total, for the endpoint, and for
    /// its client. If a proxy forwards the connection, its client is counted once it is known.
    ///
    /// While memory is scarce, a plain connection is admitted so that it can be answered, unless there
    /// is hardly any memory left; a handshake would cost more than that is worth.
    pub(crate) fn admit(&self, accepted: &AcceptedSocket) -> Option<OfClient> {
        let most = match self.tls {
            Some(_) => Level::Scarce,
            None => Level::Exhausted,
        };
        if memory::level() >= most {
            memory::turn_away(Turned::Connection);
            self.listener.connection_refused(RefusedConnection::Memory);
            return None;
        }
        let client = match self.role_of(accepted) {
            PeerRole::Client => accepted.peer,
            PeerRole::Proxy => None,
            PeerRole::Stranger => {
                stranger(accepted.peer);
                let why = RefusedConnection::UntrustedProxy;
                self.listener.connection_refused(why);
                return None;
            }
        };
        let entered = OfClient::enter(client, self.limits.as_ref());
        entered
            .inspect_err(|which| self.too_many(accepted.peer, *which))
            .ok()
    }

    /// Turns the connection into a stream, with a handshake if there is one. A stream that already has data to
    /// read is registered with the runtime when it first has to wait, any other one right away, with the
    /// calling runtime. If a proxy forwards a client's connection, `of_client` becomes that client's.
    ///
    /// # Errors
    /// If the filter refuses the connection, if the handshake fails or takes too long, if a proxy's header is
    /// refused, or its client has too many connections, or if the runtime is shutting down.
    pub(crate) async fn establish(
        &self,
        accepted: AcceptedSocket,
        of_client: &mut OfClient,
    ) -> Result<Stream> {
        if let Some(expected) = &self.proxy_protocol
            && expected.role_of(accepted.peer) == PeerRole::Proxy
        {
            // Boxed: other connections must not pay for its memory.
            return Box::pin(self.establish_behind(expected, accepted, of_client)).await;
        }
        if let Some(filter) = &self.filter {
            // Boxed: a connection without a filter must not carry its memory.
            Box::pin(self.ask_filter(&**filter, accepted.peer)).await?;
        }
        match self.begin(accepted)? {
            Begun::Plain(stream) => Ok(stream),
            Begun::Handshake(handshake) => handshake.await,
        }
    }

    /// The same for a connection that begins with a proxy's header.
    async fn establish_behind(
        &self,
        expected: &ProxyProtocol,
        accepted: AcceptedSocket,
        of_client: &mut OfClient,
    ) -> Result<Stream> {
        let proxy = accepted.peer;
        let mut stream = self.stream_of(accepted)?;
        let header = expected.read(&mut stream).await.map_err(|e| {
            let context = format!("proxy {}", name_of(proxy));
            e.into_down().more_context(context)
        })?;
        let client = match header.source() {
            Some(source) => source.as_inet().copied(),
            None => proxy,
        };
        stream.set_proxy_header(header);
        if let Err(which) = of_client.learn(client) {
            self.too_many(client, which);
            return Error::e_explain(ErrorType::AcceptError, which.describe());
        }
        if let Some(filter) = &self.filter {
            self.ask_filter(&**filter, client).await?;
        }
        match self.begin_on(stream, client) {
            Begun::Plain(stream) => Ok(stream),
            Begun::Handshake(handshake) => handshake.await,
        }
    }

    /// Not async: what it needs for a moment would be part of every connection's task.
    fn begin(&self, accepted: AcceptedSocket) -> Result<Begun<'_>> {
        let peer = accepted.peer;
        let stream = self.stream_of(accepted)?;
        Ok(self.begin_on(stream, peer))
    }

    fn begin_on(&self, stream: L4Stream, peer: Option<SocketAddr>) -> Begun<'_> {
        if self.pre_tls.is_none() && self.tls.is_none() {
            return Begun::Plain(Box::new(stream));
        }
        Begun::Handshake(Box::pin(self.handshake_in_time(stream, peer)))
    }

    async fn handshake_in_time(
        &self,
        stream: L4Stream,
        peer: Option<SocketAddr>,
    ) -> Result<Stream> {
        let _memory = HandshakeCharge::default();
        let tls = self.tls.as_ref();
        let timeout = tls.map_or(tls::HANDSHAKE_TIMEOUT, |tls| tls.timeout());
        let begun = Instant::now();
        let shaken = tokio::time::timeout(timeout, self.handshake(stream)).await;
        if tls.is_some() {
            self.listener.handshake_ended(begun.elapsed());
        }
        match shaken {
            Ok(Ok(stream)) => {
                if let Some(ssl) = stream.get_ssl_digest() {
                    self.listener.speaks_tls(&ssl.version, ssl.group());
                }
                Ok(stream)
            }
            // Not within the time of the handshake, which is over.
            Ok(Err(refused)) => Err(refused.turn_away().await),
            Err(_) => {
                if let Some(tls) = tls {
                    tls.count_timeout();
                }
                Error::e_explain(
                    ErrorType::TLSHandshakeTimedout,
                    "the client took too long for its handshake",
                )
            }
        }
        .map_err(|e| match peer {
            Some(peer) => e.into_down().more_context(format!("client {peer}")),
            None => e.into_down(),
        })
    }

    fn stream_of(&self, accepted: AcceptedSocket) -> Result<L4Stream> {
        let failed = "registering a connection with the runtime";
        let mut stream: L4Stream = match accepted.peer {
            Some(peer) => {
                let mut socket = Plain::accepted(accepted.fd.into(), self.is_deferred);
                if !self.is_deferred {
                    // It will have to wait for the first byte.
                    socket.register().or_err(ErrorType::AcceptError, failed)?;
                }
                L4Stream::with_peer(socket.into(), peer)
            }
            None => UnixStream::from_std(accepted.fd.into())
                .or_err(ErrorType::AcceptError, failed)?
                .into(),
        };
        stream.count_for(self.listener);
        Ok(stream)
    }

    #[cold]
    fn too_many(&self, peer: Option<SocketAddr>, which: TooMany) {
        crate::process::count_refused();
        self.listener.connection_refused(match which {
            TooMany::InAll => RefusedConnection::Limit,
            TooMany::OfClient => RefusedConnection::ClientLimit,
            TooMany::OfListener => RefusedConnection::ListenerLimit,
            TooMany::OfClientAtListener => RefusedConnection::ListenerClientLimit,
        });
        let why = which.describe();
        debug!("the connection of {} is closed: {why}", name_of(peer));
    }

    async fn handshake(&self, mut stream: L4Stream) -> Result<Stream, tls::Refused> {
        if let Some(callback) = &self.pre_tls {
            callback.process(&mut stream).await?;
        }
        match &self.tls {
            Some(acceptor) => acceptor.accept(stream).await,
            None => Ok(Box::new(stream)),
        }
    }
}

#[cold]
fn stranger(peer: Option<SocketAddr>) {
    debug!("a connection is closed: no trusted proxy makes it: {peer:?}");
}
