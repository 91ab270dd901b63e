//! Names that the encoder knows: those of the static table, and some that often repeat.

/// How the encoder treats the fields of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// The value differs each time, or is private to one user: written as a literal.
    Plain,
    /// A secret: written as a literal, and never indexed at any hop (RFC 7541 section 7.1.3).
    Secret,
    /// The value is the same for many messages of a connection, and for all users.
    Repeats,
}

use Policy::{Plain, Repeats, Secret};

/// A known name.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownName {
    name: &'static str,
    /// Its (first) index in the static table; 0 if it has none.
    pub(super) index: u8,
    pub(super) policy: Policy,
    /// The index in [`KNOWN`].
    pub(super) place: u8,
}

/// The number of names of [`KNOWN`] that are in the static table: indices 15 to 61.
const STATIC: usize = 47;

macro_rules! known {
    ($($name:literal $policy:ident,)+) => {
        [$(($name, $policy),)+]
    };
}

const LIST: [(&str, Policy); 67] = known![
    "accept-charset" Plain, "accept-encoding" Repeats, "accept-language" Repeats,
    "accept-ranges" Repeats, "accept" Repeats, "access-control-allow-origin" Repeats,
    "age" Plain, "allow" Plain, "authorization" Secret, "cache-control" Repeats,
    "content-disposition" Plain, "content-encoding" Repeats, "content-language" Repeats,
    "content-length" Plain, "content-location" Plain, "content-range" Plain,
    "content-type" Repeats, "cookie" Secret, "date" Repeats, "etag" Plain, "expect" Plain,
    "expires" Plain, "from" Plain, "host" Repeats, "if-match" Plain,
    "if-modified-since" Plain, "if-none-match" Plain, "if-range" Plain,
    "if-unmodified-since" Plain, "last-modified" Plain, "link" Plain, "location" Plain,
    "max-forwards" Plain, "proxy-authenticate" Plain, "proxy-authorization" Secret,
    "range" Plain, "referer" Plain, "refresh" Plain, "retry-after" Plain, "server" Repeats,
    "set-cookie" Secret, "strict-transport-security" Repeats, "transfer-encoding" Plain,
    "user-agent" Repeats, "vary" Repeats, "via" Repeats, "www-authenticate" Plain,
    // Not in the static table.
    "access-control-allow-headers" Repeats, "access-control-allow-methods" Repeats,
    "access-control-allow-credentials" Repeats, "access-control-expose-headers" Repeats,
    "alt-svc" Repeats, "connection" Plain, "content-security-policy" Repeats,
    "grpc-accept-encoding" Repeats, "grpc-encoding" Repeats, "grpc-status" Repeats,
    "permissions-policy" Repeats, "referrer-policy" Repeats, "te" Repeats,
    "timing-allow-origin" Repeats, "x-cache" Repeats, "x-content-type-options" Repeats,
    "x-forwarded-proto" Repeats, "x-frame-options" Repeats, "x-powered-by" Repeats,
    "x-xss-protection" Repeats,
];

/// All known names.
pub(super) static KNOWN: [KnownName; LIST.len()] = {
    let mut known = [KnownName {
        name: "",
        index: 0,
        policy: Plain,
        place: 0,
    }; LIST.len()];
    let mut place = 0;
    while place < LIST.len() {
        known[place] = KnownName {
            name: LIST[place].0,
            index: if place < STATIC { place as u8 + 15 } else { 0 },
            policy: LIST[place].1,
            place: place as u8,
        };
        place += 1;
    }
    known
};

/// A power of two, about four times the number of names.
const BUCKETS: usize = 256;
const EMPTY: u8 = u8::MAX;

/// The place of each name by its hash; on a collision, the next free bucket.
static BY_HASH: [u8; BUCKETS] = {
    let mut buckets = [EMPTY; BUCKETS];
    let mut place = 0;
    while place < LIST.len() {
        let mut bucket = hash(LIST[place].0.as_bytes());
        while buckets[bucket] != EMPTY {
            bucket = (bucket + 1) % BUCKETS;
        }
        buckets[bucket] = place as u8;
        place += 1;
    }
    buckets
};

/// Length, first, last and middle byte are enough to tell names apart.
#[inline]
const fn hash(name: &[u8]) -> usize {
    let length = name.len();
    let middle = name.split_at(length / 2).1.first();
    match (name.first(), name.last(), middle) {
        (Some(first), Some(last), Some(middle)) => {
            let ends = *first as usize * 7 + *last as usize * 31;
            (ends + *middle as usize * 131 + length * 17) % BUCKETS
        }
        _ => 0,
    }
}

/// The entry for a name in lower case, if it is known.
#[inline]
pub(super) fn known(name: &[u8]) -> Option<&'static KnownName> {
    let mut bucket = hash(name);
    // The loop ends at a free bucket; most buckets are free.
    loop {
        let known = KNOWN.get(usize::from(*BY_HASH.get(bucket)?))?;
        if known.name.as_bytes() == name {
            return Some(known);
        }
        bucket = (bucket + 1) % BUCKETS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::static_table::TABLE;
    use http::header::HeaderName;

    #[test]
    fn every_known_name_is_found_with_its_static_index() {
        for known_name in &KNOWN {
            let name = HeaderName::from_static(known_name.name);
            assert_eq!(
                known(name.as_str().as_bytes()).unwrap().place,
                known_name.place
            );
            let index = usize::from(known_name.index);
            if index != 0 {
                let entry = TABLE[index - 1].name();
                assert_eq!(entry, crate::hpack::field::Name::Regular(name));
            }
        }
        assert_eq!(KNOWN[STATIC - 1].index, 61);
        for name in ["x", "accep", "x-unknown", "content-typo"] {
            assert!(known(name.as_bytes()).is_none());
        }
    }
}
