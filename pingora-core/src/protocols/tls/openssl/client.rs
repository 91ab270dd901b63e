//! TLS towards upstreams.

use super::TlsRef;
pub(crate) use super::resumption::ClientSession;
use super::resumption::{keep_sessions, offer_session};
use super::stream::SslStream;
use crate::protocols::tls::sessions::{SessionCache, SessionKey};
use crate::protocols::tls::{
    CaType, ClientHandshake, ClientSettings, HandshakeCompleteHook, certificate::CertKey,
};
use crate::protocols::{IO, Stream};
use crate::sys::tls as sys;
use openssl::error::ErrorStack;
use openssl::ssl::{
    ConnectConfiguration, SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode,
    SslVersion,
};
use openssl::x509::X509VerifyResult;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use pingora_error::{BError, Error, ErrorType, OrErr, Result};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What all TLS connections of one connector share: trust, versions, ciphers, sessions to resume.
#[derive(Debug)]
pub(crate) struct ClientContext {
    connector: SslConnector,
    sessions: Arc<SessionCache<ClientSession>>,
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
            builder
                .set_certificate_chain_file(cert)
                .map_err(|e| unusable_file("certificate file", cert, e))?;
            builder
                .set_private_key_file(key, SslFiletype::PEM)
                .map_err(|e| unusable_file("key file", key, e))?;
        }
        if let Some(path) = &settings.keylog_file {
            log_secrets(&mut builder, path)?;
        }
        keep_sessions(&mut builder, settings.sessions.clone())?;
        Ok(ClientContext {
            connector: builder.build(),
            sessions: settings.sessions.clone(),
        })
    }

    /// How many certificates were read that are trusted.
    #[cfg(test)]
    pub(crate) fn trusted(&self) -> usize {
        self.connector
            .context()
            .cert_store()
            .all_certificates()
            .len()
    }

    /// The client's side of the handshake over `stream`. There is no deadline: the caller has one.
    ///
    /// # Errors
    /// `InvalidCert` where the upstream's certificate does not verify, `TLSHandshakeFailure` for
    /// the rest of what may go wrong with the peer, `InternalError` for unusable settings.
    pub(crate) async fn connect<S: IO + 'static>(
        &self,
        stream: S,
        wanted: &ClientHandshake<'_>,
    ) -> Result<Stream> {
        let mut conn = self
            .connector
            .configure()
            .or_err(ErrorType::InternalError, "making a TLS session")?;
        apply(&mut conn, wanted)
            .or_err(ErrorType::InternalError, "applying the peer's TLS options")?;
        verification(&mut conn, wanted)?;
        let key = SessionKey::new(wanted);
        let offered = offer_session(&mut conn, &self.sessions, key);
        let made = handshake(conn, wanted.sni, stream, wanted.complete_hook.cloned()).await;
        match &made {
            Ok(stream) => self.sessions.note(stream.ssl().session_reused()),
            // Whatever went wrong: next time without it.
            Err(_) if offered => self.sessions.forget(&key),
            Err(_) => {}
        }
        Ok(Box::new(made?))
    }
}

/// Trusts the certificates in this file and no others. If there are revocation lists beside them,
/// they are heeded: then each authority that signs an upstream's certificate needs one.
fn trust_file(builder: &mut SslConnectorBuilder, ca: &Path) -> Result<()> {
    // The bindings have put the system's certificates there.
    let empty = X509StoreBuilder::new().map(|store| store.build());
    builder.set_cert_store(empty.or_err(ErrorType::InternalError, "making a store")?);
    builder
        .set_ca_file(ca)
        .map_err(|e| unusable_file("CA file", ca, e))?;
    let text = std::fs::read(ca).or_err_with(ErrorType::FileReadError, || {
        format!("reading the CA file {}", ca.display())
    })?;
    if memchr::memmem::find(&text, b"-----BEGIN X509 CRL-----").is_some() {
        builder
            .cert_store_mut()
            .set_flags(X509VerifyFlags::CRL_CHECK)
            .map_err(|e| unusable_file("CA file", ca, e))?;
    }
    Ok(())
}

fn unusable_file(what: &str, path: &Path, e: ErrorStack) -> BError {
    Error::because(
        ErrorType::FileReadError,
        format!("using the {what} {}", path.display()),
        e,
    )
}

/// Appends each session's secrets to a file, in the format that Wireshark reads.
fn log_secrets(builder: &mut SslConnectorBuilder, path: &Path) -> Result<()> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        // Of a new file: whoever reads it reads the traffic.
        .mode(0o600)
        .open(path)
        .or_err_with(ErrorType::FileOpenError, || {
            format!("opening the TLS key log {}", path.display())
        })?;
    let file = Mutex::new(file);
    builder.set_keylog_callback(move |_, line| {
        let mut file = file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = file.write_all(format!("{line}\n").as_bytes());
    });
    Ok(())
}

/// What the peer's options say besides verification.
fn apply(conn: &mut ConnectConfiguration, wanted: &ClientHandshake<'_>) -> Result<(), ErrorStack> {
    conn.set_use_server_name_indication(!wanted.sni.is_empty());
    // Names are set by `verification`.
    conn.set_verify_hostname(false);
    if let Some(alpn) = wanted.alpn {
        conn.set_alpn_protos(alpn.to_wire())?;
    }
    if let Some(groups) = wanted.curves {
        sys::set_groups(conn, groups)?;
    }
    if let Some(cert_key) = wanted.client_cert {
        show_certificate(conn, cert_key)?;
    }
    if let Some(ca) = wanted.ca {
        trust(conn, ca)?;
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

/// Trusts these certificates and no others, also where they are no roots.
fn trust(conn: &mut TlsRef, ca: &CaType) -> Result<(), ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for cert in ca {
        store.add_cert(cert.clone())?;
    }
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    conn.set_verify_cert_store(store.build())
}

/// Whom the certificate has to be for. The check is left out only where the peer's options say so.
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
        (Some(name), Some(other), _) if ip(name).is_none() && ip(other).is_none() => param
            .set_host(name)
            .and_then(|()| sys::add_host(param, other)),
        (_, Some(name), _) | (Some(name), None, _) => match ip(name) {
            Some(ip) => param.set_ip(ip),
            None => param.set_host(name),
        },
        (None, None, Some(ip)) => param.set_ip(ip),
        (None, None, None) => {
            return Error::e_explain(
                ErrorType::InvalidCert,
                "no name to verify the certificate against: set the peer's sni or \
                 alternative_cn, or turn verify_hostname off",
            );
        }
    };
    set.or_err(ErrorType::InternalError, "setting the name to verify")
}

/// The client's side of the handshake, verified as `conn_config` says. `domain` is the name to ask
/// for.
///
/// # Errors
/// `InvalidCert` where the other side's certificate does not verify, `TLSHandshakeFailure`
/// otherwise.
pub async fn handshake<S: IO>(
    conn_config: ConnectConfiguration,
    domain: &str,
    io: S,
    complete_hook: Option<HandshakeCompleteHook>,
) -> Result<SslStream<S>> {
    let ssl = conn_config
        .into_ssl(domain)
        .or_err(ErrorType::InternalError, "setting the name to ask for")?;
    let mut stream = SslStream::new(ssl, io)?;
    if let Err(e) = stream.connect().await {
        let verified = stream.ssl().verify_result();
        return if verified == X509VerifyResult::OK
            || stream.ssl().verify_mode() == SslVerifyMode::NONE
        {
            Error::e_because(ErrorType::TLSHandshakeFailure, "TLS handshake", e)
        } else {
            let context = format!("certificate: {}", verified.error_string());
            Error::e_because(ErrorType::InvalidCert, context, e)
        };
    }
    if let Some(value) = complete_hook.and_then(|hook| hook(stream.ssl())) {
        stream.set_extension(value);
    }
    Ok(stream)
}
