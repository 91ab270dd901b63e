//! The parameters of handshakes with upstreams that all connections of a connector share.

use super::sessions::{KeptSession, MAX_AGE, SessionCache, SessionKey};
use pingora_error::{ErrorType, OrErr, Result};
use std::any::Any;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

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
