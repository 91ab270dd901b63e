//! OCSP responses that are stapled to a certificate (RFC 6066 section 8, RFC 6960), if OpenSSL is not
//! compiled in.

use super::pem::refused;
use crate::protocols::tls::certificate::material::Material;
use crate::protocols::tls::x509::{Der, Facts, time, wrapped};
use pingora_error::Result;
use sha1_smol::Sha1;
use std::time::{Duration, SystemTime};

/// How far clocks may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A response as it goes to clients, and when it is out of date.
pub(super) struct Staple {
    der: Box<[u8]>,
    /// From when and until when it is good; `None` if the certificate's issuer is not known.
    dates: Option<(SystemTime, Option<SystemTime>)>,
}

/// The statement of a response about one certificate.
struct Statement<'a> {
    serial: &'a [u8],
    issuer_name_hash: &'a [u8],
    issuer_key_hash: &'a [u8],
    /// 0x80 is "good".
    status: u8,
    this_update: SystemTime,
    next_update: Option<SystemTime>,
}

impl Staple {
    /// Reads a response and checks that it says something good about `leaf`. `issuer` is the certificate
    /// after it in the chain. Blocks.
    ///
    /// # Errors
    /// One line that names the file, and what is wrong with it.
    pub(super) fn read(
        material: &Material,
        leaf: &Facts<'_>,
        issuer: Option<&Facts<'_>>,
    ) -> Result<Self> {
        let der = material.read()?;
        let (status, statements) = match parse(&der) {
            Some(parsed) => parsed,
            None => return refused(material, "no OCSP response in the DER format"),
        };
        if status != 0 {
            return refused(material, "it is the responder's word that it can't answer");
        }
        let mut dates = None;
        if let Some(issuer) = issuer {
            let name = Sha1::from(wrapped_name(issuer)).digest().bytes();
            let key = Sha1::from(issuer.public_key()).digest().bytes();
            let ours = statements.iter().find(|one| {
                one.serial == leaf.raw_serial()
                    && one.issuer_name_hash == name
                    && one.issuer_key_hash == key
            });
            match ours {
                None => return refused(material, "it is about another certificate"),
                Some(one) if one.status != 0x80 => {
                    return refused(material, "the certificate was revoked, or is not known");
                }
                Some(one) => dates = Some((one.this_update, one.next_update)),
            }
        }
        let staple = Staple {
            der: der.into(),
            dates,
        };
        if staple.response(SystemTime::now()).is_none() {
            // Not refused: the certificate is good without it, and its time may be yet to come.
            log::warn!("{material} is out of date and not stapled");
        }
        Ok(staple)
    }

    /// The response, whether it is good or not.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The response, as long as it is good.
    pub(super) fn response(&self, now: SystemTime) -> Option<&[u8]> {
        if let Some((from, until)) = self.dates {
            let begun = from <= now + CLOCK_SKEW;
            let over = until.is_some_and(|until| until + CLOCK_SKEW < now);
            if !begun || over {
                return None;
            }
        }
        Some(&self.der)
    }
}

/// The issuer's name with its header, of which the hash is made.
fn wrapped_name(issuer: &Facts<'_>) -> Vec<u8> {
    wrapped(0x30, issuer.raw_subject())
}

/// The status of a response, and what it says (RFC 6960 section 4.2.1).
fn parse(der: &[u8]) -> Option<(u8, Vec<Statement<'_>>)> {
    let mut response = Der(der).sequence()?;
    let status = *response.expect(0x0a)?.first()?;
    let Some(bytes) = response.optional(0xa0) else {
        return Some((status, vec![]));
    };
    let mut bytes = Der(bytes).sequence()?;
    let _kind = bytes.expect(6)?;
    let mut data = Der(bytes.expect(4)?).sequence()?.sequence()?;
    let _version = data.optional(0xa0);
    // The responder, by name or by key.
    let (_responder, _produced_at) = (data.next()?, data.next()?);
    let mut all = data.sequence()?;
    let mut statements = vec![];
    while let Some(mut one) = all.sequence() {
        let mut id = one.sequence()?;
        let _algorithm = id.sequence()?;
        let (issuer_name_hash, issuer_key_hash) = (id.expect(4)?, id.expect(4)?);
        let serial = id.expect(2)?;
        let (status, _) = one.next()?;
        let this_update = time(one.next()?)?;
        let next_update = match one.optional(0xa0) {
            Some(date) => Some(time(Der(date).next()?)?),
            None => None,
        };
        statements.push(Statement {
            serial,
            issuer_name_hash,
            issuer_key_hash,
            status,
            this_update,
            next_update,
        });
    }
    Some((status, statements))
}
