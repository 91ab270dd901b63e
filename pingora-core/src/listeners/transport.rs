//! From an accepted descriptor to a stream that an application can use.

use super::accept::Accepted;
use super::{ConnectionFilter, PreTlsCallback, tls};
use crate::protocols::Stream;
use crate::protocols::l4::stream::Stream as L4Stream;
use futures::future::BoxFuture;
use log::error;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::net::{TcpStream, UnixStream};

/// What all connections of one endpoint have in common.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(super) filter: Option<Arc<dyn ConnectionFilter>>,
    pub(super) pre_tls: Option<PreTlsCallback>,
    pub(super) tls: Option<Arc<tls::Acceptor>>,
}

/// A connection that was registered with the runtime.
enum Begun<'a> {
    Plain(Stream),
    /// Boxed: the plain case must not carry the memory of the other.
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
        }
    }

    /// What makes the handshakes.
    #[cfg(test)]
    #[cfg(feature = "openssl")]
    pub(super) fn tls(&self) -> Option<Arc<tls::Acceptor>> {
        self.tls.clone()
    }

    /// Whether the connection may stay.
    pub(crate) fn admits(&self, accepted: &Accepted) -> bool {
        let (Some(filter), Some(peer)) = (&self.filter, &accepted.peer) else {
            return true;
        };
        catch_unwind(AssertUnwindSafe(|| filter.should_accept(peer))).unwrap_or_else(|_| {
            error!("the connection filter panicked; {peer} was turned away");
            false
        })
    }

    /// Registers the connection with the calling runtime, and makes the handshake if there is one.
    ///
    /// # Errors
    /// When the handshake fails or takes too long, or when the runtime is shutting down.
    pub(crate) async fn establish(&self, accepted: Accepted) -> Result<Stream> {
        match self.begin(accepted)? {
            Begun::Plain(stream) => Ok(stream),
            Begun::Handshake(handshake) => handshake.await,
        }
    }

    /// Not async: what it needs for a moment would be part of every connection's task.
    fn begin(&self, accepted: Accepted) -> Result<Begun<'_>> {
        let peer = accepted.peer;
        let stream = self.register(accepted)?;
        if self.pre_tls.is_none() && self.tls.is_none() {
            return Ok(Begun::Plain(Box::new(stream)));
        }
        Ok(Begun::Handshake(Box::pin(
            self.handshake_in_time(stream, peer),
        )))
    }

    async fn handshake_in_time(
        &self,
        stream: L4Stream,
        peer: Option<SocketAddr>,
    ) -> Result<Stream> {
        let tls = self.tls.as_ref();
        let timeout = tls.map_or(tls::HANDSHAKE_TIMEOUT, |tls| tls.timeout());
        match tokio::time::timeout(timeout, self.handshake(stream)).await {
            Ok(result) => result,
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

    fn register(&self, accepted: Accepted) -> Result<L4Stream> {
        let failed = "registering a connection with the runtime";
        let stream = match accepted.peer {
            Some(peer) => {
                let stream = TcpStream::from_std(accepted.fd.into())
                    .or_err(ErrorType::AcceptError, failed)?;
                L4Stream::with_peer(stream.into(), peer)
            }
            None => UnixStream::from_std(accepted.fd.into())
                .or_err(ErrorType::AcceptError, failed)?
                .into(),
        };
        Ok(stream)
    }

    async fn handshake(&self, mut stream: L4Stream) -> Result<Stream> {
        if let Some(callback) = &self.pre_tls {
            callback.process(&mut stream).await?;
        }
        match &self.tls {
            Some(acceptor) => acceptor.handshake(stream).await,
            None => Ok(Box::new(stream)),
        }
    }
}
