//! The keys that distinguish stored responses.
//!
//! A [`CacheKey`] holds everything that distinguishes two responses; a [`CompactCacheKey`] holds digests of it, for
//! an index of many entries. The digest is BLAKE2b (RFC 7693) of 16 bytes: data from clients becomes part of
//! keys, and it must be infeasible to find two keys with the same digest. It is the same in every process, and on disk.

use crate::digest::Digest;
use http::Extensions;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A 128-bit digest of a key.
pub type HashBinary = [u8; 16];

/// Reads a digest written as 32 hexadecimal digits. `None` for any other text.
pub fn str2hex(s: &str) -> Option<HashBinary> {
    let digits = s.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut out = HashBinary::default();
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(out)
}

/// The digest of a key.
pub fn hash_key<K: AsRef<[u8]>>(key: K) -> HashBinary {
    let mut digest = Digest::new();
    digest.update(key.as_ref());
    digest.finish()
}

/// One byte that depends on all of `key`: for choosing a shard. Not a digest; many keys share each value.
pub fn hash_u8(key: &str) -> u8 {
    let [byte, ..] = hash_key(key);
    byte
}

fn write_hex(hash: &HashBinary, out: &mut impl fmt::Write) -> fmt::Result {
    hash.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

fn hex(hash: &HashBinary) -> String {
    let mut out = String::with_capacity(32);
    // Writing to a string does not fail.
    let _ = write_hex(hash, &mut out);
    out
}

/// A digested key.
pub trait CacheHashKey {
    /// The digest of the primary key.
    fn primary_bin(&self) -> HashBinary;

    /// The digest of the values that the response varies on; `None` if it does not vary.
    fn variance_bin(&self) -> Option<HashBinary>;

    /// The digest of both: the primary one if the response does not vary.
    fn combined_bin(&self) -> HashBinary {
        let primary = self.primary_bin();
        let Some(variance) = self.variance_bin() else {
            return primary;
        };
        let mut digest = Digest::new();
        digest.update(&primary);
        digest.update(&variance);
        digest.finish()
    }

    /// The owner of the entry; empty if it has none.
    fn user_tag(&self) -> &str;

    /// [`primary_bin`](Self::primary_bin) in hexadecimal digits.
    fn primary(&self) -> String {
        hex(&self.primary_bin())
    }

    /// [`variance_bin`](Self::variance_bin) in hexadecimal digits.
    fn variance(&self) -> Option<String> {
        self.variance_bin().as_ref().map(hex)
    }

    /// [`combined_bin`](Self::combined_bin) in hexadecimal digits.
    fn combined(&self) -> String {
        hex(&self.combined_bin())
    }
}

/// The key under which a request looks up a response.
#[derive(Debug, Clone)]
pub struct CacheKey {
    primary: Vec<u8>,
    /// Made once, because every look-up asks for it more than once.
    primary_bin: HashBinary,
    variance: Option<HashBinary>,
    /// The owner of the entry; empty if it has none. Not part of the digest.
    pub user_tag: String,
    /// Further data for storage and filters. Not part of the digest.
    pub extensions: Extensions,
}

impl CacheKey {
    /// A key over `primary`: scheme, authority, path and query, and everything else that distinguishes
    /// two responses.
    pub fn new<B, S>(primary: B, user_tag: S) -> Self
    where
        B: Into<Vec<u8>>,
        S: Into<String>,
    {
        let primary = primary.into();
        CacheKey {
            primary_bin: crate::recent::of_key(&primary, || hash_key(&primary)),
            primary,
            variance: None,
            user_tag: user_tag.into(),
            extensions: Extensions::new(),
        }
    }

    /// The primary key.
    pub fn primary_key(&self) -> &[u8] {
        &self.primary
    }

    /// Uses this instead of the primary key's digest, which decides what a look-up finds: two keys with one
    /// digest are one entry. The primary key itself stays.
    pub fn set_primary_bin_override(&mut self, key: HashBinary) {
        self.primary_bin = key;
    }

    /// The key for an index of many entries.
    pub fn to_compact(&self) -> CompactCacheKey {
        CompactCacheKey {
            primary: self.primary_bin,
            variance: self.variance.map(Box::new),
            user_tag: self.user_tag.as_str().into(),
        }
    }

    /// The primary key, if it is UTF-8.
    pub fn primary_key_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.primary).ok()
    }

    /// Sets the values that the response varies on.
    pub fn set_variance_key(&mut self, key: HashBinary) {
        self.variance = Some(key);
    }

    /// The values that the response varies on.
    pub fn get_variance_key(&self) -> Option<&HashBinary> {
        self.variance.as_ref()
    }

    /// Clears the values that the response varies on.
    pub fn remove_variance_key(&mut self) {
        self.variance = None;
    }
}

impl CacheHashKey for CacheKey {
    fn primary_bin(&self) -> HashBinary {
        self.primary_bin
    }

    fn variance_bin(&self) -> Option<HashBinary> {
        self.variance
    }

    fn user_tag(&self) -> &str {
        &self.user_tag
    }
}

/// A [`CacheKey`] reduced to its digests, for an index of many entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CompactCacheKey {
    /// The digest of the primary key.
    pub primary: HashBinary,
    /// The digest of the values that the response varies on; boxed because most responses do not vary.
    pub variance: Option<Box<HashBinary>>,
    /// The owner of the entry; empty if it has none.
    pub user_tag: Box<str>,
}

impl CacheHashKey for CompactCacheKey {
    fn primary_bin(&self) -> HashBinary {
        self.primary
    }

    fn variance_bin(&self) -> Option<HashBinary> {
        self.variance.as_deref().copied()
    }

    fn user_tag(&self) -> &str {
        &self.user_tag
    }
}

/// The name of an entry in a storage: the digests of the key and of the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) primary: HashBinary,
    pub(crate) variance: Option<HashBinary>,
}

impl Name {
    pub(crate) fn of(key: &impl CacheHashKey) -> Self {
        Name {
            primary: key.primary_bin(),
            variance: key.variance_bin(),
        }
    }

    pub(crate) fn compact(&self) -> CompactCacheKey {
        CompactCacheKey {
            primary: self.primary,
            variance: self.variance.map(Box::new),
            user_tag: "".into(),
        }
    }
}

impl fmt::Display for CompactCacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.primary, f)?;
        if let Some(variance) = &self.variance {
            f.write_str(", variance: ")?;
            write_hex(variance, f)?;
        }
        write!(f, ", user_tag: {}", self.user_tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_go_both_ways() {
        let text = "00112233445566778899aabbccddeeff";
        let hash = str2hex(text).unwrap();
        assert_eq!(hash[1], 0x11);
        assert_eq!(hex(&hash), text);
        for bad in [
            "",
            "0",
            &text[1..],
            "zz112233445566778899aabbccddeeff",
            "é0112233445566778899aabbccddeef",
        ] {
            assert_eq!(str2hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_compact_key_shows_its_digests() {
        let mut key = CompactCacheKey {
            primary: [0xab; 16],
            variance: None,
            user_tag: "me".into(),
        };
        assert_eq!(
            key.to_string(),
            format!("{}, user_tag: me", "ab".repeat(16))
        );
        assert_eq!(key.variance(), None);
        key.variance = Some(Box::new([1; 16]));
        assert_eq!(key.variance().unwrap(), "01".repeat(16));
        assert_eq!(key.primary(), "ab".repeat(16));
    }

    #[test]
    fn a_key_holds_what_it_was_given() {
        let mut key = CacheKey::new("https://a/b", "me");
        assert_eq!(key.primary_key(), b"https://a/b");
        assert_eq!(key.primary_key_str(), Some("https://a/b"));
        assert_eq!(key.user_tag, "me");
        key.set_variance_key([7; 16]);
        assert_eq!(key.get_variance_key(), Some(&[7; 16]));
        key.remove_variance_key();
        assert_eq!(key.get_variance_key(), None);
        assert_eq!(CacheKey::new([0xff], "").primary_key_str(), None);
    }

    #[test]
    fn digests_tell_keys_apart() {
        let mut key = CacheKey::new("https://a/b", "me");
        assert_eq!(key.primary_bin(), hash_key("https://a/b"));
        assert_eq!(key.combined_bin(), key.primary_bin());
        assert_ne!(key.primary_bin(), hash_key("https://a/c"));
        key.set_variance_key([7; 16]);
        let compact = key.to_compact();
        assert_eq!(compact.combined_bin(), key.combined_bin());
        assert_ne!(key.combined_bin(), key.primary_bin());
        assert_eq!((key.user_tag(), compact.user_tag()), ("me", "me"));
        key.set_primary_bin_override([3; 16]);
        assert_eq!(key.primary_bin(), [3; 16]);
        assert_eq!(key.primary_key(), b"https://a/b");
        assert_eq!(key.combined().len(), 32);
    }

    /// An entry on disk has to be found by the next release too.
    #[test]
    fn digests_stay_the_same() {
        assert_eq!(hex(&hash_key("")), "cae66941d9efbd404e4d88758ea67670");
        assert_eq!(hash_u8(""), 0xca);
    }
}
