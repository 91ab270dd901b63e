//! TLS towards clients.

use super::demands::{self, Demands};
use super::digest::{self, cipher_name};
use super::handshake_failure::{HandshakeError, failure, of_client};
use super::keys;
use super::options::RustlsServer;
use super::session::Session;
use super::stream::TlsStream;
use super::suites::prefers_chacha;
use super::tickets::Tickets;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::backend::{
    Accepted, FailedHandshake, Renewal, ServerBackend, ServerSettings, TlsAcceptor,
};
use crate::protocols::tls::certificate::Material;
use crate::protocols::tls::offload::Offload;
use crate::protocols::tls::preference::prefers_aes;
use crate::protocols::tls::{
    ACME_TLS_ALPN, ALPN, CertificateStore, ClientHello, ClientHelloFinder, HandshakeFailure,
    TLS_CONF_ERR,
};
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use pingora_error::{Error, ErrorType, OrErr, Result};
use rustls::crypto::CryptoProvider;
use rustls::server::{
    ClientHello as LibraryHello, NoClientAuth, ProducesTickets, ResolvesServerCert,
    ServerSessionMemoryCache, UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use std::future::poll_fn;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// The kind of a record that begins a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// The size of one read of a client's first message, in bytes: nearly all are shorter.
const HELLO: usize = 4096;

/// The state that all TLS connections of one listener share.
#[derive(Debug)]
pub(super) struct ServerContext {
    options: RustlsServer,
    settings: ServerSettings,
    provider: Arc<CryptoProvider>,
    /// Without the demand for client certificates, unless the program's own verifier makes it.
    config: Arc<ArcSwap<ServerConfig>>,
    /// The scope of its sessions.
    scope: Arc<ArcSwap<[u8; 32]>>,
    /// Certificates come from the store and the callbacks.
    chooses: bool,
    offload: Option<Offload>,
}

/// Shows what was chosen before the library began.
#[derive(Debug)]
struct Fixed(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: LibraryHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

impl ServerContext {
    /// # Errors
    /// Naming what can't be done, or the file that can't be used.
    fn new(
        options: RustlsServer,
        provider: Arc<CryptoProvider>,
        settings: ServerSettings,
    ) -> Result<Self> {
        let (config, scope) = match options.own_config() {
            Some(own) => {
                let mut config = own.as_ref().clone();
                if let Some(alpn) = settings.alpn() {
                    config.alpn_protocols = protocols(alpn);
                }
                (config, demands::open_scope())
            }
            None => config(&options, &provider, &settings)?,
        };
        let chooses = options.own_config().is_none() && options.own_resolver().is_none();
        let offload = settings.offload();
        Ok(ServerContext {
            options,
            settings,
            provider,
            config: Arc::new(ArcSwap::from_pointee(config)),
            scope: Arc::new(ArcSwap::from_pointee(scope)),
            chooses,
            offload,
        })
    }

    async fn shake_hands(&self, mut stream: L4Stream) -> Result<Accepted, FailedHandshake> {
        let mut arrived = vec![];
        let hello = match read_hello(&mut stream, &mut arrived).await {
            Ok(Hello::Complete(hello)) => hello,
            Ok(Hello::NotTls) => return Err(no_tls().began_with(&arrived, stream)),
            Err(e) => return Err(failed(e, None)),
        };
        let name = hello
            .as_ref()
            .and_then(|hello| hello.server_name())
            .map(str::to_string);
        let config = self.config_for(hello.as_deref()).await?;
        let library = UnbufferedServerConnection::new(config);
        let library = library.or_err(ErrorType::InternalError, "making a TLS session")?;
        let mut stream = TlsStream::new(Session::Server(Box::new(library)), stream, arrived);
        let outcome;
        (stream, outcome) = self.step(stream).await?;
        if let Err(e) = outcome {
            return Err(failed(e, name.as_deref()));
        }
        let resumed = stream.state().handshake_kind() == Some(HandshakeKind::Resumed);
        if let (true, Some(shown)) = (resumed, stream.state().peer_certificates()) {
            let refused = |e| FailedHandshake::new(HandshakeFailure::ClientCertificate, e);
            demands::check_resumed(shown).map_err(refused)?;
        }
        let kept = hello.filter(|_| self.settings.keeps_client_hello());
        let mut digest = digest::of(stream.state(), name.as_deref(), true, kept);
        if let Some(decisions) = self.settings.decisions()
            && let Some(value) = decisions.complete(&digest).await
        {
            digest.extension.set(value);
        }
        stream.set_digest(digest);
        Ok(Accepted::new(stream, resumed))
    }

    /// Goes on with the handshake until it is over or fails.
    async fn step(
        &self,
        mut stream: TlsStream<L4Stream>,
    ) -> Result<(TlsStream<L4Stream>, Result<(), HandshakeError>)> {
        match &self.offload {
            None => {
                let outcome = poll_fn(|cx| stream.poll_handshake(cx)).await;
                Ok((stream, outcome))
            }
            Some(offload) => {
                let (mut stream, outcome, waited) =
                    offload.run(stream, TlsStream::poll_handshake).await?;
                stream.add_offload_wait(waited);
                Ok((stream, outcome))
            }
        }
    }

    /// The configuration with the certificate for this client.
    async fn config_for(&self, hello: Option<&ClientHello>) -> Result<Arc<ServerConfig>> {
        let config = self.config.load_full();
        if !self.chooses {
            return Ok(config);
        }
        let name = hello.and_then(ClientHello::server_name);
        // Not an authority: the certificate may be waiting for it.
        if let (Some(store), Some(name)) = (self.settings.store(), name)
            && store.waits_for(name)
            && hello.is_none_or(|hello| store.challenge(Some(name), hello).is_none())
        {
            store.prepare(name).await;
        }
        let mut config = config.as_ref().clone();
        let mut chosen = self.settings.certificate_for(name, hello);
        if let Some(hello) = hello {
            if prefers_chacha(hello.cipher_suites()) {
                config.ignore_client_order = false;
            }
            match self
                .settings
                .store()
                .and_then(|store| store.challenge(name, hello))
            {
                Some(Some(_)) => config.alpn_protocols = vec![ACME_TLS_ALPN.to_vec()],
                // Looked for in vain.
                Some(None) => {}
                None => {
                    if let Some(decisions) = self.settings.decisions() {
                        chosen = decisions.certificate(hello, chosen).await;
                    }
                }
            }
        }
        let shown = chosen.map(|chosen| keys::shown(&self.provider, &chosen));
        config.cert_resolver = Arc::new(Fixed(shown.transpose()?));
        Ok(Arc::new(config))
    }
}

/// The first bytes of a client.
enum Hello {
    /// Its first message, as far as it can be read.
    Complete(Option<Box<ClientHello>>),
    /// It speaks another protocol, and would not understand an alert.
    NotTls,
}

/// Reads until the client's first message is complete, or is certainly not TLS.
async fn read_hello(stream: &mut L4Stream, arrived: &mut Vec<u8>) -> Result<Hello, HandshakeError> {
    let mut finder = ClientHelloFinder::default();
    while !finder.is_over() {
        let before = arrived.len();
        arrived.reserve(HELLO);
        let read = stream.read_buf(arrived).await.map_err(HandshakeError::Io)?;
        if read == 0 {
            return Err(HandshakeError::Closed);
        }
        if before == 0 && arrived.first() != Some(&HANDSHAKE) {
            return Ok(Hello::NotTls);
        }
        finder.feed(arrived.get(before..).unwrap_or_default());
    }
    Ok(Hello::Complete(finder.take()))
}

#[cold]
fn no_tls() -> FailedHandshake {
    let kind = HandshakeFailure::NotTls;
    let error = Error::explain(ErrorType::TLSHandshakeFailure, kind.to_string());
    FailedHandshake::new(kind, error)
}

#[cold]
fn failed(e: HandshakeError, name: Option<&str>) -> FailedHandshake {
    let mut kind = failure(&e);
    // Without a certificate, the library finds that nothing fits.
    if let HandshakeError::Tls(rustls::Error::General(text)) = &e
        && text.contains("no server certificate chain resolved")
    {
        kind = HandshakeFailure::NoCertificate;
    }
    let context = match kind {
        HandshakeFailure::NoCertificate => format!("{kind} (name: {name:?})"),
        _ => kind.to_string(),
    };
    of_client(e, kind, context)
}

/// The names to accept, the preferred one first.
fn protocols(alpn: &ALPN) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = alpn.protocols().map(<[u8]>::to_vec).collect();
    if matches!(alpn, ALPN::H1 | ALPN::H2H1) {
        // The name that older clients use for it.
        names.push(b"http/1.0".to_vec());
    }
    names
}

/// The configuration of a listener as its settings say, and the scope of its sessions. Blocks.
fn config(
    options: &RustlsServer,
    provider: &Arc<CryptoProvider>,
    settings: &ServerSettings,
) -> Result<(ServerConfig, [u8; 32])> {
    let versions: Vec<&'static SupportedProtocolVersion> = options.versions_or_default();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .or_err(TLS_CONF_ERR, "making a TLS context")?;
    let (builder, scope) = match (
        settings.client_certificates(),
        options.own_client_verifier(),
    ) {
        (Some(wanted), _) => {
            let algorithms = provider.signature_verification_algorithms;
            let demands = Demands::read(wanted, algorithms)?;
            let scope = demands.scope();
            (builder.with_client_cert_verifier(Arc::new(demands)), scope)
        }
        (None, Some(own)) => {
            // Its demands are unknown here, so its sessions belong to this listener alone.
            let mut scope = [0; 32];
            scope.fill_with(|| fastrand::u8(..));
            (builder.with_client_cert_verifier(own), scope)
        }
        (None, None) => {
            let nobody = Arc::new(NoClientAuth);
            (
                builder.with_client_cert_verifier(nobody),
                demands::open_scope(),
            )
        }
    };
    let resolver = options
        .own_resolver()
        .unwrap_or_else(|| Arc::new(Fixed(None)));
    let mut config = builder.with_cert_resolver(resolver);
    config.ignore_client_order = prefers_aes();
    config.send_tls13_tickets = options.tickets();
    config.session_storage = ServerSessionMemoryCache::new(options.session_cache());
    if let Some(keys) = settings.session_tickets().source() {
        let tickets: Arc<dyn ProducesTickets> = Arc::new(Tickets::new(keys, scope));
        config.ticketer = tickets;
    }
    if let Some(alpn) = settings.alpn() {
        config.alpn_protocols = protocols(alpn);
    }
    if let Some(log) = options.own_key_log() {
        config.key_log = log;
    }
    Ok((config, scope))
}

impl ServerBackend for RustlsServer {
    fn name(&self) -> &'static str {
        "rustls"
    }

    fn build(self: Box<Self>, settings: ServerSettings) -> Result<Box<dyn TlsAcceptor>> {
        self.check(&settings)?;
        let provider = self.provider_or_default();
        if log::log_enabled!(log::Level::Debug) {
            let suites = provider.cipher_suites.iter();
            let suites: Vec<_> = suites.map(|suite| cipher_name(suite.suite())).collect();
            log::debug!("rustls speaks with {}", suites.join(", "));
        }
        Ok(Box::new(ServerContext::new(*self, provider, settings)?))
    }
}

impl TlsAcceptor for ServerContext {
    fn accept(&self, stream: L4Stream) -> BoxFuture<'_, Result<Accepted, FailedHandshake>> {
        Box::pin(self.shake_hands(stream))
    }

    /// Certificates, keys of tickets, authorities.
    fn renew(&self) -> Result<Option<Renewal>> {
        let store = self.settings.store().map(CertificateStore::prepare_reload);
        let tickets = self.settings.session_tickets().prepare_reload()?;
        let renewals = [store.transpose()?, tickets, self.renew_demands()?];
        let renewals: Vec<_> = renewals.into_iter().flatten().collect();
        if renewals.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(move || {
            renewals.into_iter().for_each(|renewal| renewal())
        })))
    }
}

impl ServerContext {
    /// Authorities of clients. If they have changed, the sessions that began before are not resumed.
    fn renew_demands(&self) -> Result<Option<Renewal>> {
        let Some(wanted) = self.settings.client_certificates() else {
            return Ok(None);
        };
        if !wanted.authorities.iter().any(Material::is_file) {
            return Ok(None);
        }
        let (renewed, scope) = config(&self.options, &self.provider, &self.settings)?;
        let (in_force, known) = (self.config.clone(), self.scope.clone());
        Ok(Some(Box::new(move || {
            if known.swap(Arc::new(scope)).as_ref() != &scope {
                in_force.store(Arc::new(renewed));
            }
        })))
    }
}
