//! Cipher suites and groups by their names.

use super::digest::{cipher_name, group_name};
use crate::protocols::tls::{ClientHello, TLS_CONF_ERR};
use pingora_error::{Error, Result};
use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, ALL_KX_GROUPS};

/// Names of groups that OpenSSL knows beside those of a digest.
const OTHER_NAMES: [(&str, &str); 7] = [
    ("x25519", "X25519"),
    ("prime256v1", "P-256"),
    ("secp256r1", "P-256"),
    ("P-384", "secp384r1"),
    ("P-521", "secp521r1"),
    ("secp256r1mlkem768", "SecP256r1MLKEM768"),
    ("x25519mlkem768", "X25519MLKEM768"),
];

/// `provider` with these groups alone, the preferred one first.
///
/// # Errors
/// [`TLS_CONF_ERR`] naming the one that the library does not have, and those that it has.
pub(super) fn with_groups<'a>(
    provider: &CryptoProvider,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<CryptoProvider> {
    let mut provider = provider.clone();
    let mut had = provider.kx_groups;
    had.extend(ALL_KX_GROUPS);
    let mut chosen = vec![];
    for name in names {
        let other = OTHER_NAMES
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name));
        let wanted = other.map_or(name, |(_, name)| *name);
        let found = had.iter().find(|group| group_name(group.name()) == wanted);
        match found {
            Some(group) => chosen.push(*group),
            None => {
                let all = ALL_KX_GROUPS.iter().map(|group| group_name(group.name()));
                return unknown("group", name, all.collect::<Vec<_>>().join(", "));
            }
        }
    }
    provider.kx_groups = chosen;
    Ok(provider)
}

/// `provider` with these cipher suites alone, the preferred one first.
///
/// # Errors
/// As [`with_groups`].
pub(super) fn with_ciphers<'a>(
    provider: &CryptoProvider,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<CryptoProvider> {
    let mut provider = provider.clone();
    let mut had = provider.cipher_suites;
    had.extend(ALL_CIPHER_SUITES);
    let mut chosen = vec![];
    for name in names {
        match had.iter().find(|suite| cipher_name(suite.suite()) == name) {
            Some(suite) => chosen.push(*suite),
            None => {
                let all = ALL_CIPHER_SUITES
                    .iter()
                    .map(|suite| cipher_name(suite.suite()));
                return unknown("cipher suite", name, all.collect::<Vec<_>>().join(", "));
            }
        }
    }
    provider.cipher_suites = chosen;
    Ok(provider)
}

/// `provider` with the suites first that cost a processor with instructions for AES least, as OpenSSL's settings have
/// them.
pub(super) fn with_aes_128_first(provider: &CryptoProvider) -> CryptoProvider {
    let mut provider = provider.clone();
    provider.cipher_suites.sort_by_key(|suite| {
        let name = cipher_name(suite.suite());
        match (name.contains("128"), name.contains("AES")) {
            (true, true) => 0,
            (_, true) => 1,
            _ => 2,
        }
    });
    provider
}

/// Whether a client prefers ChaCha20: it has no instructions for AES, as a rule.
pub(super) fn prefers_chacha(offered: &[u16]) -> bool {
    let is_chacha = |suite: CipherSuite| cipher_name(suite).contains("CHACHA20");
    let mut known = offered
        .iter()
        .filter(|suite| !ClientHello::is_grease(**suite));
    known
        .next()
        .is_some_and(|first| is_chacha(CipherSuite::from(*first)))
}

fn unknown<T>(kind: &str, name: &str, all: String) -> Result<T> {
    let name: String = name.chars().take(100).collect();
    let reason = format!("rustls has no {kind} {name:?}; it has {all}");
    Error::e_explain(TLS_CONF_ERR, reason)
}
