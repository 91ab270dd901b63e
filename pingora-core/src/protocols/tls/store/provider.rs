//! Certificates that are fetched when the first client asks for their name.

use super::CertificateStore;
use crate::protocols::tls::names::normal;
use futures::future::BoxFuture;
use std::fmt;
use std::sync::Arc;

/// Fills a store while a handshake waits. See [`CertificateStore::set_provider`].
pub trait CertificateProvider: Send + Sync + fmt::Debug {
    /// A client asks for `name`, in lower case and without a dot at its end, for which the store has no
    /// certificate. When the future is ready, the store is asked again in any case; without a certificate for the
    /// name, it chooses the default, or refuses the client.
    ///
    /// Clients make up names as they like: what this costs has to be bounded here, the number of those that
    /// wait included, each of which holds one of the places of
    /// [`set_max_handshakes`](crate::listeners::tls::TlsSettings::set_max_handshakes). The future is dropped
    /// if the client goes away or its time for the handshake is over.
    fn provide<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()>;
}

impl CertificateStore {
    /// Asks `provider` in handshakes for names that the store does not know. `None`, the default: no
    /// provider.
    pub fn set_provider(&self, provider: Option<Arc<dyn CertificateProvider>>) {
        let mut entries = self.entries();
        entries.provider = provider;
        self.show(&entries);
    }

    /// Gives the provider a chance if the store does not know `name`. For backends: to be awaited in each
    /// handshake ahead of [`choose`](Self::choose), for as long as [`waits_for`](Self::waits_for) says so.
    pub async fn prepare(&self, name: &str) {
        let Some(name) = normal(name) else {
            return;
        };
        let provider = {
            let set = self.0.set.load();
            let known = matches!(set.table.find(&name), (Some(_), _) | (_, Some(_)));
            set.provider.clone().filter(|_| !known)
        };
        // A client asks for a host, never for a wildcard.
        if let Some(provider) = provider
            && !name.starts_with('*')
        {
            provider.provide(&name).await;
        }
    }

    /// Whether a client that asks for `name` has to wait for [`prepare`](Self::prepare).
    pub fn waits_for(&self, name: &str) -> bool {
        let set = self.0.set.load();
        set.provider.is_some() && matches!(set.table.find(name), (None, None))
    }
}
