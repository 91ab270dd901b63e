//! TLS towards clients: certificates, versions, protocols, callbacks.

mod figures;
mod gate;
#[cfg(feature = "openssl")]
pub mod openssl;
mod plain_http;
mod settings;

#[cfg(feature = "openssl")]
pub use self::openssl as boringssl_openssl;

pub use crate::protocols::tls::{
    ACME_TLS_ALPN, ALPN, Certificate, CertificateId, CertificateInfo, CertificateProvider,
    CertificateSource, CertificateStore, ChosenCertificate, ClientCertificates, ClientVerifier,
    HandshakeCounters, HandshakeDecisions, HandshakeFailure, KeyKind, SessionTickets, TlsAccept,
    TlsAcceptCallbacks,
};
pub(crate) use figures::Figures;
pub use gate::WhenBusy;
pub use settings::TlsSettings;

use crate::protocols::Stream;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::backend::{PlainClient, TlsAcceptor};
use gate::Gate;
use pingora_error::{BError, Error, ErrorType, OrErr, Result};
use std::sync::Arc;
use std::time::Duration;

/// The type of errors in TLS settings: files that can't be read, keys that don't fit.
pub const TLS_CONF_ERR: ErrorType = crate::protocols::tls::TLS_CONF_ERR;

/// How long a client may take for its handshake, all together.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most handshakes of a listener at once: more than occur in normal operation, and a bound on the memory of
/// handshakes that never end.
const MOST_HANDSHAKES: usize = 8192;

/// Does the server's side of handshakes, as [`TlsSettings`] say.
#[derive(Debug)]
pub(crate) struct GatedAcceptor {
    context: Box<dyn TlsAcceptor>,
    counters: Arc<HandshakeCounters>,
    /// Connections are read from by threads that have no reactor.
    offloads: bool,
    gate: Gate,
    timeout: Duration,
}

/// A client that has no TLS session, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    error: BError,
    /// It speaks plain HTTP, and can be told so.
    client: Option<PlainClient>,
}

impl Refused {
    /// Tells the client what is wrong, if it would understand; then returns the reason for the refusal. Takes
    /// some seconds at most; dropping the future closes the connection.
    pub(crate) async fn turn_away(self) -> BError {
        if let Some(client) = self.client {
            let answer = plain_http::answer(client.request());
            client.turn_away(answer).await;
        }
        self.error
    }
}

impl From<BError> for Refused {
    fn from(error: BError) -> Self {
        Refused {
            error,
            client: None,
        }
    }
}

impl GatedAcceptor {
    /// The handshake over `stream`. There is no deadline: the caller has one. Dropping the future
    /// closes the connection.
    ///
    /// # Errors
    /// `TLSHandshakeFailure`, with the client as its source; with the client itself, if it can be told
    /// what is wrong.
    pub(crate) async fn accept(&self, mut stream: L4Stream) -> Result<Stream, Refused> {
        let Some(_place) = self.gate.enter(&self.counters).await else {
            return Err(self.turned_away().into());
        };
        let _under_way = self.counters.begin();
        if self.offloads {
            stream
                .register()
                .or_err(ErrorType::InternalError, "registering a connection")?;
        }
        match self.context.accept(stream).await {
            Ok(accepted) => {
                self.counters.count_complete(accepted.resumed);
                Ok(accepted.stream)
            }
            Err(failed) => {
                self.counters.count_failure(failed.failure);
                Err(Refused {
                    error: failed.error.into_down(),
                    client: failed.plain_http,
                })
            }
        }
    }

    /// [`accept`](GatedAcceptor::accept) for tests that don't answer a refused client.
    #[cfg(test)]
    pub(crate) async fn handshake(&self, stream: L4Stream) -> Result<Stream> {
        let accepted = self.accept(stream).await;
        accepted.map_err(|refused| refused.error)
    }

    #[cold]
    fn turned_away(&self) -> BError {
        let failure = HandshakeFailure::TurnedAway;
        self.counters.count_failure(failure);
        Error::explain(ErrorType::TLSHandshakeFailure, failure.to_string()).into_down()
    }

    /// Tells how the handshakes went, for as long as what is returned lives.
    pub(crate) fn tell_figures(&self, service: &str, address: &str) -> Arc<Figures> {
        Figures::register(self.counters.clone(), service, address)
    }

    /// How long a client may take, all together.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Counts a handshake that was given up because it took too long.
    pub(crate) fn count_timeout(&self) {
        self.counters.count_failure(HandshakeFailure::TimedOut);
    }

    /// Reads all files anew: certificates, keys of tickets, authorities; what is returned puts them into
    /// force. `None` if there are no files. Blocks.
    ///
    /// # Errors
    /// Naming the file that can't be used.
    pub(crate) fn renew(&self) -> Result<Option<Box<dyn FnOnce() + Send>>> {
        self.context.renew()
    }
}

#[cfg(test)]
#[cfg(feature = "openssl")]
mod on_demand_tests;
#[cfg(test)]
#[cfg(all(feature = "openssl", feature = "rustls"))]
mod rustls_tests;
#[cfg(test)]
#[cfg(feature = "openssl")]
mod secrets_tests;
#[cfg(test)]
#[cfg(feature = "openssl")]
mod tests;
