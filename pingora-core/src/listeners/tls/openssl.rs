//! Settings of a TLS listener, for OpenSSL.

pub use super::TLS_CONF_ERR;
pub use crate::protocols::tls::ALPN;

use super::Acceptor;
use crate::process::ServerConf;
use crate::protocols::tls::openssl::certificate_files::CertificateFiles;
use crate::protocols::tls::{ServerContext, TlsAcceptCallbacks};
use openssl::ssl::{
    AlpnError, SslAcceptor, SslAcceptorBuilder, SslFiletype, SslMethod, SslVersion,
};
use pingora_error::{Error, OrErr, Result};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Settings of a TLS listener: TLS 1.2 and 1.3 with the ciphers that Mozilla recommends as
/// "intermediate". For everything else it derefs to OpenSSL's own builder.
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
    files: Option<Arc<CertificateFiles>>,
}

impl TlsSettings {
    /// The recommended settings with a certificate chain (the leaf first) and its key, PEM files. When
    /// the server is told to reload, both are read again, and shown in handshakes from then on.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] naming the file that can't be used.
    pub fn intermediate(cert_path: &str, key_path: &str) -> Result<Self> {
        let mut builder = recommended()?;
        builder
            .set_certificate_chain_file(cert_path)
            .or_err_with(TLS_CONF_ERR, || {
                format!("using the certificate file {cert_path}")
            })?;
        builder
            .set_private_key_file(key_path, SslFiletype::PEM)
            .or_err_with(TLS_CONF_ERR, || format!("using the key file {key_path}"))?;
        builder.check_private_key().or_err_with(TLS_CONF_ERR, || {
            format!("the key {key_path} does not belong to the certificate {cert_path}")
        })?;
        let mut settings = Self::from(builder);
        settings.files = Some(Arc::new(CertificateFiles::new(cert_path, key_path)));
        Ok(settings)
    }

    /// The recommended settings, with callbacks that choose the certificate during the handshake.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`] where the library fails.
    pub fn with_callbacks(callbacks: TlsAcceptCallbacks) -> Result<Self> {
        Ok(TlsSettings {
            builder: recommended()?,
            callbacks: Some(callbacks),
            files: None,
        })
    }

    /// Kept for programs that call it: handshakes run on the runtime that accepted, which steals
    /// work or has a thread per listener socket; there is nothing to offload to.
    pub fn set_offload_threadpool(&mut self, _shards: usize, _threads_per_shard: usize) {
        log::info!("TLS handshakes run on the service's own threads; the offload pool is not used");
    }

    /// See [`set_offload_threadpool`](TlsSettings::set_offload_threadpool).
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
    /// others is turned away (RFC 7301 section 3.2); one that offers none is not.
    pub fn set_alpn(&mut self, alpn: ALPN) {
        self.builder.set_alpn_select_callback(move |_, offered| {
            alpn.select(offered).ok_or(AlpnError::ALERT_FATAL)
        });
    }

    /// Ends the settings.
    pub(crate) fn build(mut self) -> Result<Acceptor> {
        // A record's header and its payload in one read from the socket.
        self.builder.set_read_ahead(true);
        // Without a context, OpenSSL refuses to resume sessions of clients with certificates.
        self.builder
            .set_session_id_context(b"pingora")
            .or_err(TLS_CONF_ERR, "setting the session context")?;
        Ok(Acceptor(ServerContext {
            acceptor: self.builder.build(),
            callbacks: self.callbacks,
            files: self.files,
        }))
    }
}

fn recommended() -> Result<SslAcceptorBuilder> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())
        .or_err(TLS_CONF_ERR, "making a TLS context")?;
    builder
        .set_min_proto_version(Some(SslVersion::TLS1_2))
        .map_err(|e| Error::because(TLS_CONF_ERR, "setting the lowest TLS version", e))?;
    Ok(builder)
}

impl From<SslAcceptorBuilder> for TlsSettings {
    /// Takes over settings as they are, without callbacks.
    fn from(builder: SslAcceptorBuilder) -> Self {
        TlsSettings {
            builder,
            callbacks: None,
            files: None,
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
            .finish_non_exhaustive()
    }
}
