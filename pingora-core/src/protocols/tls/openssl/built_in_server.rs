//! OpenSSL as the backend of listeners that were given no other, and what it is told of their settings.

use super::client_certificates::ClientDemands;
use super::server::ServerContext;
use super::session_scope::{SessionScope, bind_sessions_to_names};
use crate::protocols::tls::backend::{ServerBackend, ServerSettings, TlsAcceptor};
use crate::protocols::tls::certificate::LoadedCertificate;
use crate::protocols::tls::preference::prefers_aes;
use crate::protocols::tls::{
    ACME_TLS_ALPN, ALPN, CertificateStore, ClientCertificates, TLS_CONF_ERR,
};
use crate::sys::tls_context::set_ticket_keys;
use arc_swap::ArcSwapOption;
use openssl::ssl::{AlpnError, SslAcceptor, SslAcceptorBuilder, SslMethod, SslOptions, SslVersion};
use pingora_error::{Error, OrErr, Result};
use std::fmt;
use std::sync::Arc;

/// OpenSSL as the backend of listeners that were given no other: its builder, which programs may change.
pub(crate) struct BuiltInServer {
    builder: SslAcceptorBuilder,
    /// The certificate that the builder was given, as far as it is known.
    installed: Option<Arc<LoadedCertificate>>,
    /// The store that knows of challenges, for the callback that selects a protocol.
    challenges: Arc<ArcSwapOption<CertificateStore>>,
}

impl BuiltInServer {
    /// With the settings that are recommended.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] if the library fails.
    pub(crate) fn recommended() -> Result<Self> {
        let mut made = recommended().map(Self::from)?;
        made.select_protocol(None);
        Ok(made)
    }

    /// For settings that are another backend's.
    ///
    /// # Errors
    /// As [`recommended`](Self::recommended).
    pub(crate) fn unused() -> Result<Self> {
        Self::recommended()
    }

    /// Certificates will come from a store, with their OCSP responses.
    pub(crate) fn set_store(&mut self, store: &CertificateStore) {
        self.challenges.store(Some(Arc::new(store.clone())));
        let stapled = self.builder.set_status_callback(|ssl| {
            let response = ssl.ocsp_status();
            Ok(response.is_some_and(|response| !response.is_empty()))
        });
        if let Err(e) = stapled {
            log::error!("OCSP responses won't be stapled: {e}");
        }
    }

    /// OpenSSL's builder, for programs that set it by name.
    pub(crate) fn builder(&self) -> &SslAcceptorBuilder {
        &self.builder
    }

    /// As [`builder`](Self::builder).
    pub(crate) fn builder_mut(&mut self) -> &mut SslAcceptorBuilder {
        &mut self.builder
    }

    /// Takes effect at once, because the program's later changes to the builder take precedence.
    pub(crate) fn set_alpn(&mut self, alpn: ALPN) {
        self.select_protocol(Some(alpn));
    }

    /// If no protocols are set, none is selected, except for the one of an authority that looks for the answer to a
    /// challenge and offers nothing else.
    fn select_protocol(&mut self, alpn: Option<ALPN>) {
        let challenges = self.challenges.clone();
        self.builder.set_alpn_select_callback(move |_, offered| {
            if let Some((10, ACME_TLS_ALPN)) = offered.split_first().map(|(n, name)| (*n, name))
                && let Some(store) = &*challenges.load()
                && store.has_challenges()
            {
                return Ok(ACME_TLS_ALPN);
            }
            match &alpn {
                Some(alpn) => alpn.select(offered).ok_or(AlpnError::ALERT_FATAL),
                None => Err(AlpnError::NOACK),
            }
        });
    }

    /// Lets sessions begin with the store's default, which then needs no work in their handshakes.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] if the library refuses it.
    pub(crate) fn install(&mut self, store: &CertificateStore) -> Result<()> {
        self.challenges.store(Some(Arc::new(store.clone())));
        let Some(first) = store.first_choice() else {
            return Ok(());
        };
        first
            .install(&mut self.builder)
            .or_err(TLS_CONF_ERR, "using the default certificate")?;
        self.installed = Some(first);
        Ok(())
    }

    /// Whether these demands can be made. Blocks.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] naming the file that can't be used.
    pub(crate) fn check_clients(wanted: &ClientCertificates) -> Result<()> {
        ClientDemands::check(wanted)
    }

    /// A session is resumed only if the demands on its client are the ones under which it began, also
    /// by another listener that shares the keys of tickets.
    fn demand_certificates(
        &mut self,
        wanted: Option<&ClientCertificates>,
    ) -> Result<Option<ClientDemands>> {
        let (clients, scope) = match wanted {
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

impl ServerBackend for BuiltInServer {
    fn name(&self) -> &'static str {
        "openssl"
    }

    fn build(mut self: Box<Self>, settings: ServerSettings) -> Result<Box<dyn TlsAcceptor>> {
        // A record's header and its payload in one read from the socket.
        self.builder.set_read_ahead(true);
        if let (Some(store), None) = (settings.store.clone(), &self.installed) {
            self.install(&store)?;
        }
        match settings.tickets.source() {
            Some(keys) => set_ticket_keys(&mut self.builder, keys)
                .or_err(TLS_CONF_ERR, "setting the keys of session tickets")?,
            None => drop(self.builder.set_options(SslOptions::NO_TICKET)),
        }
        let clients = self.demand_certificates(settings.clients.as_ref())?;
        let offload = settings.offload();
        Ok(Box::new(ServerContext {
            acceptor: self.builder.build(),
            callbacks: settings.callbacks,
            decisions: settings.decisions,
            store: settings.store,
            installed: self.installed,
            tickets: Some(settings.tickets),
            clients,
            keep_client_hello: settings.keep_client_hello,
            offload,
        }))
    }
}

impl From<SslAcceptorBuilder> for BuiltInServer {
    fn from(builder: SslAcceptorBuilder) -> Self {
        BuiltInServer {
            builder,
            installed: None,
            challenges: Arc::default(),
        }
    }
}

impl fmt::Debug for BuiltInServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuiltInServer")
            .field("installed", &self.installed)
            .finish_non_exhaustive()
    }
}

fn recommended() -> Result<SslAcceptorBuilder> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())
        .or_err(TLS_CONF_ERR, "making a TLS context")?;
    builder
        .set_min_proto_version(Some(SslVersion::TLS1_2))
        .map_err(|e| Error::because(TLS_CONF_ERR, "setting the lowest TLS version", e))?;
    if prefers_aes() {
        // The suites begin with AES-128-GCM, which costs least here. A client that puts ChaCha20 first has no
        // such instructions, as a rule, and gets it.
        builder.set_options(SslOptions::CIPHER_SERVER_PREFERENCE | SslOptions::PRIORITIZE_CHACHA);
    }
    prefer_groups(&mut builder)?;
    // The second ticket that TLS 1.3 would get by default costs time in each handshake, and few clients use it.
    builder
        .set_num_tickets(1)
        .or_err(TLS_CONF_ERR, "setting the number of session tickets")?;
    // The library keeps the requested name in its session only if a callback has accepted it; otherwise, the
    // name of a resumed TLS 1.2 session would be unknown.
    builder.set_servername_callback(|_, _| Ok(()));
    bind_sessions_to_names(&mut builder);
    Ok(builder)
}

/// Takes the same groups as rustls, the preferred one first. The library's own list also has P-521 and X448, whose key
/// exchange costs several times as much and which no client depends on.
fn prefer_groups(builder: &mut SslAcceptorBuilder) -> Result<()> {
    /// Libraries before 3.5 do not know the first one.
    const HYBRID: &str = "X25519MLKEM768";
    const CURVES: &str = "X25519:P-256:P-384";
    if builder
        .set_groups_list(&format!("{HYBRID}:{CURVES}"))
        .is_ok()
    {
        return Ok(());
    }
    builder
        .set_groups_list(CURVES)
        .or_err(TLS_CONF_ERR, "setting the groups of the key exchange")
}
