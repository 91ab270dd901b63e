//! Certificates that clients show, as the library judges them.

use super::trust::{Purpose, Trust};
use crate::protocols::tls::ClientCertificates;
use crate::protocols::tls::certificate::rustls::sha256;
use crate::protocols::tls::x509::Facts;
use pingora_error::{Error, ErrorType, Result};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DistinguishedName, Error as TlsError};
use std::time::SystemTime;

/// The demands of a listener on its clients.
#[derive(Debug)]
pub(super) struct Demands {
    wanted: ClientCertificates,
    trust: Trust,
    /// Tells clients which certificate to show.
    names: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Demands {
    /// Reads the authorities. Blocks.
    ///
    /// # Errors
    /// Naming the file that can't be used.
    pub(super) fn read(
        wanted: &ClientCertificates,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self> {
        wanted.check()?;
        let files = wanted.authorities.iter();
        let files: Result<Vec<_>> = files.map(|file| Ok((file, file.read()?))).collect();
        let trust = Trust::read(files?)?;
        // The library's names have their header; an anchor's are without.
        let names = trust.subjects().map(DistinguishedName::in_sequence);
        Ok(Demands {
            names: names.collect(),
            wanted: wanted.clone(),
            trust,
            algorithms,
        })
    }

    /// The scope of sessions: who is trusted, and what else is demanded of clients. Ticket keys may be shared
    /// with listeners that demand something else.
    pub(super) fn scope(&self) -> [u8; 32] {
        let mut all = b"clients".to_vec();
        all.push(self.wanted.is_required().into());
        all.extend(format!("{:?}", self.wanted.depth()).bytes());
        for part in self.trust.identity() {
            all.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            all.extend(part);
        }
        if let Some((name, _)) = &self.wanted.verifier {
            all.extend(name.bytes());
        }
        sha256(&all)
    }
}

/// The scope of sessions whose clients are not asked for certificates.
pub(super) fn open_scope() -> [u8; 32] {
    sha256(b"clients")
}

/// Checks what the library does not when a session is resumed: that the client's certificate has not
/// expired since.
///
/// # Errors
/// `InvalidCert`.
pub(super) fn check_resumed(shown: &[CertificateDer<'_>]) -> Result<()> {
    let facts = shown.first().and_then(|leaf| Facts::read(leaf));
    if facts.is_some_and(|facts| facts.not_after < SystemTime::now()) {
        return Error::e_explain(
            ErrorType::InvalidCert,
            "the client resumed a session, but its certificate has expired since",
        );
    }
    Ok(())
}

impl ClientCertVerifier for Demands {
    fn client_auth_mandatory(&self) -> bool {
        self.wanted.is_required()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let (depth, algorithms) = (self.wanted.depth(), &self.algorithms);
        let verified = self.trust.verify(
            end_entity,
            intermediates,
            Purpose::Client,
            now,
            depth,
            algorithms,
        );
        let mut chain: Vec<&[u8]> = vec![end_entity];
        match &verified {
            Ok(between) => chain.extend(between.iter().map(|one| &**one)),
            Err(_) => chain.extend(intermediates.iter().map(|one| &**one)),
        }
        let verdict = verified.as_ref().map(|_| ()).map_err(ToString::to_string);
        if self.wanted.judge(&chain, verdict) {
            return Ok(ClientCertVerified::assertion());
        }
        Err(match &verified {
            Err(fault) => fault.to_error(),
            Ok(_) => CertificateError::ApplicationVerificationFailure.into(),
        })
    }

    signature_methods!();
}
