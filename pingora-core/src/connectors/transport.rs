//! Connections to peers, new or reused.

use super::error_context::of_upstream;
use super::l4::{self, BindTo};
use super::options::{ConnectorOptions, DEFAULT_POOL_SIZE};
use super::pool::Pool;
use super::preference::PreferHttp1;
use super::tls;
use crate::metrics::{ConnectFailed, Upstream};
use crate::protocols::Stream;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::backend::ClientBackend;
use crate::protocols::tls::{ALPN, TlsHandshakeCounts};
use crate::upstreams::peer::Peer;
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Connects to peers, and keeps reusable connections.
///
/// One connector serves many peers at a time. Its pool only hands out a connection on the tokio
/// runtime that it was made on; each runtime sees its own connections.
pub struct TransportConnector {
    pub(super) tls: tls::Connector,
    pool: Pool<Stream>,
    bind_to_v4: Vec<SocketAddr>,
    bind_to_v6: Vec<SocketAddr>,
    http1_only: PreferHttp1,
}

impl TransportConnector {
    /// A connector with these options, or the defaults.
    ///
    /// Unusable files in the options are logged as errors; connections that need them fail.
    pub fn new(options: Option<ConnectorOptions>) -> Self {
        let tls = tls::Connector::new(options.as_ref());
        let options = options.unwrap_or_else(|| ConnectorOptions::new(DEFAULT_POOL_SIZE));
        if options.offload_threadpool.is_some() {
            log::info!("connecting blocks no thread; the offload thread pool is not needed");
        }
        TransportConnector {
            tls,
            pool: Pool::new(options.keepalive_pool_size, options.keepalive_pool_callback),
            bind_to_v4: options.bind_to_v4,
            bind_to_v6: options.bind_to_v6,
            http1_only: PreferHttp1::default(),
        }
    }

    /// Keeps at most this many TLS sessions with upstreams for resumption, 1024 by default; 0 keeps
    /// none, and every handshake is a full one.
    ///
    /// A session is resumed only for a peer with the same [`reuse_hash`](Peer::reuse_hash) and the
    /// same verification, within two hours, and not after a certificate expired that was used to
    /// verify it. A TLS 1.3 ticket is used once.
    pub fn set_tls_session_capacity(&self, sessions: usize) {
        self.tls.sessions().set_capacity(sessions);
    }

    /// Uses `backend` instead of OpenSSL for TLS with upstreams. Choose it once, before the first
    /// connection: kept connections are not affected. Each connector has its own backend. Reads
    /// files, so it blocks.
    ///
    /// [`HandshakeCompleteHook`](crate::protocols::tls::HandshakeCompleteHook)s take an OpenSSL session, and
    /// other backends don't call them; the facts that they would query are in the connection's digest.
    ///
    /// # Errors
    /// The backend's errors, if it can't do what the options of the connector demand; then every TLS
    /// connection fails. `InternalError` if one was chosen before, which stays.
    pub fn set_tls_backend(&self, backend: &dyn ClientBackend) -> Result<()> {
        self.tls.set_backend(backend)
    }

    /// The results of this connector's TLS handshakes.
    pub fn tls_handshake_counts(&self) -> TlsHandshakeCounts {
        self.tls.sessions().counts()
    }

    /// Makes a connection to `peer`, TLS included.
    ///
    /// Dropping the future closes a connection that is being established.
    ///
    /// # Errors
    /// The source is the upstream and the context names the peer. `ConnectTimedout`,
    /// `ConnectRefused`, `ConnectNoRoute`, `ConnectError`, `BindError`, `SocketError` for the
    /// transport; `TLSHandshakeTimedout`, `TLSHandshakeFailure`, `InvalidCert` for TLS.
    pub async fn new_stream<P: Peer + Send + Sync + 'static>(&self, peer: &P) -> Result<Stream> {
        self.connect(peer, false).await
    }

    /// [`new_stream`](TransportConnector::new_stream) for a caller that speaks HTTP/1 whatever the
    /// peer's options prefer: only that is offered in a TLS handshake.
    pub async fn new_http1_stream<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<Stream> {
        self.connect(peer, true).await
    }

    async fn connect<P: Peer + Send + Sync>(&self, peer: &P, http1_only: bool) -> Result<Stream> {
        let connected = self.connect_in_time(peer, http1_only).await;
        connected.inspect_err(|e| Upstream::connect_failed(reason_of(e)))
    }

    async fn connect_in_time<P: Peer + Send + Sync>(
        &self,
        peer: &P,
        http1_only: bool,
    ) -> Result<Stream> {
        let Some(limit) = peer.total_connection_timeout() else {
            return self.establish(peer, http1_only).await;
        };
        match tokio::time::timeout(limit, self.establish(peer, http1_only)).await {
            Ok(result) => result,
            Err(_) => {
                let context = format!("not connected within {limit:?} in total");
                let e = Error::explain(ErrorType::ConnectTimedout, context);
                Err(of_upstream(e, peer))
            }
        }
    }

    async fn establish<P: Peer + Send + Sync>(&self, peer: &P, http1_only: bool) -> Result<Stream> {
        if !peer.tls() {
            return Ok(Box::new(self.connect_l4(peer).await?));
        }
        // A burst of connections in cleartext does not hold room for handshakes.
        Box::pin(self.establish_tls(peer, http1_only)).await
    }

    async fn establish_tls<P: Peer + Send + Sync>(
        &self,
        peer: &P,
        http1_only: bool,
    ) -> Result<Stream> {
        let http1_only =
            http1_only || peer.get_alpn() == Some(&ALPN::H2H1) && self.is_http1_only(peer);
        let mut wanted = tls::wanted_of(peer, http1_only.then_some(&ALPN::H1));
        // Before connecting in vain.
        wanted.check().map_err(|e| of_upstream(e, peer))?;
        let stream = self.connect_l4(peer).await?;
        wanted.address = tls::answered(peer, &stream).or(wanted.address);
        let begun = Instant::now();
        let stream = self.tls.connect(peer, &wanted, stream).await?;
        Upstream::shook_hands(begun.elapsed());
        Ok(stream)
    }

    async fn connect_l4<P: Peer + Send + Sync>(&self, peer: &P) -> Result<L4Stream> {
        let begun = Instant::now();
        let stream = l4::connect(peer, &|remote| self.bind_to(remote)).await?;
        Upstream::connected(begun.elapsed());
        Ok(stream)
    }

    /// The connector's own choice of a local address for this remote one.
    fn bind_to(&self, remote: &SocketAddr) -> Option<BindTo> {
        let choices = match remote {
            SocketAddr::V4(_) => &self.bind_to_v4,
            SocketAddr::V6(_) => &self.bind_to_v6,
        };
        let chosen = choices.get(fastrand::usize(..choices.len().max(1)))?;
        Some(BindTo::from(*chosen))
    }

    /// An idle connection that was made for `peer`, or for a peer with the same
    /// [`reuse_hash`](Peer::reuse_hash). `None` if no such connection is alive.
    pub async fn reused_stream<P: Peer + Send + Sync>(&self, peer: &P) -> Option<Stream> {
        self.pool.take(peer.reuse_hash())
    }

    /// Keeps a connection without anything outstanding for at most `idle_timeout`. `key` is the
    /// [`reuse_hash`](Peer::reuse_hash) of the peer that it was made for.
    ///
    /// A connection that the peer has closed already, or that has unexpected bytes, is dropped.
    pub fn release_stream(&self, stream: Stream, key: u64, idle_timeout: Option<Duration>) {
        self.pool.put(key, stream, idle_timeout);
    }

    /// An idle connection to `peer` if there is one, else a new one. The second value is `true` if
    /// it was used before: the peer may close it at any moment, so a request that fails on it at
    /// once should be retried.
    ///
    /// # Errors
    /// The same as for [`new_stream`](TransportConnector::new_stream).
    pub async fn get_stream<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(Stream, bool)> {
        match self.reused_stream(peer).await {
            Some(stream) => Ok((stream, true)),
            None => Ok((self.new_stream(peer).await?, false)),
        }
    }

    /// Remembers that `peer` speaks only HTTP/1, so HTTP/2 is no longer offered to it if both are
    /// allowed.
    pub fn prefer_h1(&self, peer: &impl Peer) {
        self.http1_only.add(peer.reuse_hash());
    }

    /// Whether `peer` is known to speak only HTTP/1.
    pub(crate) fn is_http1_only(&self, peer: &impl Peer) -> bool {
        self.http1_only.contains(|| peer.reuse_hash())
    }

    /// The number of idle connections that were dropped because the peer sent unrequested bytes.
    pub fn unexpected_data_connection_count(&self) -> u64 {
        self.unexpected_data_connection_counter()
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The counter behind
    /// [`unexpected_data_connection_count`](TransportConnector::unexpected_data_connection_count),
    /// for metrics.
    pub fn unexpected_data_connection_counter(&self) -> Arc<AtomicU64> {
        self.pool.unexpected_data_counter()
    }
}

/// How metrics call the reason.
fn reason_of(error: &Error) -> ConnectFailed {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => ConnectFailed::Timeout,
        ErrorType::ConnectRefused => ConnectFailed::Refused,
        ErrorType::ConnectNoRoute => ConnectFailed::NoRoute,
        ErrorType::TLSHandshakeFailure => ConnectFailed::Tls,
        ErrorType::InvalidCert => ConnectFailed::Certificate,
        _ => ConnectFailed::Other,
    }
}

impl fmt::Debug for TransportConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportConnector")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
