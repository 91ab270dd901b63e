//! Settings of a TLS listener, for every library.

use super::gate::Gate;
use super::{
    CertificateSource, CertificateStore, ClientCertificates, GatedAcceptor, HANDSHAKE_TIMEOUT,
    HandshakeCounters, MOST_HANDSHAKES, SessionTickets, TLS_CONF_ERR, WhenBusy,
};
use crate::process::ServerConf;
use crate::protocols::tls::backend::{ServerBackend, ServerSettings};
use crate::protocols::tls::{ALPN, BuiltInServer, HandshakeDecisions, TlsAcceptCallbacks};
use pingora_error::{Error, Result};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Settings of a TLS listener, whichever library speaks TLS there: OpenSSL, or the backend that
/// [`with_backend`](Self::with_backend) is given. With OpenSSL: TLS 1.2 and 1.3 with the ciphers that Mozilla
/// recommends as "intermediate", and for everything else it derefs to OpenSSL's own builder.
///
/// By default, sessions are resumed by tickets whose keys change every 12 hours
/// ([`SessionTickets`]), and without tickets from a cache of 20,480 sessions (`set_session_cache_size` of the
/// library's builder); clients are not asked for certificates; a client has 60 s for its handshake; 8192
/// handshakes go on at once, the next ones wait.
///
/// ```no_run
/// # fn main() -> pingora_core::Result<()> {
/// use pingora_core::listeners::tls::TlsSettings;
///
/// let mut tls = TlsSettings::intermediate("/etc/ssl/fullchain.pem", "/etc/ssl/key.pem")?;
/// tls.enable_h2();
/// # Ok(())
/// # }
/// ```
pub struct TlsSettings {
    /// The settings that only the compiled-in library understands.
    pub(super) built_in: BuiltInServer,
    /// The backend used instead of it.
    backend: Option<Box<dyn ServerBackend>>,
    common: ServerSettings,
    /// Said by [`TlsSettings::allow_expired_certificate`]; a store has its own say.
    expired: Option<bool>,
    /// The list of protocols that was set names none.
    nothing_to_select: bool,
    handshake_timeout: Duration,
    most_handshakes: (usize, WhenBusy),
    counters: Arc<HandshakeCounters>,
}

impl TlsSettings {
    /// The recommended settings with a certificate chain (the leaf first) and its key, PEM files. When
    /// the server is told to reload, both are read again, and shown in handshakes from then on.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] naming the file that can't be used, and why. A certificate that has expired is refused
    /// when the endpoint is to listen: see [`allow_expired_certificate`](Self::allow_expired_certificate).
    pub fn intermediate(cert_path: &str, key_path: &str) -> Result<Self> {
        let store = CertificateStore::new();
        store.add(CertificateSource::files(cert_path, key_path).allow_expired())?;
        let mut settings = Self::of(BuiltInServer::recommended()?);
        settings.built_in.install(&store)?;
        settings.common.store = Some(store);
        settings.expired = Some(false);
        Ok(settings)
    }

    /// The recommended settings, with the certificates of a store. It may still be changed, or be empty.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] if the library fails.
    pub fn with_store(store: CertificateStore) -> Result<Self> {
        let mut settings = Self::of(BuiltInServer::recommended()?);
        settings.set_store(store);
        Ok(settings)
    }

    /// The recommended settings, with callbacks that choose the certificate during the handshake.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] if the library fails.
    pub fn with_callbacks(callbacks: TlsAcceptCallbacks) -> Result<Self> {
        let mut settings = Self::of(BuiltInServer::recommended()?);
        settings.set_callbacks(callbacks);
        Ok(settings)
    }

    /// Settings of a listener whose TLS is spoken by `backend` instead of OpenSSL. It is told all that is set by
    /// the methods of this type, and makes of it what it can; what is done to the builder of OpenSSL that this
    /// derefs to has no effect. Nothing is set: neither certificates nor protocols.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] if the built-in library's builder, which remains unused, can't be made.
    pub fn with_backend<B: ServerBackend + 'static>(backend: B) -> Result<Self> {
        let mut settings = Self::of(BuiltInServer::unused()?);
        settings.backend = Some(Box::new(backend));
        Ok(settings)
    }

    /// Has TLS spoken by `backend` instead, as [`with_backend`](Self::with_backend) does, and keeps what was set by
    /// the methods of this type.
    pub fn set_backend<B: ServerBackend + 'static>(&mut self, backend: B) {
        self.backend = Some(Box::new(backend));
    }

    /// Takes the certificates from `store`.
    pub fn set_store(&mut self, store: CertificateStore) {
        self.built_in.set_store(&store);
        self.common.store = Some(store);
        self.expired = None;
    }

    /// Where the certificates come from: the store that was set, or the one with the files of
    /// [`intermediate`](Self::intermediate).
    pub fn store(&self) -> Option<&CertificateStore> {
        self.common.store.as_ref()
    }

    /// Calls these during handshakes. If there is a store, its choice is made before the callback for
    /// the certificate, which may change it.
    pub fn set_callbacks(&mut self, callbacks: TlsAcceptCallbacks) {
        self.common.callbacks = Some(callbacks);
    }

    /// Has these decide during handshakes, whichever library speaks TLS. If there is a store, its choice is
    /// given to them.
    pub fn set_decisions(&mut self, decisions: Arc<dyn HandshakeDecisions>) {
        self.common.decisions = Some(decisions);
    }

    /// Asks clients for certificates. Reads files: blocks.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] naming the file that can't be used.
    pub fn set_client_certificates(&mut self, wanted: ClientCertificates) -> Result<()> {
        wanted.check()?;
        if self.backend.is_none() {
            BuiltInServer::check_clients(&wanted)?;
        } else {
            wanted.read_authorities()?;
        }
        self.common.clients = Some(wanted);
        Ok(())
    }

    /// Sets which session tickets are given out.
    pub fn set_session_tickets(&mut self, tickets: SessionTickets) {
        self.common.tickets = tickets;
    }

    /// Sets how long a client may take from its connection to the end of its handshake, all together.
    pub fn set_handshake_timeout(&mut self, timeout: Duration) {
        self.handshake_timeout = timeout;
    }

    /// Sets how many handshakes go on at once, at least one, and what becomes of more clients.
    ///
    /// Clients that never end theirs hold a place until their time is over: a low number needs a short
    /// [`set_handshake_timeout`](Self::set_handshake_timeout).
    pub fn set_max_handshakes(&mut self, most: usize, when_busy: WhenBusy) {
        self.most_handshakes = (most, when_busy);
    }

    /// Whether what clients say in their first message is kept, for
    /// [`SslDigest::client_hello`](crate::protocols::tls::SslDigest::client_hello). Default: no.
    pub fn keep_client_hello(&mut self, keep: bool) {
        self.common.keep_client_hello = keep;
    }

    /// Whether the files of [`intermediate`](Self::intermediate) may hold a certificate that has expired.
    /// Default: no; an endpoint with such a one does not start. Certificates of a store say so themselves:
    /// [`CertificateSource::allow_expired`].
    pub fn allow_expired_certificate(&mut self, allow: bool) {
        self.expired = self.expired.map(|_| allow);
    }

    /// The numbers of handshakes, readable while the listener serves.
    pub fn handshake_counters(&self) -> Arc<HandshakeCounters> {
        self.counters.clone()
    }

    /// Makes handshakes on threads of their own, `shards` groups of `threads_per_shard`, each group with a
    /// queue: connections that are established don't wait for the costly part of others' handshakes.
    /// Each step costs two changes of threads; without a mixture of long handshakes (RSA) and requests that
    /// must not wait, it is better left off. The threads start with the first handshake.
    pub fn set_offload_threadpool(&mut self, shards: usize, threads_per_shard: usize) {
        self.common.offload = Some((shards, threads_per_shard));
    }

    /// [`set_offload_threadpool`](TlsSettings::set_offload_threadpool) as the configuration says:
    /// `downstream_tls_offload_threadpools` and `downstream_tls_offload_thread_per_pool`.
    pub fn set_offload_threadpool_from_server_conf(&mut self, server_conf: &ServerConf) {
        if let Some((shards, threads)) = server_conf.downstream_tls_offload_threadpool() {
            self.set_offload_threadpool(shards, threads);
        }
    }

    /// Offers HTTP/2 ahead of HTTP/1.1. Without this, and without [`set_alpn`](TlsSettings::set_alpn),
    /// clients get HTTP/1.1.
    pub fn enable_h2(&mut self) {
        self.set_alpn(ALPN::H2H1);
    }

    /// The application protocols to accept, the preferred one first. A client that offers only
    /// others is turned away (RFC 7301 section 3.2); one that offers none is not. If HTTP/1.1 is accepted,
    /// so is the name of HTTP/1.0. An endpoint with a protocol of no bytes does not start.
    pub fn set_alpn(&mut self, alpn: ALPN) {
        self.nothing_to_select = matches!(&alpn, ALPN::Custom(own) if own.protocol().is_empty());
        self.built_in.set_alpn(alpn.clone());
        self.common.alpn = Some(alpn);
    }

    /// Checks what can be checked without an endpoint.
    ///
    /// # Errors
    /// If a certificate has expired and that is not allowed, or no protocol could ever be selected.
    pub(crate) fn check(&self) -> Result<()> {
        if self.nothing_to_select {
            let reason = "set_alpn was given a protocol of no bytes, which no client can offer";
            return Error::e_explain(TLS_CONF_ERR, reason);
        }
        match (&self.common.store, self.expired) {
            (Some(store), Some(allow)) => store.allow_expired(allow),
            _ => Ok(()),
        }
    }

    /// Ends the settings. Blocks.
    ///
    /// # Errors
    /// If they can't be met; see [`ServerBackend::build`].
    pub(crate) fn build(self) -> Result<GatedAcceptor> {
        self.check()?;
        let backend = self.backend.unwrap_or_else(|| Box::new(self.built_in));
        let (most, when_busy) = self.most_handshakes;
        Ok(GatedAcceptor {
            offloads: self.common.offload.is_some(),
            context: backend.build(self.common)?,
            counters: self.counters,
            gate: Gate::new(most, when_busy),
            timeout: self.handshake_timeout,
        })
    }

    /// For the library that is compiled in.
    pub(super) fn of(built_in: BuiltInServer) -> Self {
        TlsSettings {
            built_in,
            backend: None,
            common: ServerSettings::default(),
            expired: None,
            nothing_to_select: false,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            most_handshakes: (MOST_HANDSHAKES, WhenBusy::default()),
            counters: Arc::default(),
        }
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("backend", &self.backend)
            .field("common", &self.common)
            .finish_non_exhaustive()
    }
}
