//! The fields that a proxy needs in order to pass a message on, and the names that others take for them.

use crate::grammar::{has_odd_separators, is_taken_for};

/// A field that describes the message or its connection instead of the content: it frames the message,
/// routes it, or is for one hop only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ControlField {
    /// `Connection`.
    Connection,
    /// `Keep-Alive`.
    KeepAlive,
    /// `Proxy-Connection`.
    ProxyConnection,
    /// `TE`.
    Te,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Upgrade`.
    Upgrade,
    /// `HTTP2-Settings`.
    Http2Settings,
    /// `Expect`.
    Expect,
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Date`. Only its presence is noted, for code that forwards a response: most have one, and its value is
    /// never needed.
    Date,
    /// None of these, but a name that some servers take for one of them, or for one that a proxy
    /// [sets](is_relied_on): `Content_Length`, `X_Forwarded_For`.
    Alias,
}

/// Fields that say who the client is and how it came, beside those that begin with `X-Forwarded-`: a proxy
/// sets or removes them, and what is behind it believes them.
const RELIED_ON: [&str; 15] = [
    "cf-connecting-ip",
    "client-cert",
    "client-cert-chain",
    "fastly-client-ip",
    "forwarded",
    "proxy-authorization",
    "remote-user",
    "true-client-ip",
    "via",
    "x-auth-user",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-real-ip",
    "x-request-id",
];
const X_FORWARDED: &str = "x-forwarded-";

/// Whether a proxy sets or removes the field with this name so that those behind it can believe it. `name`
/// is in lower case.
pub fn is_relied_on(name: &str) -> bool {
    RELIED_ON.contains(&name) || name.starts_with(X_FORWARDED)
}

/// Whether this name, which begins with one of the letters that those begin with, is taken for one that is
/// relied on.
#[inline]
fn alias_of_relied_on(name: &[u8]) -> Option<ControlField> {
    has_odd_separators(name)
        .then(|| taken_for_relied_on(name))
        .flatten()
}

#[cold]
fn taken_for_relied_on(name: &[u8]) -> Option<ControlField> {
    let begins = name.get(..X_FORWARDED.len());
    let taken = begins.is_some_and(|begin| is_taken_for(begin, X_FORWARDED.as_bytes()))
        || RELIED_ON
            .iter()
            .any(|other| is_taken_for(name, other.as_bytes()));
    taken.then_some(ControlField::Alias)
}

/// All lengths of this and more bytes count as one.
const LONG: usize = 31;

/// For the five low bits of a first letter: the lengths of the names to look at, one bit for each. The arms of
/// [`ControlField::by_spelling`] in short.
const LENGTHS: [u32; 32] = {
    const NAMES: [(u8, &[u32]); 10] = [
        (b'c', &[10, 11, 14, 16, 17]),
        (b'd', &[4]),
        (b'e', &[6]),
        (b'f', &[16]),
        (b'h', &[4, 14]),
        (b'k', &[10]),
        (b'p', &[16, 19]),
        (b'r', &[11, 17]),
        (b't', &[2, 14, 17]),
        (b'u', &[7]),
    ];
    let mut lengths = [0; 32];
    let mut at = 0;
    while at < NAMES.len() {
        let (initial, of_initial) = NAMES[at];
        let mut length = 0;
        while length < of_initial.len() {
            lengths[(initial & 0x1f) as usize] |= 1 << of_initial[length];
            length += 1;
        }
        at += 1;
    }
    lengths[(b'x' & 0x1f) as usize] = u32::MAX << 9;
    lengths
};

impl ControlField {
    /// The field with this name, in any spelling. `name` must be a token: bytes that are not allowed in a
    /// name can be mistaken for others.
    #[inline]
    pub fn of(name: &[u8]) -> Option<Self> {
        let initial = *name.first()?;
        // Length and first letter exclude nearly every other name.
        let lengths = LENGTHS[usize::from(initial & 0x1f)];
        if lengths >> name.len().min(LONG) & 1 == 0 {
            return None;
        }
        Self::by_spelling(name, initial | 0x20)
    }

    fn by_spelling(name: &[u8], initial: u8) -> Option<Self> {
        match (name.len(), initial) {
            (2, b't') => is(name, b"te", Self::Te),
            (4, b'h') => is(name, b"host", Self::Host),
            (4, b'd') => is(name, b"date", Self::Date),
            (6, b'e') => is(name, b"expect", Self::Expect),
            (7, b'u') => is(name, b"upgrade", Self::Upgrade),
            (10, b'c') => is(name, b"connection", Self::Connection),
            (10, b'k') => is_or_alias(name, b"keep-alive", Self::KeepAlive),
            (14, b'c') => is_or_alias(name, b"content-length", Self::ContentLength),
            (14, b'h') => is_or_alias(name, b"http2-settings", Self::Http2Settings),
            (16, b'p') => is_or_alias(name, b"proxy-connection", Self::ProxyConnection),
            (17, b't') => is_or_alias(name, b"transfer-encoding", Self::TransferEncoding),
            (9.., b'x') | (11 | 17, b'c' | b'r') | (14, b't') | (16, b'c' | b'f') | (19, b'p') => {
                alias_of_relied_on(name)
            }
            _ => None,
        }
    }

    /// Whether the field describes an HTTP/1 connection, and is forbidden in an HTTP/2 message (RFC 9113
    /// section 8.2.2).
    #[inline]
    pub fn is_of_http1_only(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::TransferEncoding
                | Self::Upgrade
                | Self::Http2Settings
        )
    }
}

/// Returns `field` if a token is this name. The bit that makes letters lower-case changes no other byte
/// that these names contain, and turns no other byte of a token into one of them.
#[inline]
fn is<const N: usize>(token: &[u8], name: &[u8; N], field: ControlField) -> Option<ControlField> {
    let token: &[u8; N] = token.try_into().ok()?;
    let pairs = token.iter().zip(name);
    let difference = pairs.fold(0, |difference, (a, b)| difference | ((a | 0x20) ^ b));
    (difference == 0).then_some(field)
}

/// [`is`], for a name with a hyphen, which others may be taken for.
#[inline]
fn is_or_alias<const N: usize>(
    token: &[u8],
    name: &[u8; N],
    field: ControlField,
) -> Option<ControlField> {
    match is(token, name, field) {
        None if is_taken_for(token, name) => Some(ControlField::Alias),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::is_token_byte;

    const NAMES: [(&str, ControlField); 11] = [
        ("Connection", ControlField::Connection),
        ("Keep-Alive", ControlField::KeepAlive),
        ("Proxy-Connection", ControlField::ProxyConnection),
        ("TE", ControlField::Te),
        ("Transfer-Encoding", ControlField::TransferEncoding),
        ("Upgrade", ControlField::Upgrade),
        ("HTTP2-Settings", ControlField::Http2Settings),
        ("Expect", ControlField::Expect),
        ("Host", ControlField::Host),
        ("Content-Length", ControlField::ContentLength),
        ("Date", ControlField::Date),
    ];

    #[test]
    fn names_are_known_in_any_spelling() {
        for (name, field) in NAMES {
            for name in [name.into(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(ControlField::of(name.as_bytes()), Some(field), "{name}");
            }
        }
    }

    #[test]
    fn the_table_of_lengths_leaves_out_no_spelling() {
        for initial in (0..=255).filter(|byte| is_token_byte(*byte)) {
            for length in 1..100 {
                for rest in [b'-', b'_'] {
                    let mut name = vec![rest; length];
                    name[0] = initial;
                    let names = NAMES.map(|(name, _)| name).into_iter().chain(RELIED_ON);
                    let names = names.map(|name| name.replace('-', "_").into_bytes());
                    for name in names.filter(|name| name.len() == length).chain([name]) {
                        let mut name = name;
                        name[0] = initial;
                        let by_spelling = ControlField::by_spelling(&name, initial | 0x20);
                        assert_eq!(ControlField::of(&name), by_spelling, "{name:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_other_token_is_taken_for_one() {
        assert_eq!(ControlField::of(b""), None);
        for (name, field) in NAMES {
            for place in 0..name.len() {
                let mut other = name.as_bytes().to_vec();
                for byte in (0..=255).filter(|byte| is_token_byte(*byte)) {
                    other[place] = byte;
                    let same = other.eq_ignore_ascii_case(name.as_bytes());
                    let hyphen = name.as_bytes()[place] == b'-';
                    let expected = if hyphen && !byte.is_ascii_alphanumeric() && !same {
                        Some(ControlField::Alias)
                    } else {
                        same.then_some(field)
                    };
                    assert_eq!(ControlField::of(&other), expected, "{other:?}");
                }
                assert_eq!(ControlField::of(&name.as_bytes()[..place]), None);
            }
            let longer = format!("{name}s");
            assert_eq!(ControlField::of(longer.as_bytes()), None);
        }
    }
    #[test]
    fn what_is_taken_for_a_relied_on_field_is_an_alias() {
        let more = [
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-anything-else",
        ];
        for name in RELIED_ON.into_iter().chain(more) {
            assert!(is_relied_on(name));
            assert_eq!(ControlField::of(name.as_bytes()), None, "{name}");
            for (place, _) in name.match_indices('-') {
                for odd in ["_", ".", "~", "|"] {
                    let mut alias = name.to_string();
                    alias.replace_range(place..=place, odd);
                    for alias in [alias.clone(), alias.to_uppercase()] {
                        let found = ControlField::of(alias.as_bytes());
                        assert_eq!(found, Some(ControlField::Alias), "{alias}");
                    }
                }
                let alias = name.replace('-', "_");
                let found = ControlField::of(alias.as_bytes());
                assert_eq!(found, Some(ControlField::Alias), "{alias}");
            }
        }
        for other in [
            "x_forwarded",
            "x_forwarded_",
            "x-real-ips",
            "x_real_ips",
            "x_custom",
            "a_b",
        ] {
            let alias = other == "x_forwarded_";
            let found = ControlField::of(other.as_bytes());
            assert_eq!(found == Some(ControlField::Alias), alias, "{other}");
        }
    }
}
