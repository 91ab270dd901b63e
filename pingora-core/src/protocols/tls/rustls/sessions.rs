//! Resuming sessions with upstreams: what the library gives to the cache of the connector, and gets from it.

use super::verify;
use crate::protocols::tls::sessions::MAX_AGE;
use crate::protocols::tls::{ClientSessions, SessionKey};
use rustls::NamedGroup;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

/// The values of the configuration under which a session began. The library resumes it under the very same
/// alone; equal keys of sessions mean that equal ones would have been made.
#[derive(Clone)]
pub(super) struct SessionConfig {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    pub(super) resolver: Arc<dyn ResolvesClientCert>,
}

/// A session that may be resumed.
struct Kept {
    /// Taken out once.
    session: Mutex<Option<Value>>,
    /// Until when, because of the handshake that verified the upstream's certificate. Resuming a session gives
    /// a new one, but verifies nothing.
    limit: Instant,
    origin: SessionConfig,
}

enum Value {
    Tls12(Tls12ClientSessionValue),
    Tls13(Tls13ClientSessionValue),
}

/// The cache as one connection sees it.
pub(super) struct SessionsOfConnection {
    cache: ClientSessions,
    key: SessionKey,
    origin: SessionConfig,
    state: Mutex<State>,
}

struct State {
    /// New sessions are kept until then.
    limit: Instant,
    to_offer: Option<Value>,
    offered: bool,
}

impl SessionsOfConnection {
    /// With a session to offer, if there is one under this key; it goes with the origin that it has, or else with
    /// `origin`.
    pub(super) fn new(cache: ClientSessions, key: SessionKey, origin: SessionConfig) -> Self {
        let mut state = State {
            limit: Instant::now() + MAX_AGE,
            to_offer: None,
            offered: false,
        };
        let kept = cache
            .take(&key)
            .and_then(|kept| kept.downcast::<Kept>().ok());
        let mut used = origin;
        if let Some(kept) = kept {
            let mut session = kept.session.lock().unwrap_or_else(PoisonError::into_inner);
            state.to_offer = match &mut *session {
                Some(Value::Tls12(value)) => Some(Value::Tls12(value.clone())),
                single => single.take(),
            };
            state.offered = state.to_offer.is_some();
            state.limit = state.limit.min(kept.limit);
            used = kept.origin.clone();
        }
        SessionsOfConnection {
            cache,
            key,
            origin: used,
            state: Mutex::new(state),
        }
    }

    /// The values that the connection's configuration must contain.
    pub(super) fn origin(&self) -> SessionConfig {
        self.origin.clone()
    }

    /// The upstream's certificates were verified, and hold until then.
    pub(super) fn verified_until(&self, ends: SystemTime) {
        self.state().limit = limit_of(ends);
    }

    /// Drops what is kept, because a handshake that offered it failed.
    pub(super) fn forget_offered(&self) {
        if self.state().offered {
            self.cache.forget(&self.key);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, value: Value) {
        // In TLS 1.2 a session may come in the same call as the certificates.
        let limit = verify::ends_in_this_call().map(limit_of);
        let limit = limit.unwrap_or_else(|| self.state().limit);
        let single_use = matches!(value, Value::Tls13(_));
        if limit > Instant::now() {
            let kept = Kept {
                session: Mutex::new(Some(value)),
                limit,
                origin: self.origin(),
            };
            self.cache.put(self.key, Arc::new(kept), single_use, limit);
        }
    }
}

/// Until when a session is kept whose certificates hold so long.
fn limit_of(ends: SystemTime) -> Instant {
    let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + left.min(MAX_AGE)
}

impl ClientSessionStore for SessionsOfConnection {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.keep(Value::Tls12(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        match &self.state().to_offer {
            Some(Value::Tls12(value)) => Some(value.clone()),
            _ => None,
        }
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        // Said in TLS 1.3, too, whose tickets stay.
        if matches!(self.state().to_offer, Some(Value::Tls12(_))) {
            self.state().to_offer = None;
            self.cache.forget(&self.key);
        }
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.keep(Value::Tls13(value));
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut state = self.state();
        match state.to_offer.take() {
            Some(Value::Tls13(value)) => Some(value),
            other => {
                state.to_offer = other;
                None
            }
        }
    }
}

impl fmt::Debug for SessionsOfConnection {
    /// Shows nothing of their contents: a session's secrets decrypt its traffic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionsOfConnection")
    }
}
