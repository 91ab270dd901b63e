//! The trusted authorities and their revocation lists, and the verdict on a chain.

use crate::protocols::tls::certificate::rustls::{read_chain, refused};
use crate::protocols::tls::x509::Facts;
use crate::protocols::tls::{TLS_CONF_ERR, hints};
use pingora_error::{OrErr, Result};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime,
};
use rustls::{CertificateError, Error as TlsError};
use std::fmt;
use std::time::{Duration, SystemTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder, VerifiedPath,
};

/// How the lines around a revocation list end.
const LIST: &[u8] = b"X509 CRL-----";

/// The purpose for which a certificate is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
}

/// Authorities that are trusted, and their revocation lists.
pub(super) struct Trust {
    authorities: Vec<Authority>,
    anchors: Vec<TrustAnchor<'static>>,
    lists: Vec<CertRevocationList<'static>>,
    raw_lists: Vec<Vec<u8>>,
    /// Certificates that are no roots are trusted as what they are, too.
    partial: bool,
}

struct Authority {
    der: CertificateDer<'static>,
    not_before: SystemTime,
    not_after: SystemTime,
    signed_by_itself: bool,
    /// Whether it may sign other certificates, and how many may stand between it and a leaf.
    may_sign: bool,
    path_length: Option<usize>,
}

/// The reason to reject a certificate.
#[derive(Debug)]
pub(super) enum ChainError {
    Library(webpki::Error),
    /// The root's time is over.
    RootExpired,
    RootNotYet,
    SelfSigned,
    /// An authority that may not sign.
    InvalidAuthority,
    TooDeep,
    /// It is for these names.
    Mismatch {
        address: bool,
        names: Vec<String>,
    },
}

impl Trust {
    /// Trusts no authority.
    pub(super) fn nobody(partial: bool) -> Self {
        Trust {
            authorities: vec![],
            anchors: vec![],
            lists: vec![],
            raw_lists: vec![],
            partial,
        }
    }

    /// Those in these PEM files, and the revocation lists beside them.
    ///
    /// # Errors
    /// Naming the file that can't be used.
    pub(super) fn read<N: fmt::Display, B: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (N, B)>,
    ) -> Result<Self> {
        let mut trust = Trust::nobody(false);
        for (name, bytes) in files {
            let bytes = bytes.as_ref();
            let certificates = read_chain(&name, bytes)?;
            if certificates.is_empty() {
                return refused(&name, "there is no certificate in it");
            }
            for certificate in certificates {
                if trust.add(certificate).is_none() {
                    return refused(&name, "a certificate in it can't be that of an authority");
                }
            }
            trust.add_lists(&name, bytes)?;
        }
        Ok(trust)
    }

    fn add_lists(&mut self, name: &dyn fmt::Display, bytes: &[u8]) -> Result<()> {
        let before = self.lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(bytes) {
            let broken = || {
                format!("can't use {name}: a revocation list in it is broken, or not of version 2")
            };
            let list = list.or_err_with(TLS_CONF_ERR, broken)?;
            let parsed = OwnedCertRevocationList::from_der(&list);
            self.lists
                .push(parsed.or_err_with(TLS_CONF_ERR, broken)?.into());
            self.raw_lists.push(list.to_vec());
        }
        let lines = memchr::memmem::find_iter(bytes, LIST).count();
        if lines != 2 * (self.lists.len() - before) {
            return refused(name, "a revocation list in it is broken");
        }
        Ok(())
    }

    /// Those that the system trusts.
    ///
    /// # Errors
    /// If there are none.
    pub(super) fn system() -> Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut trust = Trust::nobody(false);
        // Some systems have certificates that can't be used any more.
        for certificate in found.certs {
            let _ = trust.add(certificate);
        }
        if trust.anchors.is_empty() {
            let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            let errors = errors.join("; ");
            log::warn!(
                "the system trusts no authority; upstreams need a ca of their own: {errors}"
            );
        }
        Ok(trust)
    }

    /// These certificates and no others, even if they are no roots.
    ///
    /// # Errors
    /// If one can't be that of an authority.
    pub(super) fn of_der(certificates: impl IntoIterator<Item = Box<[u8]>>) -> Result<Self> {
        let mut trust = Trust::nobody(true);
        for certificate in certificates {
            if trust
                .add(CertificateDer::from(certificate.into_vec()))
                .is_none()
            {
                return refused(&"the peer's ca", "a certificate in it can't be read");
            }
        }
        Ok(trust)
    }

    fn add(&mut self, der: CertificateDer<'static>) -> Option<()> {
        let facts = Facts::read(&der)?;
        let (not_before, not_after) = (facts.not_before, facts.not_after);
        let signed_by_itself = facts.names_itself();
        let (may_sign, path_length) = (facts.may_be_authority(), facts.path_length());
        let anchor = webpki::anchor_from_trusted_cert(&der).ok()?.to_owned();
        self.anchors.push(anchor);
        self.authorities.push(Authority {
            der,
            not_before,
            not_after,
            signed_by_itself,
            may_sign,
            path_length,
        });
        Some(())
    }

    /// The names of the authorities, each as DER.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.anchors.iter().map(|anchor| anchor.subject.as_ref())
    }

    /// The bytes that distinguish these authorities and lists from others.
    pub(super) fn identity(&self) -> impl Iterator<Item = &[u8]> {
        let certificates = self.authorities.iter().map(|one| one.der.as_ref());
        certificates.chain(self.raw_lists.iter().map(Vec::as_slice))
    }

    /// The verdict on a chain: dates, signatures, what the certificates may be used for, revocation. If it is
    /// good, the certificates behind the leaf up to the authority's are returned.
    pub(super) fn verify<'a>(
        &self,
        leaf: &CertificateDer<'a>,
        others: &[CertificateDer<'a>],
        purpose: Purpose,
        now: UnixTime,
        most_between: Option<u32>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Vec<CertificateDer<'static>>, ChainError> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        if let Some(trusted) = self.as_it_is(leaf) {
            return trusted.check_time(at).map(|()| vec![]);
        }
        let parsed = EndEntityCert::try_from(leaf).map_err(ChainError::Library)?;
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        let too_deep = |path: &VerifiedPath<'_>| {
            let between = path.intermediate_certificates().count();
            most_between.is_some_and(|most| u32::try_from(between).is_ok_and(|n| n > most))
        };
        let unfit = |path: &VerifiedPath<'_>| {
            let mut between = path.intermediate_certificates();
            between.any(|one| Facts::read(&one.der()).is_none_or(|f| !f.may_sign_certificates()))
        };
        let path = parsed
            .verify_for_usage(
                algorithms.all,
                &self.anchors,
                others,
                now,
                match purpose {
                    Purpose::Server => KeyUsage::server_auth(),
                    Purpose::Client => KeyUsage::client_auth(),
                },
                revocation(&lists),
                None,
            )
            .map_err(|e| self.fault(e, leaf, others))?;
        if too_deep(&path) {
            return Err(ChainError::TooDeep);
        }
        if unfit(&path) {
            return Err(ChainError::InvalidAuthority);
        }
        let between = path.intermediate_certificates().count();
        let root = self.check_root(path.anchor(), between, at)?;
        let between = path.intermediate_certificates();
        let between = between.map(|one| one.der().into_owned());
        Ok(between.chain([root.der.clone()]).collect())
    }

    /// The authority that this very certificate is.
    fn as_it_is(&self, leaf: &CertificateDer<'_>) -> Option<&Authority> {
        let mut authorities = self.authorities.iter();
        let found = authorities.find(|one| one.der.as_ref() == leaf.as_ref())?;
        (self.partial || found.signed_by_itself).then_some(found)
    }

    /// Checks what the library does not: that the root itself has not expired, and that it may sign such a chain. If
    /// several certificates have the same name and key, one good one is enough.
    fn check_root(
        &self,
        anchor: &TrustAnchor<'_>,
        between: usize,
        at: SystemTime,
    ) -> Result<&Authority, ChainError> {
        let same = self.anchors.iter().zip(&self.authorities);
        let same = same.filter(|(one, _)| {
            one.subject == anchor.subject
                && one.subject_public_key_info == anchor.subject_public_key_info
        });
        let mut verdict = Err(ChainError::Library(webpki::Error::UnknownIssuer));
        for (_, authority) in same {
            verdict = authority.check(between, at).map(|()| authority);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    fn fault(
        &self,
        e: webpki::Error,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> ChainError {
        let unknown = matches!(
            e,
            webpki::Error::UnknownIssuer | webpki::Error::CaUsedAsEndEntity
        );
        let alone = others.iter().all(|other| other == leaf);
        if unknown && alone && Facts::read(leaf).is_some_and(|facts| facts.names_itself()) {
            return ChainError::SelfSigned;
        }
        ChainError::Library(e)
    }
}

/// If there are revocation lists, they are applied, and each authority that signs a peer's own certificate needs
/// one.
fn revocation<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    let options = options.with_depth(RevocationCheckDepth::EndEntity);
    Some(
        options
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build(),
    )
}

impl Authority {
    /// Whether it may have signed a chain with this many certificates between it and the leaf.
    fn check(&self, between: usize, at: SystemTime) -> Result<(), ChainError> {
        if !self.may_sign {
            return Err(ChainError::InvalidAuthority);
        }
        if self.path_length.is_some_and(|most| between > most) {
            return Err(ChainError::Library(
                webpki::Error::PathLenConstraintViolated,
            ));
        }
        self.check_time(at)
    }

    fn check_time(&self, at: SystemTime) -> Result<(), ChainError> {
        if self.not_after < at {
            return Err(ChainError::RootExpired);
        }
        if at < self.not_before {
            return Err(ChainError::RootNotYet);
        }
        Ok(())
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} authorities)", self.anchors.len())
    }
}

/// Whether a certificate is for one of these names.
///
/// # Errors
/// `Mismatch`.
pub(super) fn verify_names(
    leaf: &CertificateDer<'_>,
    names: &[ServerName<'static>],
) -> Result<(), ChainError> {
    let parsed = EndEntityCert::try_from(leaf).map_err(ChainError::Library)?;
    let is_for = |name: &ServerName<'_>| parsed.verify_is_valid_for_subject_name(name).is_ok();
    if names.iter().any(is_for) {
        return Ok(());
    }
    let facts = Facts::read(leaf);
    let facts = facts.as_ref();
    let hosts = facts.map(Facts::hosts).unwrap_or_default();
    let mut presented: Vec<String> = hosts.iter().map(|host| hints::shown(host)).collect();
    let addresses = facts.map(Facts::addresses).unwrap_or_default();
    presented.extend(addresses.iter().map(ToString::to_string));
    Err(ChainError::Mismatch {
        address: matches!(names, [ServerName::IpAddress(_)]),
        names: presented,
    })
}

impl fmt::Display for ChainError {
    /// In words that OpenSSL has for it, too: logs and their readers know them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use webpki::Error as E;
        f.write_str(match self {
            ChainError::RootExpired | ChainError::Library(E::CertExpired { .. }) => {
                "certificate has expired"
            }
            ChainError::RootNotYet | ChainError::Library(E::CertNotValidYet { .. }) => {
                "certificate is not yet valid"
            }
            ChainError::SelfSigned => "self-signed certificate",
            ChainError::InvalidAuthority | ChainError::Library(E::EndEntityUsedAsCa) => {
                "invalid CA certificate"
            }
            ChainError::TooDeep => "certificate chain too long",
            ChainError::Mismatch { address: true, .. } => "IP address mismatch",
            ChainError::Mismatch { address: false, .. } => "hostname mismatch",
            ChainError::Library(E::UnknownIssuer) => "unable to get local issuer certificate",
            ChainError::Library(E::PathLenConstraintViolated) => "path length constraint exceeded",
            ChainError::Library(E::RequiredEkuNotFoundContext(_)) => {
                "unsuitable certificate purpose"
            }
            ChainError::Library(E::CertRevoked) => "certificate revoked",
            ChainError::Library(E::UnknownRevocationStatus) => "unable to get certificate CRL",
            ChainError::Library(E::CrlExpired { .. }) => "CRL has expired",
            ChainError::Library(E::InvalidSignatureForPublicKey) => "certificate signature failure",
            ChainError::Library(E::CaUsedAsEndEntity) => {
                "the certificate of an authority is used as a server's or client's own"
            }
            ChainError::Library(other) => return fmt::Display::fmt(other, f),
        })
    }
}

impl ChainError {
    /// The library's error, which decides about the alert.
    pub(super) fn to_error(&self) -> TlsError {
        use webpki::Error as E;
        TlsError::InvalidCertificate(match self {
            ChainError::RootExpired | ChainError::Library(E::CertExpired { .. }) => {
                CertificateError::Expired
            }
            ChainError::RootNotYet | ChainError::Library(E::CertNotValidYet { .. }) => {
                CertificateError::NotValidYet
            }
            ChainError::SelfSigned
            | ChainError::InvalidAuthority
            | ChainError::TooDeep
            | ChainError::Library(
                E::UnknownIssuer | E::EndEntityUsedAsCa | E::PathLenConstraintViolated,
            ) => CertificateError::UnknownIssuer,
            ChainError::Library(E::CertRevoked) => CertificateError::Revoked,
            ChainError::Library(E::InvalidSignatureForPublicKey) => CertificateError::BadSignature,
            ChainError::Library(E::UnknownRevocationStatus) => {
                CertificateError::UnknownRevocationStatus
            }
            ChainError::Library(E::CrlExpired { .. }) => CertificateError::ExpiredRevocationList,
            ChainError::Library(E::BadDer | E::BadDerTime) => CertificateError::BadEncoding,
            ChainError::Mismatch { .. } => CertificateError::NotValidForName,
            ChainError::Library(_) => CertificateError::ApplicationVerificationFailure,
        })
    }
}
