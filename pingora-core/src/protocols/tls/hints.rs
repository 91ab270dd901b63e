//! Advice for the operator about an upstream whose handshake fails, whichever library says so. The libraries'
//! own words only say what went wrong inside of them.

use super::{ALPN, ClientHandshake, HandshakeFailure};
use std::net::IpAddr;

/// As many names of a certificate are shown.
const NAMES: usize = 5;
/// As much of one name is shown, in characters.
const NAME: usize = 100;

const PLAIN: &str = "the upstream does not answer in TLS, it seems to speak plain text on this port: turn TLS \
                     off for this peer, or use the port where the upstream speaks TLS";
const UNKNOWN_AUTHORITY: &str = "nobody who is trusted has issued it: trust its authority with the peer's ca \
                                 or with ca_file, or have the upstream send its intermediate certificates";

pub(super) const NOT_YET: &str = "is the clock of this machine right?";
pub(super) const EXPIRED: &str =
    "the upstream needs a new certificate, if the clock of this machine is right";
pub(super) const NO_LIST: &str = "there are revocation lists in ca_file; each authority that issues upstreams' \
                                  certificates then needs one";
pub(super) const OLD_LIST: &str =
    "the revocation list in ca_file is out of date, or its time is yet to come";
pub(super) const WEAK: &str =
    "its key is too short, or its signature of a kind that is not safe any more";
pub(super) const SELF_SIGNED: &str =
    "it is signed by itself; to trust it, put it into the peer's ca, or into ca_file";

/// Whether a name was sent: addresses are not (RFC 6066 section 3).
fn is_name(sni: &str) -> bool {
    !sni.is_empty() && sni.parse::<IpAddr>().is_err()
}

/// About a handshake that did not come to the verdict on the certificate, if the upstream sent no alert.
pub(super) fn handshake(failure: HandshakeFailure, sni: &str) -> Option<&'static str> {
    match failure {
        HandshakeFailure::NotTls | HandshakeFailure::PlainHttp => Some(PLAIN),
        HandshakeFailure::Closed if is_name(sni) => Some(
            "the upstream closed the connection within the handshake: does it speak TLS on this port?",
        ),
        HandshakeFailure::Closed => Some(
            "the upstream closed the connection within the handshake: does it speak TLS on this port? It \
             was sent no name; if it needs one, set the peer's sni",
        ),
        HandshakeFailure::NothingInCommon => Some(
            "the two sides share no version, cipher suite or group; TLS 1.2 is the lowest version here",
        ),
        _ => None,
    }
}

/// About a certificate that was not issued by a trusted authority.
pub(super) fn unknown_authority(wanted: Option<&ClientHandshake<'_>>) -> &'static str {
    match wanted.and_then(|wanted| wanted.ca) {
        Some(ca) if ca.is_empty() => "the peer's ca is an empty list, which trusts no certificate",
        _ => UNKNOWN_AUTHORITY,
    }
}

/// About an alert of the upstream, by its number (RFC 8446 section 6). `None` if there is nothing to be said
/// beside what the library says.
pub(super) fn alert(alert: i32, sni: &str, wanted: Option<&ClientHandshake<'_>>) -> Option<String> {
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

/// Both sides of a mismatch: the names in the certificate, and the expected names.
pub(super) fn mismatch(
    names: Vec<String>,
    sni: &str,
    wanted: Option<&ClientHandshake<'_>>,
) -> String {
    let has = listed(names);
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

/// The first of these names, which come from the peer.
fn listed(mut names: Vec<String>) -> String {
    if names.is_empty() {
        return "no host".to_string();
    }
    if names.len() > NAMES {
        names.truncate(NAMES);
        names.push("...".to_string());
    }
    names.join(", ")
}

/// A name without what could do harm in a log.
pub(super) fn shown(name: &str) -> String {
    let start: String = name.chars().take(NAME).collect();
    format!("{start:?}")
}
