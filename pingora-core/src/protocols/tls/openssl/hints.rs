//! Advice for the operator about an upstream whose handshake fails. The library's own words only say what
//! went wrong inside of it.

use super::TlsRef;
use super::faults::failure;
use crate::protocols::tls::certificate::get_common_name;
use crate::protocols::tls::{ALPN, ClientHandshake, HandshakeFailure};
use openssl::ssl::Error;
use openssl::x509::X509Ref;
use std::net::IpAddr;

/// As many names of a certificate are shown.
const NAMES: usize = 5;
/// As much of one name is shown, in characters.
const NAME: usize = 100;

/// A reason above this one is an alert of the other side, by its number (RFC 8446 section 6).
const ALERTS: i32 = 1000;

const PLAIN: &str = "the upstream does not answer in TLS, it seems to speak plain text on this port: turn TLS \
                     off for this peer, or use the port where the upstream speaks TLS";
const UNKNOWN_AUTHORITY: &str = "nobody who is trusted has issued it: trust its authority with the peer's ca \
                                 or with ca_file, or have the upstream send its intermediate certificates";

/// Whether a name was sent: addresses are not (RFC 6066 section 3).
fn is_name(sni: &str) -> bool {
    !sni.is_empty() && sni.parse::<IpAddr>().is_err()
}

/// About a handshake with an upstream that did not come to the verdict on its certificate.
pub(super) fn handshake(
    e: &Error,
    sni: &str,
    wanted: Option<&ClientHandshake<'_>>,
) -> Option<String> {
    let hint = match failure(e) {
        HandshakeFailure::NotTls | HandshakeFailure::PlainHttp => PLAIN,
        HandshakeFailure::Closed if is_name(sni) => {
            "the upstream closed the connection within the handshake: does it speak TLS on this port?"
        }
        HandshakeFailure::Closed => {
            "the upstream closed the connection within the handshake: does it speak TLS on this port? It \
             was sent no name; if it needs one, set the peer's sni"
        }
        HandshakeFailure::NothingInCommon => {
            "the two sides share no version, cipher suite or group; TLS 1.2 is the lowest version here"
        }
        _ => return alert(alert_of(e)?, sni, wanted),
    };
    Some(hint.to_string())
}

/// About an error that a read of a complete session gives: in TLS 1.3 an upstream says only then that it
/// does not like our certificate.
pub(super) fn read(e: &Error) -> Option<String> {
    alert(alert_of(e)?, "-", None)
}

/// The number of the alert that the other side sent.
fn alert_of(e: &Error) -> Option<i32> {
    let mut codes = e.ssl_error()?.errors().iter().map(|e| e.reason_code());
    codes
        .find(|code| (ALERTS..ALERTS + 256).contains(code))
        .map(|code| code - ALERTS)
}

/// `None` where there is nothing to be said beside what the library says.
fn alert(alert: i32, sni: &str, wanted: Option<&ClientHandshake<'_>>) -> Option<String> {
    let shows = wanted.is_none_or(|wanted| wanted.client_cert.is_some());
    let hint = match alert {
        // handshake_failure, internal_error, access_denied: what many send that find no name.
        40 | 49 | 80 if !is_name(sni) => {
            "the upstream was sent no name; if it needs one, set the peer's sni"
        }
        40 if !shows => {
            "the upstream finds no cipher suite that both have, or demands a certificate: set the peer's \
             client_cert_key if it does"
        }
        40 | 71 => {
            "the upstream finds no cipher suite or group that both have and that is safe enough for it"
        }
        70 => "the upstream speaks older versions of TLS alone; TLS 1.2 is the lowest version here",
        112 => {
            return Some(format!(
                "the upstream does not know the name {sni:?}: set the peer's sni"
            ));
        }
        116 => {
            "the upstream demands a certificate: set the peer's client_cert_key, or cert_key_file"
        }
        42..=46 | 48 | 51 if shows => {
            "the upstream does not like the certificate that it was shown (client_cert_key, cert_key_file): \
             it may have expired, or be of an authority that the upstream does not trust"
        }
        120 => return Some(no_protocol(wanted)),
        _ => return None,
    };
    Some(hint.to_string())
}

fn no_protocol(wanted: Option<&ClientHandshake<'_>>) -> String {
    let offered = wanted.and_then(|wanted| wanted.alpn).unwrap_or(&ALPN::H1);
    format!("the upstream speaks no protocol that was offered ({offered}): set the peer's alpn")
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
        9 => "is the clock of this machine right?",
        10 => "the upstream needs a new certificate, if the clock of this machine is right",
        3 => {
            "there are revocation lists in ca_file; each authority that issues upstreams' certificates then needs one"
        }
        11 | 12 => "the revocation list in ca_file is out of date, or its time is yet to come",
        66..=68 => "its key is too short, or its signature of a kind that is not safe any more",
        SELF_SIGNED => {
            "it is signed by itself; to trust it, put it into the peer's ca, or into ca_file"
        }
        _ if NO_ISSUER.contains(&code) => {
            if wanted
                .and_then(|wanted| wanted.ca)
                .is_some_and(|ca| ca.is_empty())
            {
                "the peer's ca is an empty list, which trusts nobody"
            } else {
                UNKNOWN_AUTHORITY
            }
        }
        _ if MISMATCHES.contains(&code) => return Some(mismatch(ssl, sni, wanted)),
        _ => return None,
    };
    Some(hint.to_string())
}

/// Both sides of a mismatch: whom the certificate is for, and whom it had to be for.
fn mismatch(ssl: &TlsRef, sni: &str, wanted: Option<&ClientHandshake<'_>>) -> String {
    let leaf = ssl.verified_chain().and_then(|chain| chain.get(0));
    let has = leaf.map_or(String::new(), names);
    let mut expected = vec![];
    if !sni.is_empty() {
        expected.push(format!("{sni:?} (sni)"));
    }
    if let Some(name) = wanted.and_then(|wanted| wanted.alternative_name) {
        expected.push(format!("{name:?} (alternative_cn)"));
    }
    if let (true, Some(ip)) = (
        expected.is_empty(),
        wanted.and_then(|wanted| wanted.address),
    ) {
        expected.push(format!("{ip} (the peer's address)"));
    }
    let mut text = format!(
        "the certificate is for {has}, and not for {}: set the peer's sni or alternative_cn to a name of \
         the certificate",
        expected.join(" or "),
    );
    if !is_name(sni) {
        text += "; without a name in sni, an upstream with several certificates shows its default";
    }
    text
}

/// The names in a certificate, the first of them; they come from somebody else.
fn names(certificate: &X509Ref) -> String {
    let alternatives = certificate.subject_alt_names();
    let alternatives = alternatives.iter().flatten().filter_map(|name| {
        let ip = || match name.ipaddress()? {
            v4 if v4.len() == 4 => Some(IpAddr::from(<[u8; 4]>::try_from(v4).ok()?).to_string()),
            v6 => Some(IpAddr::from(<[u8; 16]>::try_from(v6).ok()?).to_string()),
        };
        name.dnsname().map(shown).or_else(ip)
    });
    let mut all: Vec<String> = alternatives.take(NAMES + 1).collect();
    if all.is_empty() {
        all.extend(get_common_name(&certificate.to_owned()).map(|name| shown(&name)));
    }
    if all.len() > NAMES {
        all.truncate(NAMES);
        all.push("...".to_string());
    }
    if all.is_empty() {
        "no host".to_string()
    } else {
        all.join(", ")
    }
}

/// A name without what could do harm in a log.
fn shown(name: &str) -> String {
    let start: String = name.chars().take(NAME).collect();
    format!("{start:?}")
}
