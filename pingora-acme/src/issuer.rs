//! Authorities, and our accounts with them.

use crate::client::Client;
use crate::names::ACME_CONF_ERR;
use crate::nonces::with_fresh_nonce;
use crate::storage::Storage;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountCredentials, Error as AcmeError, ExternalAccountKey, NewAccount,
};
use pingora_core::connectors::ConnectorOptions;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::fmt;
use tokio::sync::Mutex;

/// An authority that issues certificates by ACME (RFC 8555), and on which terms.
///
/// ```
/// use pingora_acme::Issuer;
///
/// let issuer = Issuer::lets_encrypt()
///     .agree_to_terms()
///     .contact("mailto:admin@one.example")
///     .profile("shortlived");
/// # let _ = issuer;
/// ```
#[derive(Clone)]
pub struct Issuer {
    pub(crate) directory: String,
    contacts: Vec<String>,
    agreed: bool,
    external: Option<(String, String)>,
    pub(crate) profile: Option<String>,
    connector: Option<ConnectorOptions>,
}

impl Issuer {
    /// The authority with this directory, a URL that begins with `https://`.
    pub fn new(directory: impl Into<String>) -> Self {
        Issuer {
            directory: directory.into(),
            contacts: vec![],
            agreed: false,
            external: None,
            profile: None,
            connector: None,
        }
    }

    /// Let's Encrypt.
    pub fn lets_encrypt() -> Self {
        Issuer::new("https://acme-v02.api.letsencrypt.org/directory")
    }

    /// Let's Encrypt for trials: its certificates are not trusted by clients, and its limits are wide.
    pub fn lets_encrypt_staging() -> Self {
        Issuer::new("https://acme-staging-v02.api.letsencrypt.org/directory")
    }

    /// Agrees to the terms of service of the authority; without this it gives no account.
    pub fn agree_to_terms(mut self) -> Self {
        self.agreed = true;
        self
    }

    /// Whom the authority may write to, a URL such as `mailto:admin@one.example`.
    pub fn contact(mut self, url: impl Into<String>) -> Self {
        self.contacts.push(url.into());
        self
    }

    /// The account with the authority that this one belongs to (RFC 8555 section 7.3.4): the id of the key, and the
    /// key in base64url, both as the authority has given them out.
    pub fn external_account(mut self, key_id: impl Into<String>, key: impl Into<String>) -> Self {
        self.external = Some((key_id.into(), key.into()));
        self
    }

    /// Which of its kinds of certificates is wanted, by the name that the authority's directory has for it.
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// How it is connected to, for authorities of one's own:
    /// [`ca_file`](ConnectorOptions::ca_file) sets the trusted authorities.
    pub fn connector(mut self, options: ConnectorOptions) -> Self {
        self.connector = Some(options);
        self
    }

    /// # Errors
    /// [`ACME_CONF_ERR`](crate::ACME_CONF_ERR) for what can't work.
    pub(crate) fn check(&self) -> Result<()> {
        let refused = |reason: &str| {
            Error::e_explain(
                ACME_CONF_ERR,
                format!("the issuer {:?}: {reason}", self.directory),
            )
        };
        let uri = self.directory.parse::<http::Uri>();
        if !uri.is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some()) {
            return refused("its directory has to be a URL that begins with https://");
        }
        if !self.agreed {
            return refused("its terms of service have to be agreed to: Issuer::agree_to_terms");
        }
        if self.external.is_some() && self.external_key().is_none() {
            return refused("the key of the external account is not in base64url");
        }
        Ok(())
    }

    fn external_key(&self) -> Option<ExternalAccountKey> {
        let (id, key) = self.external.as_ref()?;
        let key = BASE64_URL_SAFE_NO_PAD
            .decode(key.trim_end_matches('='))
            .ok()?;
        Some(ExternalAccountKey::new(id.clone(), &key))
    }
}

impl fmt::Debug for Issuer {
    /// Without the key of the external account.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("directory", &self.directory)
            .field("contacts", &self.contacts)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// An issuer with our account there, which is made when it is first needed.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer,
    client: Client,
    account: Mutex<Option<Account>>,
}

impl Authority {
    pub(crate) fn new(issuer: Issuer) -> Self {
        Authority {
            client: Client::new(issuer.connector.clone()),
            issuer,
            account: Mutex::new(None),
        }
    }

    /// Where the account is stored: each directory has a key of its own.
    fn key(&self) -> String {
        let named = |c: char| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        };
        let directory: String = self.issuer.directory.chars().map(named).take(200).collect();
        format!("accounts/{}", directory.trim_start_matches("https---"))
    }

    /// The account: the one in use, the one that is kept, or a new one.
    ///
    /// # Errors
    /// If the storage or the authority fails.
    pub(crate) async fn account(&self, storage: &dyn Storage) -> Result<Account> {
        let mut account = self.account.lock().await;
        if let Some(account) = &*account {
            return Ok(account.clone());
        }
        let key = self.key();
        let made = match storage.read(&key).await? {
            Some(kept) => self.kept(&kept).await?,
            None => {
                let (made, kept) = self.make().await?;
                storage.write(&key, &kept).await?;
                made
            }
        };
        *account = Some(made.clone());
        Ok(made)
    }

    /// The authority does not know the account any more: another one is made when it is next needed.
    pub(crate) async fn forget_account(&self, storage: &dyn Storage) {
        *self.account.lock().await = None;
        if let Err(e) = storage.remove(&self.key()).await {
            log::error!("forgetting an account: {e}");
        }
    }

    async fn kept(&self, kept: &[u8]) -> Result<Account> {
        let context = || format!("the account with {}", self.issuer.directory);
        let credentials: AccountCredentials = serde_json::from_slice(kept)
            .or_err_with(ErrorType::InternalError, || {
                format!("reading {}", context())
            })?;
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        let account = builder.from_credentials(credentials).await;
        account.or_err_with(ErrorType::InternalError, context)
    }

    async fn make(&self) -> Result<(Account, Vec<u8>)> {
        let contacts: Vec<&str> = self.issuer.contacts.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: self.issuer.agreed,
            only_return_existing: false,
        };
        let external = self.issuer.external_key();
        let directory = &self.issuer.directory;
        let made = with_fresh_nonce!({
            let builder = Account::builder_with_http(Box::new(self.client.clone()));
            builder.create(&wanted, directory.clone(), external.as_ref())
        });
        let context = || format!("making an account with {}", self.issuer.directory);
        let (account, credentials) = made.or_err_with(ErrorType::InternalError, context)?;
        let kept =
            serde_json::to_vec(&credentials).or_err_with(ErrorType::InternalError, context)?;
        log::info!("there is an account now with {}", self.issuer.directory);
        Ok((account, kept))
    }
}

/// The type of a problem that an authority has reported, without what all of them begin with.
pub(crate) fn problem(e: &AcmeError) -> Option<&str> {
    match e {
        AcmeError::Api(problem) => problem.r#type.as_deref()?.rsplit(':').next(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cant_work_is_refused() {
        let good = || Issuer::new("https://acme.example/dir").agree_to_terms();
        assert!(good().check().is_ok());
        for (issuer, reason) in [
            (Issuer::new("https://acme.example/dir"), "terms"),
            (
                Issuer::new("http://acme.example/dir").agree_to_terms(),
                "https",
            ),
            (Issuer::new("acme.example").agree_to_terms(), "https"),
            (good().external_account("one", "!"), "base64url"),
        ] {
            let refused = issuer.check().unwrap_err().to_string();
            assert!(refused.contains(reason), "{refused}");
        }
        for key in ["c2VjcmV0", "c2VjcmV0cw", "c2VjcmV0cw=="] {
            assert!(good().external_account("one", key).check().is_ok(), "{key}");
        }
        let shown = format!("{:?}", good().external_account("one", "c2VjcmV0"));
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }

    #[test]
    fn each_authority_has_a_key_of_its_own() {
        let key = |url: &str| Authority::new(Issuer::new(url)).key();
        assert_eq!(
            key("https://acme.example:14000/dir"),
            "accounts/acme.example-14000-dir"
        );
        assert_ne!(key("https://acme.example/a"), key("https://acme.example/b"));
    }
}
