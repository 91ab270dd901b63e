//! Certificates that clients show, as the library judges them.

use super::loaded::{is_over, read_chain};
use crate::protocols::tls::TLS_CONF_ERR;
use crate::protocols::tls::client_certificates::{ClientCertificates, ClientVerifier};
use crate::protocols::tls::store::Material;
use crate::sys::tls as sys;
use crate::sys::tls_context::{ChainVerifier, set_chain_verifier};
use arc_swap::ArcSwapOption;
use openssl::hash::{Hasher, MessageDigest};
use openssl::ssl::{SslContextBuilder, SslRef, SslVerifyMode};
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::{X509, X509StoreContextRef, X509VerifyResult};
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

/// What a listener keeps of its demands on clients.
pub(crate) struct ClientDemands {
    authorities: Vec<Material>,
    /// What a reload has read.
    renewed: Arc<ArcSwapOption<X509Store>>,
}

impl ClientDemands {
    /// Whether these demands can be made. Blocks.
    ///
    /// # Errors
    /// Naming the file that can't be used.
    pub(crate) fn check(wanted: &ClientCertificates) -> Result<()> {
        wanted.check()?;
        read_authorities(&wanted.authorities).map(drop)
    }

    /// Makes a listener demand what `wanted` says. Blocks. `context` gets what tells such sessions from
    /// others.
    ///
    /// # Errors
    /// Naming the file that can't be used.
    pub(crate) fn apply(
        wanted: &ClientCertificates,
        builder: &mut SslContextBuilder,
        context: &mut Hasher,
    ) -> Result<Self> {
        let refused = |what: &'static str| {
            move |e| Error::because(TLS_CONF_ERR, format!("client certificates: {what}"), e)
        };
        let certificates = read_authorities(&wanted.authorities)?;
        let store = store_of(&certificates).map_err(refused("gathering the authorities"))?;
        builder
            .set_verify_cert_store(store)
            .map_err(refused("trusting the authorities"))?;
        let mut identity = |bytes: &[u8]| context.update(bytes).map_err(refused("the context"));
        identity(&[u8::from(wanted.required)])?;
        for certificate in &certificates {
            // Tells the client which certificate to show.
            builder
                .add_client_ca(certificate)
                .map_err(refused("naming the authorities"))?;
            let digest = certificate.digest(MessageDigest::sha256());
            identity(&digest.map_err(refused("the context"))?)?;
        }
        if let Some(depth) = wanted.depth {
            builder.set_verify_depth(depth);
        }
        let none_is_a_failure = match wanted.required {
            true => SslVerifyMode::FAIL_IF_NO_PEER_CERT,
            false => SslVerifyMode::empty(),
        };
        builder.set_verify(SslVerifyMode::PEER | none_is_a_failure);
        if let Some((name, verifier)) = &wanted.verifier {
            identity(name.as_bytes())?;
            set_chain_verifier(builder, judge(verifier.clone()))
                .map_err(refused("the verifier"))?;
        }
        Ok(ClientDemands {
            authorities: wanted.authorities.clone(),
            renewed: Arc::default(),
        })
    }

    /// Makes a session that was just begun trust what was read last.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` where the library refuses it.
    pub(crate) fn prepare(&self, ssl: &mut SslRef) -> Result<()> {
        let Some(store) = &*self.renewed.load() else {
            return Ok(());
        };
        let trusted = sys::trust(ssl, store);
        trusted.or_err(ErrorType::TLSHandshakeFailure, "trusting the authorities")
    }

    /// Checks what the library does not where a session is resumed: that the time of the client's
    /// certificate is not over by now.
    ///
    /// # Errors
    /// `InvalidCert`.
    pub(crate) fn check_resumed(&self, ssl: &SslRef) -> Result<()> {
        match ssl.peer_certificate() {
            Some(shown) if is_over(&shown, SystemTime::now()) => Error::e_explain(
                ErrorType::InvalidCert,
                "the client resumed a session, but its certificate has expired since",
            ),
            _ => Ok(()),
        }
    }

    /// Reads the files again; what is returned puts them into force. Blocks.
    ///
    /// # Errors
    /// Naming the file that can't be used.
    pub(crate) fn prepare_reload(&self) -> Result<Option<Box<dyn FnOnce() + Send>>> {
        if !self.authorities.iter().any(Material::is_file) {
            return Ok(None);
        }
        let store = store_of(&read_authorities(&self.authorities)?);
        let store = Arc::new(store.or_err(TLS_CONF_ERR, "gathering the authorities")?);
        let renewed = self.renewed.clone();
        Ok(Some(Box::new(move || renewed.store(Some(store)))))
    }
}

fn read_authorities(materials: &[Material]) -> Result<Vec<X509>> {
    let mut all = vec![];
    for material in materials {
        let certificates = read_chain(material, &material.read()?)?;
        if certificates.is_empty() {
            return super::loaded::refused(material, "there is no certificate in it");
        }
        all.extend(certificates);
    }
    Ok(all)
}

fn store_of(certificates: &[X509]) -> Result<X509Store, openssl::error::ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for certificate in certificates {
        store.add_cert(certificate.clone())?;
    }
    Ok(store.build())
}

/// What the library calls for each chain.
fn judge(verifier: Arc<dyn ClientVerifier>) -> ChainVerifier {
    Arc::new(move |context: &mut X509StoreContextRef| {
        let verdict = match context.verify_cert() {
            Ok(true) => Ok(()),
            Ok(false) => Err(context.error().error_string().to_string()),
            Err(e) => Err(e.to_string()),
        };
        let good = verdict.is_ok();
        let chain: Vec<X509> = match context.chain() {
            Some(chain) => chain
                .iter()
                .map(|certificate| certificate.to_owned())
                .collect(),
            None => vec![],
        };
        let asked = catch_unwind(AssertUnwindSafe(|| verifier.verify(&chain, verdict)));
        let accepted = asked.unwrap_or_else(|_| {
            log::error!("the verifier of client certificates panicked; a client was turned away");
            false
        });
        // The library goes on in the middle of a call: what the search has left behind is not its errors.
        sys::forget_errors();
        match accepted {
            true => context.set_error(X509VerifyResult::OK),
            false if good => context.set_error(X509VerifyResult::APPLICATION_VERIFICATION),
            false => {}
        }
        accepted
    })
}
