//! The fields on which a response varies (RFC 9111 section 4.1).

use super::CachePolicy;
use crate::hashtable::ConcurrentLruCache;
use crate::key::{HashBinary, hash_key};
use crate::{CacheMeta, VarianceBuilder};
use http::header::{ACCEPT_ENCODING, VARY};
use http::{HeaderMap, HeaderName};
use pingora_http::RequestHeader;
use std::fmt;
use std::time::SystemTime;

/// The keys whose variants are counted, per shard. One beyond forgets how many another had.
const KEYS_PER_SHARD: usize = 1024;
const SHARDS: usize = 8;

impl CachePolicy {
    /// The digest of the request fields that a stored response varies on; `None` if it does not vary.
    ///
    /// Several lines of a field count as one, and whitespace around commas doesn't count. Of `Accept-Encoding`,
    /// whose elements have no order and no capitals, every spelling is the same.
    pub fn variance(&self, meta: &CacheMeta, req: &RequestHeader) -> Option<HashBinary> {
        self.variance_of(meta.headers(), req)
    }

    pub(super) fn variance_of(
        &self,
        response: &HeaderMap,
        req: &RequestHeader,
    ) -> Option<HashBinary> {
        let mut variance = VarianceBuilder::new();
        for name in names(response) {
            let value = normal_value(&req.headers, &name);
            variance.add_owned_name_value(name.as_str().to_owned(), value);
        }
        variance.finalize()
    }
}

/// The names in `Vary`, in order and each once. Anything else is left out, because no
/// request has such a field.
pub(super) fn names(response: &HeaderMap) -> Vec<HeaderName> {
    let lines = response.get_all(VARY).iter();
    let mut names: Vec<_> = lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names
}

/// A field that is absent is something else than an empty one.
fn normal_value(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let lines = headers.get_all(name).iter();
    let mut elements: Vec<_> = lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    if !headers.contains_key(name) {
        return b"absent".to_vec();
    }
    if *name == ACCEPT_ENCODING {
        for element in &mut elements {
            element.retain(|byte| !byte.is_ascii_whitespace());
            element.make_ascii_lowercase();
        }
        elements.sort_unstable();
        elements.dedup();
    }
    [b"present,", elements.join(&b","[..]).as_slice()].concat()
}

/// Which variants of a key are fresh, so that there are not too many at a time.
pub(super) struct Variants {
    most: usize,
    fresh: ConcurrentLruCache<Vec<(HashBinary, SystemTime)>, SHARDS>,
}

impl Variants {
    pub(super) fn new(most: usize) -> Self {
        Variants {
            most,
            fresh: ConcurrentLruCache::new(KEYS_PER_SHARD),
        }
    }

    /// Whether one more variant may be stored, for which it then counts.
    pub(super) fn admit(
        &self,
        req: &RequestHeader,
        variance: HashBinary,
        now: SystemTime,
        fresh_until: SystemTime,
    ) -> bool {
        // Without the scheme, which is not known here: the two share their number.
        let authority = super::keys::authority(req).unwrap_or_default();
        let name = [authority, b" ", &req.origin_form()].concat();
        let number = u128::from_le_bytes(hash_key(&name));
        let mut shard = self.fresh.write(number);
        if shard.get(&number).is_none() {
            shard.put(number, Vec::new());
        }
        let Some(variants) = shard.get_mut(&number) else {
            return false;
        };
        variants.retain(|(other, until)| *until > now && *other != variance);
        if variants.len() >= self.most {
            return false;
        }
        variants.push((variance, fresh_until));
        true
    }
}

impl fmt::Debug for Variants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variants")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}
