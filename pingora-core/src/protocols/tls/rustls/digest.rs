//! The library's facts after a handshake.

use crate::protocols::tls::certificate::rustls::sha256;
use crate::protocols::tls::x509::Facts;
use crate::protocols::tls::{ALPN, ClientHello, SslDigest, TlsFacts};
use rustls::{CipherSuite, CommonState, HandshakeKind, NamedGroup, ProtocolVersion};
use std::borrow::Cow;

/// Cipher suites by the names that OpenSSL has for them, so that logs are the same.
const CIPHERS: [(CipherSuite, &str); 9] = [
    (
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_128_GCM_SHA256",
    ),
    (
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        "TLS_AES_256_GCM_SHA384",
    ),
    (
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_CHACHA20_POLY1305_SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
    ),
];

/// Groups by the names that a digest has for them, whichever library made it.
const GROUPS: [(NamedGroup, &str); 7] = [
    (NamedGroup::X25519, "X25519"),
    (NamedGroup::X448, "X448"),
    (NamedGroup::secp256r1, "P-256"),
    (NamedGroup::secp384r1, "secp384r1"),
    (NamedGroup::secp521r1, "secp521r1"),
    (NamedGroup::X25519MLKEM768, "X25519MLKEM768"),
    (NamedGroup::secp256r1MLKEM768, "SecP256r1MLKEM768"),
];

/// The name of a cipher suite.
pub(super) fn cipher_name(suite: CipherSuite) -> Cow<'static, str> {
    let known = CIPHERS.iter().find(|(known, _)| *known == suite);
    known.map_or_else(
        || format!("{suite:?}").into(),
        |(_, name)| Cow::Borrowed(*name),
    )
}

/// The name of a group.
pub(super) fn group_name(group: NamedGroup) -> Cow<'static, str> {
    let known = GROUPS.iter().find(|(known, _)| *known == group);
    known.map_or_else(
        || format!("{group:?}").into(),
        |(_, name)| Cow::Borrowed(*name),
    )
}

/// The results of a handshake. `verified`: the other side's certificate was verified, if it showed one.
pub(super) fn of(
    state: &CommonState,
    server_name: Option<&str>,
    verified: bool,
    client_hello: Option<Box<ClientHello>>,
) -> SslDigest {
    let cipher = state.negotiated_cipher_suite();
    let cipher = cipher.map_or(Cow::Borrowed(""), |suite| cipher_name(suite.suite()));
    let version = match state.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    };
    let chain = state.peer_certificates().unwrap_or_default();
    let mut facts = TlsFacts {
        server_name: server_name.map(Into::into),
        alpn: state.alpn_protocol().map(ALPN::from_selected),
        group: state
            .negotiated_key_exchange_group()
            .map(|group| group_name(group.name())),
        resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        client_hello,
        ..TlsFacts::default()
    };
    let (mut organization, mut serial, mut fingerprint) = (None, None, vec![]);
    if let Some(leaf) = chain.first() {
        fingerprint = sha256(leaf).to_vec();
        if let Some(read) = Facts::read(leaf) {
            organization = read.subject_entry("O");
            serial = Some(read.serial());
            facts.verified_subject = verified.then(|| read.distinguished_name().into());
        }
        facts.set_peer_chain_der(chain.iter().map(|one| one.to_vec()));
    }
    let version = Cow::Borrowed(version);
    let mut digest = SslDigest::new(cipher, version, organization, serial, fingerprint);
    digest.set_facts(facts);
    digest
}
