//! Taking a certificate back (RFC 8555 section 7.6).

use crate::issuer::problem;
use crate::kept::Kept;
use crate::managed::storage_key;
use crate::names::{self, ACME_CONF_ERR};
use crate::nonces::with_fresh_nonce;
use crate::service::{Acme, Shared};
use instant_acme::RevocationRequest;
use pingora_error::{Error, ErrorType, OrErr, Result};

/// Why a certificate is revoked (RFC 5280 section 5.3.1): the reasons that its holder may give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RevocationReason {
    /// None is given.
    #[default]
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// The name of its holder has changed.
    AffiliationChanged,
    /// Another certificate takes its place.
    Superseded,
    /// The names are not served any more.
    CessationOfOperation,
}

impl RevocationReason {
    fn code(self) -> instant_acme::RevocationReason {
        use instant_acme::RevocationReason as Code;
        match self {
            RevocationReason::Unspecified => Code::Unspecified,
            RevocationReason::KeyCompromise => Code::KeyCompromise,
            RevocationReason::AffiliationChanged => Code::AffiliationChanged,
            RevocationReason::Superseded => Code::Superseded,
            RevocationReason::CessationOfOperation => Code::CessationOfOperation,
        }
    }
}

impl Acme {
    /// Revokes the certificate whose first name this is, with the authority that has issued it, and has the service obtain
    /// another one at once, with another key; for a name that clients have asked for, its rule is asked again first. Until
    /// then the revoked one is shown, because clients would otherwise get none at all. A certificate that was revoked
    /// before is not an error.
    ///
    /// The request is signed by the account. An authority may not believe an account that a key is compromised, and then
    /// refuses [`KeyCompromise`](RevocationReason::KeyCompromise).
    ///
    /// Other hosts that share the storage take over the new certificate when they look the next time, a day later at most.
    ///
    /// Not cancel-safe: where the future is dropped, the certificate may have been revoked without being replaced; call it
    /// again then.
    ///
    /// # Errors
    /// [`ACME_CONF_ERR`] where there is no such certificate, or nobody knows its issuer any more; `InternalError` where it is
    /// just being obtained, with the reason of the authority where that refuses, or where the storage fails.
    pub async fn revoke(&self, name: &str, reason: RevocationReason) -> Result<()> {
        let name = names::normal(name)?;
        self.shared().revoke(&names::key(&[name]), reason).await
    }
}

impl Shared {
    async fn revoke(&self, key: &str, reason: RevocationReason) -> Result<()> {
        let refused =
            |what: &str| Error::e_explain(ACME_CONF_ERR, format!("revoking {key}: {what}"));
        let place = storage_key(key);
        let Some(lock) = self.storage.try_lock(&place).await? else {
            let text = format!("revoking {key}: it is just being obtained, try again later");
            return Error::e_explain(ErrorType::InternalError, text);
        };
        let Some(mut kept) = self.kept(key).await? else {
            return refused("there is no certificate with this first name");
        };
        let from_there = |issuer: &str| issuer == kept.issuer;
        let mut authorities = self.authorities.iter();
        let Some(authority) = authorities.find(|one| from_there(&one.issuer.directory)) else {
            return refused("its issuer is not among those that are configured");
        };
        let account = authority.account(&*self.storage).await?;
        let request = RevocationRequest {
            certificate: &kept.leaf()?,
            reason: Some(reason.code()),
        };
        match with_fresh_nonce!(account.revoke(&request)) {
            Err(e) if problem(&e) == Some("alreadyRevoked") => {
                log::info!("the certificate for {key} was revoked before");
            }
            done => {
                done.or_err_with(ErrorType::InternalError, || format!("revoking {key}"))?;
                log::warn!("the certificate for {key} is revoked: {reason:?}");
            }
        }
        // After a new start, too, it is replaced at once.
        kept.revoked = true;
        let noted = self.note(&place, &kept).await;
        // Before the one who obtains another is woken: it needs the lock, and would take this for somebody who is at it.
        drop(lock);
        self.revoked_now(key);
        noted
    }

    async fn note(&self, place: &str, kept: &Kept) -> Result<()> {
        self.storage.write(place, &kept.to_value()?).await
    }
}
