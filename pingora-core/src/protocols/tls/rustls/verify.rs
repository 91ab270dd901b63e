//! The verification of upstreams as peers' options ask for it.

use super::trust::{ChainError, Purpose, Trust, verify_names};
use crate::protocols::tls::x509::Facts;
use crate::protocols::tls::{ClientHandshake, hints};
use pingora_error::{Error, ErrorType, Result};
use rustls::Error as TlsError;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// The reason why an upstream's certificate was rejected, and advice for the operator.
#[derive(Debug)]
pub(super) struct Unverified {
    pub(super) verdict: String,
    pub(super) hint: Option<String>,
}

/// The result of the call into the library that is under way on this thread.
#[derive(Debug, Default)]
pub(super) struct Verification {
    fault: Option<ChainError>,
    /// When the first of the certificates expires that were verified.
    pub(super) ends: Option<SystemTime>,
}

thread_local! {
    static VERIFICATION: RefCell<Verification> = RefCell::default();
}

/// Takes the result since the last call of this on this thread.
pub(super) fn take_verification() -> Verification {
    let taken = VERIFICATION.try_with(RefCell::take);
    taken.unwrap_or_default()
}

/// When the certificates expire that were verified since the last [`take_verification`] on this thread.
pub(super) fn ends_in_this_call() -> Option<SystemTime> {
    let ends = VERIFICATION.try_with(|outcome| outcome.borrow().ends);
    ends.ok().flatten()
}

impl Verification {
    /// The reason for a rejection, if there was one.
    pub(super) fn refusal(&self, wanted: &ClientHandshake<'_>) -> Option<Unverified> {
        self.fault.as_ref().map(|fault| Unverified {
            verdict: fault.to_string(),
            hint: hint(fault, wanted),
        })
    }
}

/// Verifies upstreams as one peer's options ask for it. The library resumes a session only if the verifier is
/// the very value with which it began: so nothing of a single connection is kept in it.
#[derive(Debug)]
pub(super) struct UpstreamVerifier {
    /// The trusted authorities; `None` verifies no chain.
    trust: Option<Arc<Trust>>,
    /// The names of which the certificate has to have one; `None` verifies no name.
    names: Option<Vec<ServerName<'static>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl UpstreamVerifier {
    /// For a connection that wants this.
    ///
    /// # Errors
    /// `InvalidCert` if there is no name to verify.
    pub(super) fn new(
        wanted: &ClientHandshake<'_>,
        trust: Arc<Trust>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self> {
        let names = if wanted.verifies_name() {
            Some(names(wanted)?)
        } else {
            None
        };
        Ok(UpstreamVerifier {
            trust: wanted.verify_cert.then_some(trust),
            names,
            algorithms,
        })
    }

    /// A verifier that rejects every upstream.
    pub(super) fn refusing(algorithms: WebPkiSupportedAlgorithms) -> Self {
        UpstreamVerifier {
            trust: Some(Arc::new(Trust::nobody(false))),
            names: None,
            algorithms,
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), ChainError> {
        let Some(trust) = &self.trust else {
            return Ok(());
        };
        trust.verify(leaf, others, Purpose::Server, now, None, &self.algorithms)?;
        match &self.names {
            Some(names) => verify_names(leaf, names),
            None => Ok(()),
        }
    }
}

/// The names that the certificate may be for: the name or the alternative one, or else the address.
fn names(wanted: &ClientHandshake<'_>) -> Result<Vec<ServerName<'static>>> {
    let sni = (!wanted.sni.is_empty()).then_some(wanted.sni);
    let is_address = |name: &str| name.parse::<IpAddr>().is_ok();
    let texts = match (sni, wanted.alternative_name) {
        (Some(name), Some(other)) if !is_address(name) && !is_address(other) => vec![name, other],
        (_, Some(name)) | (Some(name), None) => vec![name],
        (None, None) => match wanted.address {
            Some(address) => return Ok(vec![ServerName::IpAddress(address.into())]),
            None => {
                return Error::e_explain(
                    ErrorType::InvalidCert,
                    "no name to verify the certificate against: set the peer's sni or \
                     alternative_cn, or turn verify_hostname off",
                );
            }
        },
    };
    texts.into_iter().map(name).collect()
}

/// # Errors
/// `InternalError` for a name that the library does not take for one.
pub(super) fn name(text: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(text.to_string()).map_err(|e| {
        let context = format!("{text:?} names no host for the TLS library");
        Error::because(ErrorType::InternalError, context, e)
    })
}

fn hint(fault: &ChainError, wanted: &ClientHandshake<'_>) -> Option<String> {
    use webpki::Error as E;
    let hint = match fault {
        ChainError::RootNotYet | ChainError::Library(E::CertNotValidYet { .. }) => hints::NOT_YET,
        ChainError::RootExpired | ChainError::Library(E::CertExpired { .. }) => hints::EXPIRED,
        ChainError::Library(E::UnknownRevocationStatus) => hints::NO_LIST,
        ChainError::Library(E::CrlExpired { .. }) => hints::OLD_LIST,
        ChainError::Library(
            E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_),
        ) => hints::WEAK,
        ChainError::SelfSigned if wanted.ca.is_none_or(|ca| !ca.is_empty()) => hints::SELF_SIGNED,
        ChainError::SelfSigned | ChainError::Library(E::UnknownIssuer) => {
            hints::unknown_authority(Some(wanted))
        }
        ChainError::Mismatch { names, .. } => {
            return Some(hints::mismatch(names.clone(), wanted.sni, Some(wanted)));
        }
        _ => return None,
    };
    Some(hint.to_string())
}

impl ServerCertVerifier for UpstreamVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let mut outcome = Verification::default();
        let verdict = match self.verify(end_entity, intermediates, now) {
            Ok(()) => {
                let shown = std::iter::once(end_entity).chain(intermediates);
                let ends = shown.filter_map(|one| Some(Facts::read(one)?.not_after));
                outcome.ends = ends.min().filter(|_| self.trust.is_some());
                Ok(ServerCertVerified::assertion())
            }
            Err(fault) => {
                let error = fault.to_error();
                outcome.fault = Some(fault);
                Err(error)
            }
        };
        // While the thread ends, the result is not needed.
        let _ = VERIFICATION.try_with(|of_thread| of_thread.replace(outcome));
        verdict
    }

    signature_methods!();
}
