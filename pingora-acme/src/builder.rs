//! Settings.

use crate::answers::DnsProvider;
use crate::issuer::{Authority, Issuer};
use crate::keys::{self, CertificateKey};
use crate::names::{self, ACME_CONF_ERR};
use crate::on_demand::{Desk, OnDemand};
use crate::plan::Challenge;
use crate::service::{Acme, Revoked, Shared, answers};
use crate::storage::Storage;
use pingora_core::listeners::tls::CertificateStore;
use pingora_error::{Error, Result};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Settings of [`Acme`].
pub struct AcmeBuilder {
    store: CertificateStore,
    storage: Arc<dyn Storage>,
    issuers: Vec<Issuer>,
    certificates: Vec<Vec<String>>,
    challenges: Option<Vec<Challenge>>,
    dns: Option<Arc<dyn DnsProvider>>,
    on_demand: Option<OnDemand>,
    key: CertificateKey,
}

impl AcmeBuilder {
    pub(crate) fn new(store: CertificateStore, storage: Arc<dyn Storage>) -> Self {
        AcmeBuilder {
            store,
            storage,
            issuers: vec![],
            certificates: vec![],
            challenges: None,
            dns: None,
            on_demand: None,
            key: CertificateKey::default(),
        }
    }

    /// Adds an authority. The first one is used first; after a failure, the next ones in turn.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// A certificate for these names, all of them in one. `*.` in front stands for one label, and needs
    /// [`dns`](Self::dns). If the list differs from that of the stored certificate, a new one is
    /// obtained.
    pub fn certificate<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.certificates
            .push(names.into_iter().map(Into::into).collect());
        self
    }

    /// Which challenges are answered, the preferred one first. Default: HTTP-01, TLS-ALPN-01, and DNS-01 if
    /// there is a provider that sets records. After a failure, the next one is used.
    pub fn challenges(mut self, challenges: impl IntoIterator<Item = Challenge>) -> Self {
        self.challenges = Some(challenges.into_iter().collect());
        self
    }

    /// The provider that sets records in the DNS.
    pub fn dns(mut self, provider: impl DnsProvider) -> Self {
        self.dns = Some(Arc::new(provider));
        self
    }

    /// Obtains certificates also for names that clients ask for.
    pub fn on_demand(mut self, on_demand: OnDemand) -> Self {
        self.on_demand = Some(on_demand);
        self
    }

    /// The kind of keys. Default: ECDSA with P-256. RSA is for clients that are too old for anything else; it needs the
    /// feature `openssl` or `rustls`.
    pub fn key(mut self, key: CertificateKey) -> Self {
        self.key = key;
        self
    }

    /// Ends the settings. Sends no request yet.
    ///
    /// # Errors
    /// [`ACME_CONF_ERR`] for settings that can't work: an invalid name, a wildcard that can't be proven, no issuer.
    pub fn build(self) -> Result<Acme> {
        let refused = |reason: String| Error::e_explain(ACME_CONF_ERR, reason);
        if self.issuers.is_empty() {
            return refused("there is no issuer".into());
        }
        self.issuers.iter().try_for_each(Issuer::check)?;
        let preference = self.preference();
        if self.key.is_rsa() && !keys::CAN_MAKE_RSA {
            return refused("RSA keys need the feature `openssl` or `rustls`".into());
        }
        if preference.is_empty() {
            return refused("there is no challenge that could be answered".into());
        }
        let mut keys = HashSet::new();
        let mut certificates = vec![];
        for given in &self.certificates {
            let normal = given.iter().map(|name| names::normal(name));
            let normal = normal.collect::<Result<Vec<_>>>()?;
            if normal.is_empty() || !keys.insert(names::key(&normal)) {
                return refused(format!(
                    "{given:?}: a certificate needs a first name of its own"
                ));
            }
            let by_dns = preference.contains(&Challenge::Dns01);
            if let Some(wildcard) = normal.iter().find(|name| name.starts_with('*') && !by_dns) {
                return refused(format!("{wildcard} can only be proven by DNS-01"));
            }
            certificates.push(normal);
        }
        let (desk, requests) = match self.on_demand.map(Desk::new) {
            Some((desk, requests)) => (Some(Arc::new(desk)), Some(requests)),
            None => (None, None),
        };
        if let Some(desk) = &desk {
            self.store.set_provider(Some(desk.clone()));
        }
        let shared = Shared {
            answers: answers(self.store.clone(), self.storage.clone(), self.dns),
            store: self.store,
            storage: self.storage,
            authorities: self.issuers.into_iter().map(Authority::new).collect(),
            preference,
            key: self.key,
            desk,
            revoked: Revoked::default(),
        };
        Ok(Acme::new(shared, certificates, requests))
    }

    fn preference(&self) -> Vec<Challenge> {
        let usual = || vec![Challenge::Http01, Challenge::TlsAlpn01, Challenge::Dns01];
        let mut preference = self.challenges.clone().unwrap_or_else(usual);
        preference.retain(|c| *c != Challenge::Dns01 || self.dns.is_some());
        preference
    }
}

impl fmt::Debug for AcmeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcmeBuilder")
            .field("issuers", &self.issuers)
            .field("certificates", &self.certificates)
            .field("on_demand", &self.on_demand)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiskStorage;
    use pingora_error::Result;

    fn builder() -> (AcmeBuilder, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(directory.path()).unwrap();
        let issuer = Issuer::new("https://acme.example/dir").agree_to_terms();
        let builder = Acme::builder(CertificateStore::new(), storage).issuer(issuer);
        (builder, directory)
    }

    #[test]
    fn what_cant_work_is_refused_at_once() {
        type Change = fn(AcmeBuilder) -> AcmeBuilder;
        let cases: [(Change, &str); 6] = [
            (|b| b.certificate(["127.0.0.1"]), "no name of a host"),
            (|b| b.certificate([""; 0]), "first name"),
            (
                |b| b.certificate(["a.example"]).certificate(["A.example."]),
                "first name",
            ),
            (|b| b.certificate(["*.a.example"]), "DNS-01"),
            (|b| b.challenges([Challenge::Dns01]), "no challenge"),
            (|b| b.issuer(Issuer::new("https://b.example/dir")), "terms"),
        ];
        for (change, reason) in cases {
            let (builder, _directory) = builder();
            let refused: Result<Acme> = change(builder).build();
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains(reason), "{refused}");
        }
        let (builder, _directory) = builder();
        assert!(
            builder
                .certificate(["a.example", "b.example"])
                .build()
                .is_ok()
        );
    }
}
