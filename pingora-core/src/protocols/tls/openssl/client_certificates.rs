//! Client certificates, verified by the library.

use super::authorities::Authorities;
use super::session_scope::SessionScope;
use crate::protocols::tls::TLS_CONF_ERR;
use crate::protocols::tls::certificate::Material;
use crate::protocols::tls::certificate::openssl::is_over;
use crate::protocols::tls::verify::{self, ClientCertificates, ClientVerifier};
use crate::sys::tls as sys;
use crate::sys::tls_context::{ChainVerifier, set_chain_verifier};
use arc_swap::ArcSwapOption;
use openssl::error::ErrorStack;
use openssl::sha::Sha256;
use openssl::ssl::{SslContextBuilder, SslRef, SslVerifyMode};
use openssl::stack::Stack;
use openssl::x509::store::X509Store;
use openssl::x509::{X509, X509Name, X509NameRef, X509StoreContextRef, X509VerifyResult};
use pingora_error::{BError, Error, ErrorType, OrErr, Result};
use std::sync::Arc;
use std::time::SystemTime;

/// The demands of a listener on its clients.
pub(crate) struct ClientDemands {
    wanted: ClientCertificates,
    /// The scope with which the listener began.
    began_with: SessionScope,
    /// The trust that a reload has read, if it differs.
    renewed: Arc<ArcSwapOption<Trust>>,
}

/// The authorities that a listener trusts, read and ready.
struct Trust {
    store: X509Store,
    /// The names of the authorities whose certificates clients are asked for.
    names: Vec<X509Name>,
    scope: SessionScope,
}

impl Trust {
    /// Blocks.
    fn read(wanted: &ClientCertificates) -> Result<Self> {
        let authorities = Authorities::read(&wanted.authorities)?;
        let names = authorities.certificates().iter();
        let names = names.map(|one| one.subject_name().to_owned());
        let names: Result<Vec<X509Name>, ErrorStack> = names.collect();
        Ok(Trust {
            store: authorities
                .store()
                .map_err(unusable("gathering the authorities"))?,
            names: names.map_err(unusable("naming the authorities"))?,
            scope: scope(wanted, &authorities).map_err(unusable("telling them from others"))?,
        })
    }

    fn names(&self) -> Result<Stack<X509Name>, ErrorStack> {
        let mut stack = Stack::new()?;
        for name in &self.names {
            stack.push(X509NameRef::to_owned(name)?)?;
        }
        Ok(stack)
    }
}

/// The scope of sessions: the trusted authorities and all other demands on clients. Ticket keys may be shared
/// with listeners that have other demands.
fn scope(
    wanted: &ClientCertificates,
    authorities: &Authorities,
) -> Result<SessionScope, ErrorStack> {
    let mut hash = Sha256::new();
    hash.update(b"clients");
    hash.update(&[u8::from(wanted.is_required())]);
    hash.update(format!("{:?}", wanted.depth()).as_bytes());
    authorities.identify(&mut hash)?;
    if let Some((name, _)) = &wanted.verifier {
        hash.update(name.as_bytes());
    }
    Ok(SessionScope(hash.finish()))
}

fn unusable(what: &'static str) -> impl FnOnce(ErrorStack) -> BError {
    move |e| Error::because(TLS_CONF_ERR, format!("client certificates: {what}"), e)
}

impl ClientDemands {
    /// Whether these demands can be made. Blocks.
    ///
    /// # Errors
    /// Naming the file that can't be used.
    pub(crate) fn check(wanted: &ClientCertificates) -> Result<()> {
        wanted.check()?;
        Trust::read(wanted).map(drop)
    }

    /// Applies the demands of `wanted` to a listener; returns them with the scope of its sessions. Blocks.
    ///
    /// # Errors
    /// Naming the file that can't be used.
    pub(crate) fn apply(
        wanted: &ClientCertificates,
        builder: &mut SslContextBuilder,
    ) -> Result<(Self, SessionScope)> {
        let trust = Trust::read(wanted)?;
        // Tells the client which certificate to show.
        let names = trust.names().map_err(unusable("naming the authorities"))?;
        builder.set_client_ca_list(names);
        builder
            .set_verify_cert_store(trust.store)
            .map_err(unusable("trusting the authorities"))?;
        if let Some(depth) = wanted.depth {
            // A negative number would have another meaning.
            builder.set_verify_depth(depth.min(i32::MAX.unsigned_abs()));
        }
        let none_is_a_failure = if wanted.required {
            SslVerifyMode::FAIL_IF_NO_PEER_CERT
        } else {
            SslVerifyMode::empty()
        };
        builder.set_verify(SslVerifyMode::PEER | none_is_a_failure);
        if let Some((_, verifier)) = &wanted.verifier {
            set_chain_verifier(builder, judge(verifier.clone()))
                .map_err(unusable("the verifier"))?;
        }
        let demands = ClientDemands {
            wanted: wanted.clone(),
            began_with: trust.scope,
            renewed: Arc::default(),
        };
        Ok((demands, trust.scope))
    }

    /// Makes a new session trust the authorities that were read last, name them to the client, and resume only
    /// sessions that began under the same trust.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` if the library refuses it.
    pub(crate) fn prepare(&self, ssl: &mut SslRef) -> Result<()> {
        let Some(trust) = &*self.renewed.load() else {
            return Ok(());
        };
        let prepared = sys::trust(ssl, &trust.store)
            .and_then(|()| trust.names())
            .map(|names| ssl.set_client_ca_list(names))
            .and_then(|()| trust.scope.apply(ssl));
        prepared.or_err(ErrorType::TLSHandshakeFailure, "trusting the authorities")
    }

    /// Checks what the library does not when a session is resumed: that the client's
    /// certificate has not expired since.
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
        if !self.wanted.authorities.iter().any(Material::is_file) {
            return Ok(None);
        }
        let trust = Trust::read(&self.wanted)?;
        let trust = (trust.scope != self.began_with).then(|| Arc::new(trust));
        let renewed = self.renewed.clone();
        Ok(Some(Box::new(move || renewed.store(trust))))
    }
}

/// The callback that the library runs for each chain.
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
        let accepted = verify::ask(|| verifier.verify(&chain, verdict));
        // The library continues within its call, and must not find the search's errors in the queue.
        sys::forget_errors();
        if accepted {
            context.set_error(X509VerifyResult::OK);
        } else if good {
            context.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
        }
        accepted
    })
}
