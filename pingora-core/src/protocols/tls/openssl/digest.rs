//! The library's facts after a handshake.

use crate::protocols::tls::certificate::{get_organization, get_serial};
use crate::protocols::tls::{ALPN, SslDigest, TlsFacts};
use crate::sys::tls as sys;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ssl::{NameType, SslRef, SslVerifyMode};
use openssl::x509::{X509, X509NameRef, X509VerifyResult};
use std::borrow::Cow;

impl SslDigest {
    /// The results of this session's handshake.
    pub fn from_ssl(ssl: &SslRef) -> Self {
        let cipher = ssl.current_cipher().map_or("", |cipher| cipher.name());
        let peer = ssl.peer_certificate();
        let (mut organization, mut serial_number, mut cert_digest) = (None, None, Vec::new());
        if let Some(cert) = &peer {
            organization = get_organization(cert);
            serial_number = get_serial(cert).ok();
            cert_digest = cert
                .digest(MessageDigest::sha256())
                .map(|d| d.to_vec())
                .unwrap_or_default();
        }
        let mut digest = SslDigest::new(
            cipher,
            ssl.version_str(),
            organization,
            serial_number,
            cert_digest,
        );
        gather(digest.extension.facts_mut(), ssl, peer);
        digest
    }
}

fn gather(facts: &mut TlsFacts, ssl: &SslRef, peer: Option<X509>) {
    facts.server_name = ssl.servername(NameType::HOST_NAME).map(Into::into);
    facts.alpn = ssl.selected_alpn_protocol().map(ALPN::from_selected);
    facts.resumed = ssl.session_reused();
    facts.group = group(ssl);
    let Some(peer) = peer else {
        return;
    };
    let demanded = ssl.verify_mode().contains(SslVerifyMode::PEER);
    if demanded && ssl.verify_result() == X509VerifyResult::OK {
        facts.verified_subject = Some(distinguished_name(peer.subject_name()).into());
    }
    // A server's list begins with the client's own certificate in some versions of the library.
    let shown = ssl.peer_cert_chain().into_iter().flatten();
    let shown = shown.map(|certificate| certificate.to_owned());
    let mut chain = vec![peer];
    for other in shown {
        if chain.first() != Some(&other) {
            chain.push(other);
        }
    }
    facts.set_peer_chain(chain);
}

/// Groups that OpenSSL gives no number of its own, by their code points (RFC 8446 section 4.2.7 and the
/// registry of IANA).
const GROUPS_BY_CODE: [(u16, &str); 6] = [
    (0x001d, "X25519"),
    (0x001e, "X448"),
    (0x0100, "ffdhe2048"),
    (0x11eb, "SecP256r1MLKEM768"),
    (0x11ec, "X25519MLKEM768"),
    (0x11ed, "SecP384r1MLKEM1024"),
];

fn group(ssl: &SslRef) -> Option<Cow<'static, str>> {
    match sys::negotiated_group(ssl)? {
        sys::Group::Code(code) => {
            let known = GROUPS_BY_CODE.iter().find(|(known, _)| *known == code);
            Some(known.map_or_else(
                || format!("{code:#06x}").into(),
                |(_, name)| Cow::Borrowed(*name),
            ))
        }
        sys::Group::Nid(nid) => {
            let nid = Nid::from_raw(nid);
            if nid == Nid::X9_62_PRIME256V1 {
                return Some("P-256".into());
            }
            nid.short_name().ok().map(Cow::Borrowed)
        }
    }
}

/// A name as RFC 4514 writes it: the last part first, with what means something else escaped.
fn distinguished_name(name: &X509NameRef) -> String {
    let mut parts = vec![];
    for entry in name.entries() {
        let kind = entry.object().nid().short_name().unwrap_or("OID");
        let value = entry.data().to_string().unwrap_or_default();
        parts.push(format!("{kind}={}", escaped(&value)));
    }
    parts.reverse();
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (index, c) in value.chars().enumerate() {
        let at_an_end = (index == 0 && matches!(c, ' ' | '#')) || (index == last && c == ' ');
        if at_an_end || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            text.push('\\');
        }
        if c.is_control() {
            text.extend(c.to_string().bytes().map(|b| format!("\\{b:02X}")))
        } else {
            text.push(c)
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::x509::X509Name;

    #[test]
    fn names_are_written_so_that_they_can_be_told_apart() {
        let mut name = X509Name::builder().unwrap();
        for (field, value) in [("C", "DE"), ("O", "Us, \"them\" + you"), ("CN", " a\n")] {
            name.append_entry_by_text(field, value).unwrap();
        }
        let text = distinguished_name(&name.build());
        assert_eq!(text, "CN=\\ a\\0A,O=Us\\, \\\"them\\\" \\+ you,C=DE");
        assert_eq!(escaped("#x "), "\\#x\\ ");
        assert_eq!(escaped(""), "");
    }
}
