//! The interface between this framework and TLS libraries.
//!
//! A backend is a value: several may be in one program, and each listener and each connector has its own.
//! OpenSSL is one of them, and the default; another crate may bring its own.
//!
//! ```text
//! TlsSettings ─────────► ServerBackend::build ──► TlsAcceptor::accept   once per client
//! TransportConnector ──► ClientBackend::build ──► TlsConnector::connect once per connection
//!                                                       │
//!                                                       ▼
//!                                             Stream: Box<dyn IO>, as for plain connections
//! ```
//!
//! A backend is called through a trait object during the handshake only, at the cost of one box for the future.
//! Bytes move through the [`Stream`] that it returns, which reports the facts about its session by
//! [`Ssl::get_ssl_digest`](crate::protocols::Ssl::get_ssl_digest) and
//! [`Ssl::is_encrypted`](crate::protocols::Ssl::is_encrypted), and which sends a close_notify when it is shut
//! down. Limits, deadlines, counters and the answer to plain HTTP are the framework's.
//!
//! Both futures may await: a certificate from a database, a key in another process, a thread of
//! [`Offload`].

use super::offload::Offload;
use super::plain_http::{PlainHttp, turn_away};
use super::store::ChosenCertificate;
pub use super::store::Renewal;
use super::{
    ALPN, CertificateStore, ClientCertificates, ClientHandshake, ClientHello, ClientSettings,
    HandshakeDecisions, HandshakeFailure, SessionTickets, TlsAcceptCallbacks,
};
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::{IO, Stream};
use futures::future::BoxFuture;
use pingora_error::{BError, Result};
use std::fmt;
use std::sync::Arc;

/// TLS towards clients, by some library. Given to a listener with
/// [`TlsSettings::with_backend`](crate::listeners::tls::TlsSettings::with_backend).
pub trait ServerBackend: Send + Sync + fmt::Debug {
    /// The name of the backend in logs.
    fn name(&self) -> &'static str;

    /// Makes what shakes hands, as `settings` say. Called once, when the endpoint is to listen. May block.
    ///
    /// # Errors
    /// Where it can't do what the settings demand: better than to do less. The endpoint does not start.
    fn build(self: Box<Self>, settings: ServerSettings) -> Result<Box<dyn TlsAcceptor>>;
}

/// Does the server's side of handshakes.
pub trait TlsAcceptor: Send + Sync + fmt::Debug {
    /// The handshake over `stream`. The caller has a deadline and bounds how many go on at once. Dropping the
    /// future closes the connection.
    fn accept(&self, stream: L4Stream) -> BoxFuture<'_, Result<Accepted, FailedHandshake>>;

    /// Reads all files anew; what is returned puts them into force and can't fail. `None` if there are no
    /// files. May block.
    ///
    /// # Errors
    /// Naming the file that can't be used; everything stays as it was.
    fn renew(&self) -> Result<Option<Renewal>> {
        Ok(None)
    }
}

/// TLS towards upstreams, by some library. Given to a connector with
/// [`set_tls_backend`](crate::connectors::TransportConnector::set_tls_backend).
pub trait ClientBackend: Send + Sync + fmt::Debug {
    /// The name of the backend in logs.
    fn name(&self) -> &'static str;

    /// Makes what shakes hands, for all connections of one connector. Called once. May block.
    ///
    /// # Errors
    /// If a file can't be used, or it can't do what the settings demand.
    fn build(&self, settings: &ClientSettings) -> Result<Box<dyn TlsConnector>>;
}

/// Does the client's side of handshakes.
pub trait TlsConnector: Send + Sync + fmt::Debug {
    /// The handshake over `stream` as `wanted` says, verification included. The caller has a deadline.
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    /// `InvalidCert` if the upstream's certificate does not verify, `TLSHandshakeFailure` for the rest of
    /// what may go wrong with the peer, `InternalError` for what can't be done as it is wanted.
    fn connect<'a>(
        &'a self,
        stream: L4Stream,
        wanted: &'a ClientHandshake<'a>,
    ) -> BoxFuture<'a, Result<Stream>>;
}

/// A client whose handshake is complete.
#[derive(Debug)]
pub struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) resumed: bool,
}

impl Accepted {
    /// Bytes go through `stream`; `resumed` says whether the handshake was spared its costly part.
    pub fn new(stream: impl IO + 'static, resumed: bool) -> Self {
        Accepted {
            stream: Box::new(stream),
            resumed,
        }
    }
}

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct FailedHandshake {
    pub(crate) failure: HandshakeFailure,
    pub(crate) error: BError,
    pub(crate) plain_http: Option<PlainClient>,
}

impl FailedHandshake {
    /// Counted as `failure`, logged as `error`, for which `TLSHandshakeFailure` is the usual type.
    pub fn new(failure: HandshakeFailure, error: BError) -> Self {
        FailedHandshake {
            failure,
            error,
            plain_http: None,
        }
    }

    /// Hands `stream` back, on which nothing was written, and the first bytes that came on it instead of a
    /// handshake. A client that speaks HTTP without TLS is counted as such and told what is wrong; for any
    /// other, this closes the connection.
    #[must_use]
    pub fn began_with(mut self, bytes: &[u8], mut stream: L4Stream) -> Self {
        if let Some(request) = PlainHttp::recognize(bytes) {
            self.failure = HandshakeFailure::PlainHttp;
            let context = self.failure.to_string();
            self.error = self.error.more_context(context);
            self.plain_http = Some(PlainClient::new(request, |answer| {
                Box::pin(async move { turn_away(&mut stream, &answer).await })
            }));
        }
        self
    }
}

impl From<BError> for FailedHandshake {
    /// The server's own fault.
    fn from(error: BError) -> Self {
        FailedHandshake::new(HandshakeFailure::Other, error)
    }
}

/// A client that speaks plain HTTP. It can be answered in the clear.
pub(crate) struct PlainClient {
    request: PlainHttp,
    turn_away: Box<dyn FnOnce(Vec<u8>) -> BoxFuture<'static, ()> + Send>,
}

impl PlainClient {
    /// `turn_away` sends an answer and closes the connection.
    pub(crate) fn new(
        request: PlainHttp,
        turn_away: impl FnOnce(Vec<u8>) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Self {
        PlainClient {
            request,
            turn_away: Box::new(turn_away),
        }
    }

    /// The request in plain HTTP.
    pub(crate) fn request(&self) -> PlainHttp {
        self.request
    }

    /// Sends this answer, and closes the connection. Takes some seconds at most; dropping the future closes
    /// it at once.
    pub(crate) async fn turn_away(self, answer: Vec<u8>) {
        (self.turn_away)(answer).await;
    }
}

impl fmt::Debug for PlainClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainClient({:?})", self.request)
    }
}

/// A listener's settings, whichever library carries them out.
#[derive(Default)]
pub struct ServerSettings {
    pub(crate) store: Option<CertificateStore>,
    pub(crate) callbacks: Option<TlsAcceptCallbacks>,
    pub(crate) decisions: Option<Arc<dyn HandshakeDecisions>>,
    pub(crate) alpn: Option<ALPN>,
    pub(crate) tickets: SessionTickets,
    pub(crate) clients: Option<ClientCertificates>,
    pub(crate) keep_client_hello: bool,
    pub(crate) offload: Option<(usize, usize)>,
}

impl ServerSettings {
    /// Where the certificates come from. It may change while the listener serves.
    pub fn store(&self) -> Option<&CertificateStore> {
        self.store.as_ref()
    }

    /// The certificate for a client that asks for `name` and has said `hello`, if that is known. To be asked
    /// in each handshake. `None` if the client is to be turned away.
    pub fn certificate_for(
        &self,
        name: Option<&str>,
        hello: Option<&ClientHello>,
    ) -> Option<ChosenCertificate> {
        self.store.as_ref()?.choose(name, hello)
    }

    /// The application protocols to accept, the preferred one first; `None` if nothing was said, and no
    /// protocol is agreed upon. [`ALPN::select_from`] chooses.
    pub fn alpn(&self) -> Option<&ALPN> {
        self.alpn.as_ref()
    }

    /// The session tickets to give out, and their keys.
    pub fn session_tickets(&self) -> &SessionTickets {
        &self.tickets
    }

    /// The demands on clients; `None` if they are not asked for a certificate. Sessions that began
    /// under other demands must not be resumed.
    pub fn client_certificates(&self) -> Option<&ClientCertificates> {
        self.clients.as_ref()
    }

    /// Whether [`TlsFacts::client_hello`](super::TlsFacts::client_hello) is wanted.
    pub fn keeps_client_hello(&self) -> bool {
        self.keep_client_hello
    }

    /// The callbacks of the program. Those that take OpenSSL's session are for OpenSSL alone.
    pub fn callbacks(&self) -> Option<&TlsAcceptCallbacks> {
        self.callbacks.as_ref()
    }

    /// The decisions of the program, which are for every library.
    pub fn decisions(&self) -> Option<&dyn HandshakeDecisions> {
        self.decisions.as_deref()
    }

    /// Threads for the costly part of handshakes, if they are wanted; to be made once. Connections that are
    /// accepted are then known to the reactor of their worker, and may be polled from any thread.
    pub fn offload(&self) -> Option<Offload> {
        let (groups, each) = self.offload?;
        Some(Offload::new(groups, each))
    }
}

impl fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSettings")
            .field("has_callbacks", &self.callbacks.is_some())
            .field("has_decisions", &self.decisions.is_some())
            .field("store", &self.store)
            .field("alpn", &self.alpn)
            .field("tickets", &self.tickets)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}
