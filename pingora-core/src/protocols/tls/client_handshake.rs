//! The parameters of handshakes with upstreams: those of the connector, and those of the peer.

use super::sessions::{KeptSession, MAX_AGE, SessionCache, SessionKey};
use super::{ALPN, CaType, HandshakeCompleteHook, certificate, library, names};
use certificate::CertKey;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::any::Any;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A certificate chain, the leaf first, and its key (PKCS #8), all in DER.
pub type CertificateDer = (Vec<Box<[u8]>>, Vec<u8>);

/// The settings that all TLS connections of one connector share.
#[derive(Clone, Debug, Default)]
pub struct ClientSettings {
    /// Certificates to trust, a PEM file, instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Certificate chain and key to show to upstreams that ask, PEM files.
    pub(crate) cert_key_file: Option<(PathBuf, PathBuf)>,
    /// Where to write the secrets of each session for a debugger, in the format of NSS.
    pub(crate) keylog_file: Option<PathBuf>,
    /// Sessions to resume.
    pub(crate) sessions: Arc<SessionCache<KeptSession>>,
}

impl ClientSettings {
    /// The PEM file with the certificates to trust instead of the system's; revocation lists in it have to be
    /// applied.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The PEM files with the certificate chain and the key to show to upstreams that ask.
    pub fn certificate_files(&self) -> Option<(&Path, &Path)> {
        let (chain, key) = self.cert_key_file.as_ref()?;
        Some((chain, key))
    }

    /// Opens the file for the secrets of sessions, if one is wanted. Blocks.
    ///
    /// # Errors
    /// `FileOpenError` naming the file.
    pub fn key_log(&self) -> Result<Option<KeyLog>> {
        self.keylog_file.as_deref().map(KeyLog::open).transpose()
    }

    /// The sessions that may be resumed.
    pub fn sessions(&self) -> ClientSessions {
        ClientSessions(self.sessions.clone())
    }
}

/// Sessions with upstreams that may be resumed, as values of a backend's own type. Bounded in number for the connector
/// (1024 by default) and for each upstream (8), and in age (two hours).
#[derive(Clone, Debug)]
pub struct ClientSessions(Arc<SessionCache<KeptSession>>);

impl ClientSessions {
    /// A session to offer. One for a single use is taken out.
    pub fn take(&self, key: &SessionKey) -> Option<Arc<dyn Any + Send + Sync>> {
        match self.0.take(key, Instant::now())? {
            KeptSession::Other(session) => Some(session),
            KeptSession::BuiltIn(_) => None,
        }
    }

    /// Keeps a session until `until`, two hours at most. A session that results from a resumption must not be
    /// kept longer than the one in whose handshake the upstream's certificate was verified. `single_use`: as
    /// tickets of TLS 1.3 (RFC 8446 appendix C.4).
    pub fn put(
        &self,
        key: SessionKey,
        session: Arc<dyn Any + Send + Sync>,
        single_use: bool,
        until: Instant,
    ) {
        let until = until.min(Instant::now() + MAX_AGE);
        self.0
            .put(key, KeptSession::Other(session), single_use, until);
    }

    /// Drops the sessions under this key, because a handshake that offered one failed.
    pub fn forget(&self, key: &SessionKey) {
        self.0.forget(key);
    }

    /// Whether sessions are kept. With a capacity of 0, none is offered and none has to be stored here.
    pub fn is_on(&self) -> bool {
        self.0.is_on()
    }

    /// Counts a complete handshake, for
    /// [`tls_handshake_counts`](crate::connectors::TransportConnector::tls_handshake_counts).
    pub fn note(&self, resumed: bool) {
        self.0.note(resumed);
    }
}

/// A file with the secrets of sessions, in the format that Wireshark reads.
#[derive(Debug)]
pub struct KeyLog(Mutex<File>);

impl KeyLog {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            // For a new file: its secrets decrypt the traffic.
            .mode(0o600)
            .open(path)
            .or_err_with(ErrorType::FileOpenError, || {
                format!("opening the TLS key log {}", path.display())
            })?;
        Ok(KeyLog(Mutex::new(file)))
    }

    /// Appends a line, which is given without its end. A failure is not reported.
    pub fn write(&self, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// The parameters of one TLS connection to an upstream.
#[derive(Clone)]
pub struct ClientHandshake<'a> {
    /// Identifies the upstream, as the peer defines it.
    pub(crate) reuse_hash: u64,
    /// Name to ask for; empty sends none.
    pub(crate) sni: &'a str,
    /// The upstream's address, which its certificate must name if there is no other name.
    pub(crate) address: Option<IpAddr>,
    /// Verify the chain of certificates.
    pub(crate) verify_cert: bool,
    /// Verify that the certificate is for the upstream's name. Means nothing without
    /// `verify_cert`.
    pub(crate) verify_hostname: bool,
    /// Another name that the certificate may have.
    pub(crate) alternative_name: Option<&'a str>,
    /// Certificates to trust instead of the connector's.
    pub(crate) ca: Option<&'a CaType>,
    /// Certificate to show instead of the connector's.
    pub(crate) client_cert: Option<&'a CertKey>,
    /// Protocols to offer.
    pub(crate) alpn: Option<&'a ALPN>,
    /// Groups to offer, colon separated.
    pub(crate) curves: Option<&'a str>,
    /// Called when the handshake is complete.
    pub(crate) complete_hook: Option<&'a HandshakeCompleteHook>,
}

impl ClientHandshake<'_> {
    /// The name to ask for (SNI); `None` asks for none. It has passed the rules for names, and may be the text
    /// of an address, which is not sent.
    pub fn server_name(&self) -> Option<&str> {
        (!self.sni.is_empty()).then_some(self.sni)
    }

    /// The upstream's address. The certificate has to be for it if there is no
    /// [`server_name`](Self::server_name) and no [`alternative_name`](Self::alternative_name).
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether the chain of certificates is to be verified.
    pub fn verifies_certificate(&self) -> bool {
        self.verify_cert
    }

    /// Whether the certificate has to be for the upstream's name. If there is no name to verify, the
    /// handshake has to fail.
    pub fn verifies_name(&self) -> bool {
        self.verify_cert && self.verify_hostname
    }

    /// Another name that the certificate may have.
    pub fn alternative_name(&self) -> Option<&str> {
        self.alternative_name
    }

    /// The certificates to trust instead of the connector's, as DER. An empty list trusts no certificate.
    pub fn authorities_der(&self) -> Option<Vec<Box<[u8]>>> {
        let authorities = self.ca?.iter();
        Some(authorities.filter_map(library::to_der).collect())
    }

    /// The certificate to show instead of the connector's: its chain, the leaf first, and its key (PKCS #8),
    /// as DER.
    ///
    /// # Errors
    /// `InternalError` if the library can't write it.
    pub fn client_certificate_der(&self) -> Result<Option<CertificateDer>> {
        self.client_cert.map(certificate::key_to_der).transpose()
    }

    /// The protocols to offer. The upstream's choice has to be one of them.
    pub fn alpn(&self) -> Option<&ALPN> {
        self.alpn
    }

    /// The groups to offer, the preferred one first; `None` leaves them to the library.
    pub fn groups(&self) -> Option<impl Iterator<Item = &str>> {
        self.curves.map(|curves| curves.split(':'))
    }

    /// Where sessions with this upstream are kept. Equal keys mean that the connections are verified in the
    /// same way, show the same certificate and offer the same.
    pub fn session_key(&self) -> SessionKey {
        SessionKey::new(self)
    }

    /// Refuses values that a library would understand differently from the program that set them. An empty `sni`
    /// is accepted: it means that there is no name.
    ///
    /// # Errors
    /// `InternalError` naming the option.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.sni.is_empty() {
            names::check("sni", self.sni)?;
        }
        if let Some(name) = self.alternative_name {
            names::check("alternative_cn", name)?;
        }
        if let Some(ALPN::Custom(custom)) = self.alpn
            && custom.protocol().is_empty()
        {
            return unusable("alpn names a protocol of no bytes");
        }
        match self.curves {
            Some("") => unusable("curves is empty; None stands for the library's own"),
            Some(curves) if curves.bytes().any(|b| b.is_ascii_control()) => {
                unusable("curves holds a control byte")
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for ClientHandshake<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientHandshake")
            .field("sni", &self.sni)
            .field("verify_cert", &self.verify_cert)
            .field("verify_hostname", &self.verify_hostname)
            .field("alpn", &self.alpn)
            .finish_non_exhaustive()
    }
}

fn unusable(what: &'static str) -> Result<()> {
    Error::e_explain(ErrorType::InternalError, what)
}
