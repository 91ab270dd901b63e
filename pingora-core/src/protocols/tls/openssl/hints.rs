//! The meaning of the library's errors for the operator; the advice itself is in [`hints`].

use super::TlsRef;
use super::handshake_failure::failure;
use crate::protocols::tls::certificate::get_common_name;
use crate::protocols::tls::{ClientHandshake, hints};
use openssl::ssl::Error;
use openssl::x509::X509Ref;
use std::net::IpAddr;

/// A reason above this one is an alert of the other side, by its number (RFC 8446 section 6).
const ALERTS: i32 = 1000;

/// About a handshake with an upstream that did not come to the verdict on its certificate.
pub(super) fn handshake(
    e: &Error,
    sni: &str,
    wanted: Option<&ClientHandshake<'_>>,
) -> Option<String> {
    match hints::handshake(failure(e), sni) {
        Some(hint) => Some(hint.to_string()),
        None => hints::alert(alert_of(e)?, sni, wanted),
    }
}

/// About an error that a read of a complete session gives: in TLS 1.3 an upstream says only then that it
/// does not like our certificate.
pub(super) fn read(e: &Error) -> Option<String> {
    hints::alert(alert_of(e)?, "-", None)
}

/// The number of the alert that the other side sent.
fn alert_of(e: &Error) -> Option<i32> {
    let mut codes = e.ssl_error()?.errors().iter().map(|e| e.reason_code());
    codes
        .find(|code| (ALERTS..ALERTS + 256).contains(code))
        .map(|code| code - ALERTS)
}

/// About a certificate of an upstream that was refused.
pub(super) fn verification(
    ssl: &TlsRef,
    sni: &str,
    wanted: Option<&ClientHandshake<'_>>,
) -> Option<String> {
    /// The numbers of `X509_V_ERR_*`, which are part of the library's interface.
    const NO_ISSUER: [i32; 4] = [2, 19, 20, 21];
    const SELF_SIGNED: i32 = 18;
    const MISMATCHES: [i32; 2] = [62, 64];
    let code = ssl.verify_result().as_raw();
    let hint = match code {
        9 => hints::NOT_YET,
        10 => hints::EXPIRED,
        3 => hints::NO_LIST,
        11 | 12 => hints::OLD_LIST,
        66..=68 => hints::WEAK,
        SELF_SIGNED => hints::SELF_SIGNED,
        _ if NO_ISSUER.contains(&code) => hints::unknown_authority(wanted),
        _ if MISMATCHES.contains(&code) => {
            let leaf = ssl.verified_chain().and_then(|chain| chain.get(0));
            return Some(hints::mismatch(leaf.map_or(vec![], names), sni, wanted));
        }
        _ => return None,
    };
    Some(hint.to_string())
}

/// The names in a certificate.
fn names(certificate: &X509Ref) -> Vec<String> {
    let alternatives = certificate.subject_alt_names();
    let alternatives = alternatives.iter().flatten().filter_map(|name| {
        let ip = || match name.ipaddress()? {
            v4 if v4.len() == 4 => Some(IpAddr::from(<[u8; 4]>::try_from(v4).ok()?).to_string()),
            v6 => Some(IpAddr::from(<[u8; 16]>::try_from(v6).ok()?).to_string()),
        };
        name.dnsname().map(hints::shown).or_else(ip)
    });
    let mut all: Vec<String> = alternatives.collect();
    if all.is_empty() {
        all.extend(get_common_name(&certificate.to_owned()).map(|name| hints::shown(&name)));
    }
    all
}
