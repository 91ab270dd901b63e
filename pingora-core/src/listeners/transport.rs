//! From an accepted descriptor to a stream that an application can use.

use super::accept::Accepted;
use super::{ConnectionFilter, PreTlsCallback, tls};
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::{SocketDigest, Stream};
use log::error;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// How long a client may take for its handshake, all together.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// What all connections of one endpoint have in common.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(super) filter: Option<Arc<dyn ConnectionFilter>>,
    pub(super) pre_tls: Option<PreTlsCallback>,
    pub(super) tls: Option<Arc<tls::Acceptor>>,
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
        let stream = self.register(accepted)?;
        if self.pre_tls.is_none() && self.tls.is_none() {
            return Ok(Box::new(stream));
        }
        // Boxed: the plain case must not carry the memory of the other.
        let handshake = Box::pin(self.handshake(stream));
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(result) => result,
            Err(_) => Error::e_explain(
                ErrorType::TLSHandshakeTimedout,
                "the client took too long for its handshake",
            ),
        }
        .map_err(Error::into_down)
    }

    fn register(&self, accepted: Accepted) -> Result<L4Stream> {
        let fd = accepted.fd.as_raw_fd();
        let failed = "registering a connection with the runtime";
        let stream = match accepted.peer {
            Some(peer) => {
                let stream = TcpStream::from_std(accepted.fd.into())
                    .or_err(ErrorType::AcceptError, failed)?;
                L4Stream::with_digest(stream.into(), SocketDigest::with_peer_addr(fd, peer.into()))
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
