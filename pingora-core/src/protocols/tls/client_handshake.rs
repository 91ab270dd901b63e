//! The parameters of a handshake with an upstream, as its peer defines them.

use super::certificate::{self, CertKey, CertificateDer};
use super::{ALPN, CaType, HandshakeCompleteHook, library, names};
use pingora_error::{Error, ErrorType, Result};
use std::net::IpAddr;

/// The parameters of one TLS connection to an upstream.
#[derive(Clone)]
pub struct ClientHandshake<'a> {
    /// Identifies the upstream, as the peer defines it.
    pub(crate) reuse_hash: u64,
    /// Name to ask for; empty sends none.
    pub(crate) sni: &'a str,
    /// The upstream's address, which its certificate must name if there is no other name.
    pub(crate) address: Option<IpAddr>,
    /// Verify the chain of certificates.
    pub(crate) verify_cert: bool,
    /// Verify that the certificate is for the upstream's name. Means nothing without
    /// `verify_cert`.
    pub(crate) verify_hostname: bool,
    /// Another name that the certificate may have.
    pub(crate) alternative_name: Option<&'a str>,
    /// Certificates to trust instead of the connector's.
    pub(crate) ca: Option<&'a CaType>,
    /// Certificate to show instead of the connector's.
    pub(crate) client_cert: Option<&'a CertKey>,
    /// Protocols to offer.
    pub(crate) alpn: Option<&'a ALPN>,
    /// Groups to offer, colon separated.
    pub(crate) curves: Option<&'a str>,
    /// Called when the handshake is complete.
    pub(crate) complete_hook: Option<&'a HandshakeCompleteHook>,
}

impl ClientHandshake<'_> {
    /// The name to ask for (SNI); `None` asks for none. It has passed the rules for names, and may be the text
    /// of an address, which is not sent.
    pub fn server_name(&self) -> Option<&str> {
        (!self.sni.is_empty()).then_some(self.sni)
    }

    /// The upstream's address. The certificate has to be for it if there is no
    /// [`server_name`](Self::server_name) and no [`alternative_name`](Self::alternative_name).
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether the chain of certificates is to be verified.
    pub fn verifies_certificate(&self) -> bool {
        self.verify_cert
    }

    /// Whether the certificate has to be for the upstream's name. If there is no name to verify, the
    /// handshake has to fail.
    pub fn verifies_name(&self) -> bool {
        self.verify_cert && self.verify_hostname
    }

    /// Another name that the certificate may have.
    pub fn alternative_name(&self) -> Option<&str> {
        self.alternative_name
    }

    /// The certificates to trust instead of the connector's, as DER. An empty list trusts no certificate.
    pub fn authorities_der(&self) -> Option<Vec<Box<[u8]>>> {
        let authorities = self.ca?.iter();
        Some(authorities.filter_map(library::to_der).collect())
    }

    /// The certificate to show instead of the connector's: its chain, the leaf first, and its key (PKCS #8),
    /// as DER.
    ///
    /// # Errors
    /// `InternalError` if the library can't write it.
    pub fn client_certificate_der(&self) -> Result<Option<CertificateDer>> {
        self.client_cert.map(certificate::key_to_der).transpose()
    }

    /// The protocols to offer. The upstream's choice has to be one of them.
    pub fn alpn(&self) -> Option<&ALPN> {
        self.alpn
    }

    /// The groups to offer, the preferred one first; `None` leaves them to the library.
    pub fn groups(&self) -> Option<impl Iterator<Item = &str>> {
        self.curves.map(|curves| curves.split(':'))
    }

    /// Refuses values that a library would understand differently from the program that set them. An empty `sni`
    /// is accepted: it means that there is no name.
    ///
    /// # Errors
    /// `InternalError` naming the option.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.sni.is_empty() {
            names::check("sni", self.sni)?;
        }
        if let Some(name) = self.alternative_name {
            names::check("alternative_cn", name)?;
        }
        if let Some(ALPN::Custom(custom)) = self.alpn
            && custom.protocol().is_empty()
        {
            return unusable("alpn names a protocol of no bytes");
        }
        match self.curves {
            Some("") => unusable("curves is empty; None stands for the library's own"),
            Some(curves) if curves.bytes().any(|b| b.is_ascii_control()) => {
                unusable("curves holds a control byte")
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for ClientHandshake<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientHandshake")
            .field("sni", &self.sni)
            .field("verify_cert", &self.verify_cert)
            .field("verify_hostname", &self.verify_hostname)
            .field("alpn", &self.alpn)
            .finish_non_exhaustive()
    }
}

fn unusable(what: &'static str) -> Result<()> {
    Error::e_explain(ErrorType::InternalError, what)
}
