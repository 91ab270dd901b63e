//! TLS towards upstreams.

use super::authorities::Authorities;
use super::resumption::{keep_resumed, keep_sessions, offer_session};
use super::stream::SslStream;
use super::{TlsRef, hints};
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::backend::{ClientBackend, TlsConnector};
use crate::protocols::tls::certificate::{CertKey, LoadedCertificate, Material};
use crate::protocols::tls::sessions::{KeptSession, SessionCache, SessionKey};
use crate::protocols::tls::{
    CaType, CertificateSource, ClientHandshake, ClientSettings, HandshakeCompleteHook, names,
};
use crate::protocols::{IO, Stream};
use crate::sys::tls as sys;
use futures::future::BoxFuture;
use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;
use openssl::ssl::{
    ConnectConfiguration, SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode, SslVersion,
};
use openssl::x509::X509VerifyResult;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags, X509VerifyParamRef};
use pingora_error::{BError, Error, ErrorType, OrErr, Result};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The state that all TLS connections of one connector share: trust, versions, ciphers, sessions to resume.
#[derive(Debug)]
pub(crate) struct ClientContext {
    connector: SslConnector,
    sessions: Arc<SessionCache<KeptSession>>,
}

impl ClientContext {
    /// # Errors
    /// `FileReadError` naming the file that can't be used, `InternalError` for the rest.
    pub(crate) fn new(settings: &ClientSettings) -> Result<Self> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())
            .or_err(ErrorType::InternalError, "making a TLS context")?;
        builder
            .set_min_proto_version(Some(SslVersion::TLS1_2))
            .or_err(ErrorType::InternalError, "setting the lowest TLS version")?;
        // A record's header and its payload in one read from the socket.
        builder.set_read_ahead(true);
        if let Some(ca) = &settings.ca_file {
            trust_file(&mut builder, ca)?;
        }
        if let Some((cert, key)) = &settings.cert_key_file {
            show_files(&mut builder, cert, key)?;
        }
        if let Some(log) = settings.key_log()? {
            builder.set_keylog_callback(move |_, line| log.write(line));
        }
        keep_sessions(&mut builder, settings.sessions.clone())?;
        Ok(ClientContext {
            connector: builder.build(),
            sessions: settings.sessions.clone(),
        })
    }

    /// The number of trusted certificates that were read.
    #[cfg(test)]
    pub(crate) fn trusted(&self) -> usize {
        self.connector
            .context()
            .cert_store()
            .all_certificates()
            .len()
    }

    async fn handshake(&self, stream: L4Stream, wanted: &ClientHandshake<'_>) -> Result<Stream> {
        let mut conn = self
            .connector
            .configure()
            .or_err(ErrorType::InternalError, "making a TLS session")?;
        apply(&mut conn, wanted)?;
        verification(&mut conn, wanted)?;
        let key = SessionKey::new(wanted);
        let offered = offer_session(&mut conn, &self.sessions, key);
        let made = connect(conn, wanted.sni, stream, Some(wanted)).await;
        match &made {
            Ok(stream) => {
                keep_resumed(stream.ssl(), &self.sessions);
                self.sessions.note(stream.ssl().session_reused());
            }
            // For any reason of failure, the next handshake does not offer the session.
            Err(_) if offered => self.sessions.forget(&key),
            Err(_) => {}
        }
        let mut stream = made?;
        complete(&mut stream, wanted.complete_hook);
        Ok(Box::new(stream))
    }
}

impl TlsConnector for ClientContext {
    fn connect<'a>(
        &'a self,
        stream: L4Stream,
        wanted: &'a ClientHandshake<'a>,
    ) -> BoxFuture<'a, Result<Stream>> {
        Box::pin(self.handshake(stream, wanted))
    }
}

/// OpenSSL as the backend of connectors that were given no other.
#[derive(Debug)]
pub(crate) struct BuiltInClient;

impl ClientBackend for BuiltInClient {
    fn name(&self) -> &'static str {
        "openssl"
    }

    fn build(&self, settings: &ClientSettings) -> Result<Box<dyn TlsConnector>> {
        Ok(Box::new(ClientContext::new(settings)?))
    }
}

/// Trusts the certificates in this file and no others. If there are revocation lists beside them,
/// they are applied: then each authority that signs an upstream's certificate needs one.
fn trust_file(builder: &mut SslConnectorBuilder, ca: &Path) -> Result<()> {
    let unusable = || "ca_file, the authorities of upstreams";
    let read = Authorities::read(&[Material::file(ca)]);
    let authorities = read.or_err_with(ErrorType::FileReadError, unusable)?;
    let store = authorities.store();
    // Replaces the system's certificates, which the bindings have put there.
    builder.set_cert_store(store.or_err_with(ErrorType::FileReadError, unusable)?);
    Ok(())
}

/// Presents the certificate in these files to upstreams that ask for one.
fn show_files(builder: &mut SslConnectorBuilder, cert: &Path, key: &Path) -> Result<()> {
    let unusable = || "cert_key_file, the certificate for upstreams";
    let loaded = LoadedCertificate::load(&CertificateSource::files(cert, key));
    let loaded = loaded.or_err_with(ErrorType::FileReadError, unusable)?;
    let installed = loaded.install(builder);
    installed.or_err_with(ErrorType::FileReadError, unusable)
}

/// Applies the peer's options except those for verification.
fn apply(conn: &mut ConnectConfiguration, wanted: &ClientHandshake<'_>) -> Result<()> {
    let option = |name: &'static str| move || format!("applying the peer's {name}");
    conn.set_use_server_name_indication(!wanted.sni.is_empty());
    // Names are set by `verification`.
    conn.set_verify_hostname(false);
    if let Some(alpn) = wanted.alpn {
        conn.set_alpn_protos(alpn.to_wire())
            .or_err_with(ErrorType::InternalError, option("alpn"))?;
    }
    if let Some(groups) = wanted.curves {
        sys::set_groups(conn, groups).or_err_with(ErrorType::InternalError, option("curves"))?;
    }
    if let Some(cert_key) = wanted.client_cert {
        show_certificate(conn, cert_key)
            .or_err_with(ErrorType::InternalError, option("client_cert_key"))?;
    }
    if let Some(ca) = wanted.ca {
        trust(conn, ca).or_err_with(ErrorType::InternalError, option("ca"))?;
    }
    Ok(())
}

fn show_certificate(conn: &mut TlsRef, cert_key: &CertKey) -> Result<(), ErrorStack> {
    conn.set_certificate(cert_key.leaf())?;
    conn.set_private_key(cert_key.key())?;
    for cert in cert_key.intermediates() {
        conn.add_chain_cert(cert.clone())?;
    }
    Ok(())
}

/// Trusts these certificates and no others, even if they are no roots.
fn trust(conn: &mut TlsRef, ca: &CaType) -> Result<(), ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for cert in ca {
        store.add_cert(cert.clone())?;
    }
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    conn.set_verify_cert_store(store.build())
}

/// Sets the names that the certificate may be for. The check is skipped only if the peer's options say so.
fn verification(conn: &mut ConnectConfiguration, wanted: &ClientHandshake<'_>) -> Result<()> {
    if !wanted.verify_cert {
        conn.set_verify(SslVerifyMode::NONE);
        return Ok(());
    }
    conn.set_verify(SslVerifyMode::PEER);
    if !wanted.verify_hostname {
        return Ok(());
    }
    let param = conn.param_mut();
    param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
    let sni = (!wanted.sni.is_empty()).then_some(wanted.sni);
    let ip = |name: &str| name.parse::<IpAddr>().ok();
    let set = match (sni, wanted.alternative_name, wanted.address) {
        // The library wants a certificate that satisfies a name and an address if it is given
        // both; "either" works among names only, so the alternative takes the address's place.
        (Some(name), Some(other), _) if ip(name).is_none() && ip(other).is_none() => {
            add_name(param, name).and_then(|()| add_name(param, other))
        }
        (_, Some(name), _) | (Some(name), None, _) => match ip(name) {
            Some(ip) => param.set_ip(ip).map_err(Into::into),
            None => add_name(param, name),
        },
        (None, None, Some(ip)) => param.set_ip(ip).map_err(Into::into),
        (None, None, None) => {
            return Error::e_explain(
                ErrorType::InvalidCert,
                "no name to verify the certificate against: set the peer's sni or \
                 alternative_cn, or turn verify_hostname off",
            );
        }
    };
    set.or_err(
        ErrorType::InternalError,
        "setting the name to verify, of the peer's sni or alternative_cn",
    )
}

/// Adds a name that the certificate may have.
///
/// In this library, a wildcard stands for letters, digits and hyphens only. For a name with an underscore in
/// its first label, a second name with a secret label under the same parent is accepted: only a wildcard
/// matches it.
fn add_name(param: &mut X509VerifyParamRef, name: &str) -> io::Result<()> {
    sys::add_host(param, name)?;
    match (names::parent_of_underscored(name), secret_label()) {
        (Some(parent), Some(label)) => sys::add_host(param, &format!("{label}.{parent}")),
        _ => Ok(()),
    }
}

/// A label that no host has: it is random and never disclosed. `None` if there is no randomness.
fn secret_label() -> Option<&'static str> {
    static LABEL: OnceLock<Option<String>> = OnceLock::new();
    let made = LABEL.get_or_init(|| {
        let mut random = [0; 16];
        rand_bytes(&mut random).ok()?;
        Some(random.iter().map(|byte| format!("{byte:02x}")).collect())
    });
    made.as_deref()
}

/// The client's side of the handshake, verified as `conn_config` says. `domain` is the name to ask
/// for, or an IP address, which is not asked for.
///
/// # Errors
/// `InternalError` if `domain` is neither. `InvalidCert` if the other side's certificate does not
/// verify, `TLSHandshakeFailure` otherwise.
pub async fn handshake<S: IO>(
    conn_config: ConnectConfiguration,
    domain: &str,
    io: S,
    complete_hook: Option<HandshakeCompleteHook>,
) -> Result<SslStream<S>> {
    // For the library, an empty one would mean: verify no name.
    names::check("domain", domain)?;
    let mut stream = connect(conn_config, domain, io, None).await?;
    complete(&mut stream, complete_hook.as_ref());
    Ok(stream)
}

/// `wanted` has the parameters of the connection, if they are known.
async fn connect<S: IO>(
    conn_config: ConnectConfiguration,
    domain: &str,
    io: S,
    wanted: Option<&ClientHandshake<'_>>,
) -> Result<SslStream<S>> {
    let ssl = conn_config
        .into_ssl(domain)
        .or_err(ErrorType::InternalError, "setting the name to ask for")?;
    let mut stream = SslStream::new(ssl, io)?;
    match stream.connect().await {
        Ok(()) => check_protocol(stream.ssl(), wanted).map(|()| stream),
        Err(e) => Err(failed(stream.ssl(), domain, e, wanted)),
    }
}

/// The error of a failed handshake, with advice.
#[cold]
fn failed(
    ssl: &TlsRef,
    domain: &str,
    e: openssl::ssl::Error,
    wanted: Option<&ClientHandshake<'_>>,
) -> BError {
    let verified = ssl.verify_result();
    let no_verdict = verified == X509VerifyResult::OK || ssl.verify_mode() == SslVerifyMode::NONE;
    let (etype, mut context, hint) = if no_verdict {
        let hint = hints::handshake(&e, domain, wanted);
        (
            ErrorType::TLSHandshakeFailure,
            "TLS handshake".to_string(),
            hint,
        )
    } else {
        let context = format!("certificate: {}", verified.error_string());
        let hint = hints::verification(ssl, domain, wanted);
        (ErrorType::InvalidCert, context, hint)
    };
    if let Some(hint) = hint {
        context += &format!(" (hint: {hint})");
    }
    Error::because(etype, context, e)
}

/// Checks what some versions of the library do not: that the other side chose a protocol that was offered.
fn check_protocol(ssl: &TlsRef, wanted: Option<&ClientHandshake<'_>>) -> Result<()> {
    let (Some(chosen), Some(wanted)) = (ssl.selected_alpn_protocol(), wanted) else {
        return Ok(());
    };
    if wanted.alpn.is_some_and(|alpn| alpn.offers(chosen)) {
        return Ok(());
    }
    let chosen = chosen.escape_ascii();
    Error::e_explain(
        ErrorType::TLSHandshakeFailure,
        format!("the upstream chose the protocol {chosen}, which was not offered"),
    )
}

fn complete<S>(stream: &mut SslStream<S>, hook: Option<&HandshakeCompleteHook>) {
    if let Some(value) = hook.and_then(|hook| hook(stream.ssl())) {
        stream.set_extension(value);
    }
}
