//! Certificates with their keys in the form that the library signs with, made once for each.

use crate::protocols::tls::{ChosenCertificate, TLS_CONF_ERR};
use pingora_error::{OrErr, Result};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// A certificate of the store, as rustls shows it: without and with its OCSP response.
pub(super) struct Shown {
    plain: Arc<CertifiedKey>,
    stapled: Option<Arc<CertifiedKey>>,
}

/// A chain, the leaf first, with its key (PKCS #8), all as DER.
///
/// # Errors
/// [`TLS_CONF_ERR`] if the library can't sign with the key.
pub(super) fn certified(
    provider: &CryptoProvider,
    chain: Vec<Box<[u8]>>,
    key: Vec<u8>,
) -> Result<CertifiedKey> {
    let chain = chain
        .into_iter()
        .map(|one| CertificateDer::from(one.into_vec()));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let key = provider.key_provider.load_private_key(key);
    let key = key.or_err(
        TLS_CONF_ERR,
        "the TLS library can't sign with this kind of key",
    )?;
    Ok(CertifiedKey::new(chain.collect(), key))
}

/// This certificate in the form that rustls presents. Made when it is first asked for.
///
/// # Errors
/// As [`certified`].
pub(super) fn shown(
    provider: &CryptoProvider,
    chosen: &ChosenCertificate,
) -> Result<Arc<CertifiedKey>> {
    let made = match chosen.made().get() {
        Some(made) => made.clone(),
        None => {
            let made = Arc::new(make(provider, chosen)?);
            chosen.made().get_or_init(|| made).clone()
        }
    };
    let fresh = || make(provider, chosen);
    let shown = match made.downcast::<Shown>() {
        Ok(shown) => shown,
        // Another backend's: it was there first.
        Err(_) => Arc::new(fresh()?),
    };
    Ok(match &shown.stapled {
        Some(stapled) if chosen.ocsp_response().is_some() => stapled.clone(),
        _ => shown.plain.clone(),
    })
}

fn make(provider: &CryptoProvider, chosen: &ChosenCertificate) -> Result<Shown> {
    let plain = certified(provider, chosen.chain_der(), chosen.key_der()?)?;
    let stapled = chosen.any_ocsp_response().map(|response| {
        let mut stapled = plain.clone();
        stapled.ocsp = Some(response.to_vec());
        Arc::new(stapled)
    });
    Ok(Shown {
        plain: Arc::new(plain),
        stapled,
    })
}
