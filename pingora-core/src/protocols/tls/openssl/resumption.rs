//! Resuming sessions with upstreams: passes sessions between the library and the cache.

use super::TlsRef;
use crate::protocols::tls::library::ClientSession;
use crate::protocols::tls::sessions::{KeptSession, MAX_AGE, SessionCache, SessionKey};
use crate::sys::tls as sys;
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{
    ConnectConfiguration, Ssl, SslConnectorBuilder, SslSessionCacheMode, SslSessionRef,
    SslVerifyMode, SslVersion,
};
use openssl::x509::X509VerifyResult;
use pingora_error::{ErrorType, OrErr, Result};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Where the sessions of a connection come from.
struct SessionSource {
    key: SessionKey,
    /// When the connection was made.
    now: Instant,
    /// When the session that it offers to resume was verified.
    offered: Option<Instant>,
}

/// Where a connection keeps the origin of its sessions.
fn origin_index() -> Result<Index<Ssl, SessionSource>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, SessionSource>> = OnceLock::new();
    match INDEX.get() {
        Some(index) => Ok(*index),
        None => {
            let index = Ssl::new_ex_index()?;
            Ok(*INDEX.get_or_init(|| index))
        }
    }
}

/// Offers a session that was kept under this key, if there is one, and has the new ones kept.
/// Whether one was offered.
pub(super) fn offer_session(
    conn: &mut ConnectConfiguration,
    sessions: &SessionCache<KeptSession>,
    key: SessionKey,
) -> bool {
    let (true, Ok(index)) = (sessions.is_on(), origin_index()) else {
        return false;
    };
    let now = Instant::now();
    let offered = match sessions.take(&key, now) {
        Some(KeptSession::BuiltIn(offered)) => Some(offered),
        _ => None,
    };
    let origin = SessionSource {
        key,
        now,
        offered: offered.as_ref().map(|offered| offered.verified),
    };
    conn.set_ex_data(index, origin);
    offered.is_some_and(|offered| offered.session.offer(conn))
}

/// Keeps each session that an upstream gives us, under the key of its connection. In TLS 1.3 it
/// arrives after the handshake, in front of the data.
pub(super) fn keep_sessions(
    builder: &mut SslConnectorBuilder,
    sessions: Arc<SessionCache<KeptSession>>,
) -> Result<()> {
    let index = origin_index().or_err(
        ErrorType::InternalError,
        "reserving a place for TLS sessions",
    )?;
    let numbered = sys::Session::keep_of(builder);
    numbered.or_err(ErrorType::InternalError, "telling TLS sessions apart")?;
    builder.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
    builder.set_new_session_callback(move |ssl, _| keep(ssl, index, &sessions));
    Ok(())
}

/// Keeps the session of a connection of TLS 1.2 that resumed one. If the upstream has renewed the ticket, the
/// library calls back for nothing, and makes the session that was offered unusable (it takes the renewed one for
/// a replacement in its own cache, which is off).
pub(super) fn keep_resumed(ssl: &TlsRef, sessions: &SessionCache<KeptSession>) {
    let tls_1_3 = ssl.version2() == Some(SslVersion::TLS1_3);
    if let (true, false, Ok(index)) = (ssl.session_reused(), tls_1_3, origin_index()) {
        keep(ssl, index, sessions);
    }
}

fn keep(ssl: &TlsRef, index: Index<Ssl, SessionSource>, sessions: &SessionCache<KeptSession>) {
    let (Some(origin), Some(session)) = (ssl.ex_data(index), ssl.session()) else {
        return;
    };
    let verified = match origin.offered {
        Some(verified) if ssl.session_reused() => verified,
        _ => origin.now,
    };
    let until = (verified + MAX_AGE).min(Instant::now() + lifetime(ssl, session));
    if until <= Instant::now() {
        return;
    }
    let single_use = session.protocol_version() == SslVersion::TLS1_3;
    if let Some(session) = sys::Session::of(ssl) {
        let session = ClientSession { session, verified };
        let session = KeptSession::BuiltIn(session);
        sessions.put(origin.key, session, single_use, until);
    }
}

/// How long a session may be resumed: as long as the upstream says, and at most until the certificates by which
/// it was verified expire.
fn lifetime(ssl: &TlsRef, session: &SslSessionRef) -> Duration {
    let seconds = |seconds: i64| Duration::from_secs(seconds.try_into().unwrap_or(0));
    let limit = seconds(session.timeout()).min(MAX_AGE);
    if ssl.verify_mode() == SslVerifyMode::NONE {
        return limit;
    }
    if ssl.verify_result() != X509VerifyResult::OK {
        return Duration::ZERO;
    }
    let Ok(now) = Asn1Time::days_from_now(0) else {
        return Duration::ZERO;
    };
    let chain = ssl.peer_cert_chain().into_iter().flatten();
    let ends = chain.filter_map(|cert| now.diff(cert.not_after()).ok());
    let left = ends.map(|left| i64::from(left.days) * 24 * 60 * 60 + i64::from(left.secs));
    limit.min(seconds(left.min().unwrap_or(0)))
}
