//! Settings of a TLS listener, for OpenSSL.

pub use super::TLS_CONF_ERR;
pub use crate::protocols::tls::ALPN;

use super::gate::Gate;
use super::{
    Acceptor, CertificateSource, CertificateStore, ClientCertificates, HANDSHAKE_TIMEOUT,
    HandshakeCounters, MOST_HANDSHAKES, SessionTickets, WhenBusy,
};
use crate::process::ServerConf;
use crate::protocols::tls::openssl::client_certificates::ClientDemands;
use crate::protocols::tls::openssl::session_scope::{SessionScope, bind_sessions_to_names};
use crate::protocols::tls::{LoadedCertificate, Offload, ServerContext, TlsAcceptCallbacks};
use crate::sys::tls_context::set_ticket_keys;
use openssl::ssl::{AlpnError, SslAcceptor, SslAcceptorBuilder, SslMethod, SslOptions, SslVersion};
use pingora_error::{Error, OrErr, Result};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// Settings of a TLS listener: TLS 1.2 and 1.3 with the ciphers that Mozilla recommends as
/// "intermediate". For everything else it derefs to OpenSSL's own builder.
///
/// What is not said otherwise: sessions are resumed by tickets whose keys change every 12 hours
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
    builder: SslAcceptorBuilder,
    callbacks: Option<TlsAcceptCallbacks>,
    store: Option<CertificateStore>,
    /// The certificate that the builder was given, as far as it is known.
    installed: Option<Arc<LoadedCertificate>>,
    /// Said by [`TlsSettings::allow_expired_certificate`]; a store has its own say.
    expired: Option<bool>,
    /// The list of protocols that was set names none.
    nothing_to_select: bool,
    tickets: SessionTickets,
    clients: Option<ClientCertificates>,
    handshake_timeout: Duration,
    most_handshakes: (usize, WhenBusy),
    keep_client_hello: bool,
    offload: Option<(usize, usize)>,
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
        let mut settings = Self::from(recommended()?);
        settings.install(&store)?;
        settings.store = Some(store);
        settings.expired = Some(false);
        Ok(settings)
    }

    /// The recommended settings, with the certificates of a store. It may still be changed, or be empty.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] where the library fails.
    pub fn with_store(store: CertificateStore) -> Result<Self> {
        let mut settings = Self::from(recommended()?);
        settings.set_store(store);
        Ok(settings)
    }

    /// The recommended settings, with callbacks that choose the certificate during the handshake.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] where the library fails.
    pub fn with_callbacks(callbacks: TlsAcceptCallbacks) -> Result<Self> {
        let mut settings = Self::from(recommended()?);
        settings.set_callbacks(callbacks);
        Ok(settings)
    }

    /// Takes the certificates from `store`.
    pub fn set_store(&mut self, store: CertificateStore) {
        let stapled = self.builder.set_status_callback(|ssl| {
            let response = ssl.ocsp_status();
            Ok(response.is_some_and(|response| !response.is_empty()))
        });
        if let Err(e) = stapled {
            log::error!("OCSP responses won't be stapled: {e}");
        }
        self.store = Some(store);
        self.expired = None;
    }

    /// Where the certificates come from: the store that was set, or the one with the files of
    /// [`intermediate`](Self::intermediate).
    pub fn store(&self) -> Option<&CertificateStore> {
        self.store.as_ref()
    }

    /// Calls these during handshakes. Where there is a store, its choice is made before the callback for
    /// the certificate, which may change it.
    pub fn set_callbacks(&mut self, callbacks: TlsAcceptCallbacks) {
        self.callbacks = Some(callbacks);
    }

    /// Asks clients for certificates. Reads files: blocks.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] naming the file that can't be used.
    pub fn set_client_certificates(&mut self, wanted: ClientCertificates) -> Result<()> {
        ClientDemands::check(&wanted)?;
        self.clients = Some(wanted);
        Ok(())
    }

    /// Sets which session tickets are given out.
    pub fn set_session_tickets(&mut self, tickets: SessionTickets) {
        self.tickets = tickets;
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
        self.keep_client_hello = keep;
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
        self.offload = Some((shards, threads_per_shard));
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
    /// others is turned away (RFC 7301 section 3.2); one that offers none is not. Where HTTP/1.1 is accepted,
    /// so is the name of HTTP/1.0. An endpoint with a protocol of no bytes does not start.
    pub fn set_alpn(&mut self, alpn: ALPN) {
        self.nothing_to_select = matches!(&alpn, ALPN::Custom(own) if own.protocol().is_empty());
        self.builder.set_alpn_select_callback(move |_, offered| {
            alpn.select(offered).ok_or(AlpnError::ALERT_FATAL)
        });
    }

    /// Checks what can be checked without an endpoint.
    ///
    /// # Errors
    /// Where a certificate has expired and that is not allowed, or no protocol could ever be selected.
    pub(crate) fn check(&self) -> Result<()> {
        if self.nothing_to_select {
            let reason = "set_alpn was given a protocol of no bytes, which no client can offer";
            return Error::e_explain(TLS_CONF_ERR, reason);
        }
        match (&self.store, self.expired) {
            (Some(store), Some(allow)) => store.allow_expired(allow),
            _ => Ok(()),
        }
    }

    /// Ends the settings.
    pub(crate) fn build(mut self) -> Result<Acceptor> {
        self.check()?;
        // A record's header and its payload in one read from the socket.
        self.builder.set_read_ahead(true);
        if let (Some(store), None) = (self.store.clone(), &self.installed) {
            self.install(&store)?;
        }
        match self.tickets.source() {
            Some(keys) => set_ticket_keys(&mut self.builder, keys)
                .or_err(TLS_CONF_ERR, "setting the keys of session tickets")?,
            None => drop(self.builder.set_options(SslOptions::NO_TICKET)),
        }
        let clients = self.demand_certificates()?;
        let (most, when_busy) = self.most_handshakes;
        Ok(Acceptor {
            context: ServerContext {
                acceptor: self.builder.build(),
                callbacks: self.callbacks,
                store: self.store,
                installed: self.installed,
                tickets: Some(self.tickets),
                clients,
                keep_client_hello: self.keep_client_hello,
                offload: self
                    .offload
                    .map(|(groups, each)| Offload::new(groups, each)),
            },
            counters: self.counters,
            gate: Gate::new(most, when_busy),
            timeout: self.handshake_timeout,
        })
    }

    /// Lets sessions begin with the store's default, which then needs no work in their handshakes.
    fn install(&mut self, store: &CertificateStore) -> Result<()> {
        let Some(first) = store.first_choice() else {
            return Ok(());
        };
        first
            .install(&mut self.builder)
            .or_err(TLS_CONF_ERR, "using the default certificate")?;
        self.installed = Some(first);
        Ok(())
    }

    /// A session is resumed only where the demands on its client are the ones under which it began, also
    /// by another listener that shares the keys of tickets.
    fn demand_certificates(&mut self) -> Result<Option<ClientDemands>> {
        let (clients, scope) = match &self.clients {
            Some(wanted) => {
                let (demands, scope) = ClientDemands::apply(wanted, &mut self.builder)?;
                (Some(demands), scope)
            }
            None => (None, SessionScope::open()),
        };
        scope
            .install(&mut self.builder)
            .or_err(TLS_CONF_ERR, "setting the session context")?;
        Ok(clients)
    }
}

fn recommended() -> Result<SslAcceptorBuilder> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())
        .or_err(TLS_CONF_ERR, "making a TLS context")?;
    builder
        .set_min_proto_version(Some(SslVersion::TLS1_2))
        .map_err(|e| Error::because(TLS_CONF_ERR, "setting the lowest TLS version", e))?;
    // The library keeps the name that a client asked for in its session only where somebody has accepted
    // it; without, it would not be known of a session of TLS 1.2 that is resumed.
    builder.set_servername_callback(|_, _| Ok(()));
    bind_sessions_to_names(&mut builder);
    Ok(builder)
}

impl From<SslAcceptorBuilder> for TlsSettings {
    /// Takes over settings as they are, without callbacks.
    fn from(builder: SslAcceptorBuilder) -> Self {
        TlsSettings {
            builder,
            callbacks: None,
            store: None,
            installed: None,
            expired: None,
            nothing_to_select: false,
            tickets: SessionTickets::default(),
            clients: None,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            most_handshakes: (MOST_HANDSHAKES, WhenBusy::default()),
            keep_client_hello: false,
            offload: None,
            counters: Arc::default(),
        }
    }
}

impl Deref for TlsSettings {
    type Target = SslAcceptorBuilder;

    fn deref(&self) -> &SslAcceptorBuilder {
        &self.builder
    }
}

impl DerefMut for TlsSettings {
    fn deref_mut(&mut self) -> &mut SslAcceptorBuilder {
        &mut self.builder
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("has_callbacks", &self.callbacks.is_some())
            .field("store", &self.store)
            .field("tickets", &self.tickets)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}
