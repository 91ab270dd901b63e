//! The managed certificates.

use crate::kept::Kept;
use crate::names;
use crate::plan::{Schedule, Step, Validity};
use instant_acme::CertificateIdentifier;
use pingora_core::listeners::tls::{CertificateId, CertificateStore};
use pingora_error::{Error, ErrorType, Result};
use std::time::SystemTime;

/// A list of names, their certificate if there is one, and its next step.
pub(crate) struct Managed {
    pub(crate) key: String,
    pub(crate) names: Vec<String>,
    pub(crate) on_demand: bool,
    pub(crate) schedule: Schedule,
    /// A task is working on it.
    pub(crate) busy: bool,
    /// How often an order for it has failed, over several issuers.
    pub(crate) kept: Option<Kept>,
    pub(crate) identifier: Option<CertificateIdentifier<'static>>,
    id: Option<CertificateId>,
}

impl Managed {
    pub(crate) fn new(names: Vec<String>, on_demand: bool, issuers: usize) -> Self {
        Managed {
            key: names::key(&names),
            names,
            on_demand,
            schedule: Schedule::new(issuers),
            busy: false,
            kept: None,
            identifier: None,
            id: None,
        }
    }

    /// Where the certificate is stored.
    pub(crate) fn storage_key(&self) -> String {
        storage_key(&self.key)
    }

    /// Serves a certificate from now on, instead of the previous one.
    ///
    /// # Errors
    /// If it can't be used; the old one stays.
    pub(crate) fn show(
        &mut self,
        store: &CertificateStore,
        kept: Kept,
        now: SystemTime,
    ) -> Result<()> {
        let id = match self.id {
            Some(id) => {
                store.replace(id, kept.source())?;
                id
            }
            None => store.add(kept.source())?,
        };
        self.id = Some(id);
        let info = store.certificates().into_iter().find(|info| info.id == id);
        let Some(info) = info else {
            return Error::e_explain(ErrorType::InternalError, "a certificate has vanished");
        };
        let validity = Validity {
            not_before: info.not_before,
            not_after: info.not_after,
        };
        // Chance, but the same for all hosts and after each start.
        let [a, b, ..] = info.fingerprint;
        let spread = f64::from(u16::from_be_bytes([a, b])) / f64::from(u16::MAX);
        // Revoked, or for other names than the configured ones: it is served, and replaced at once.
        if kept.names == self.names && !kept.revoked {
            self.schedule.hold(now, validity, spread);
        }
        self.identifier = kept.identifier();
        self.kept = Some(kept);
        Ok(())
    }

    /// Stops serving the certificate.
    pub(crate) fn hide(&mut self, store: &CertificateStore) {
        if let Some(id) = self.id.take() {
            store.remove(id);
        }
        self.kept = None;
    }

    /// It was revoked: another one is due.
    pub(crate) fn revoked(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.revoked = true;
        }
        self.schedule.give_up_held();
    }

    /// The step that is due now, if any.
    pub(crate) fn due(&self, now: SystemTime) -> Option<Step> {
        let (when, step) = self.schedule.next();
        (!self.busy && when <= now).then_some(step)
    }
}

/// Where the certificate with this key is stored.
pub(crate) fn storage_key(key: &str) -> String {
    format!("certificates/{key}")
}
