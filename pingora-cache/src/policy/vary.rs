//! The fields on which a response varies (RFC 9111 section 4.1).

use super::CachePolicy;
use crate::hashtable::ConcurrentLruCache;
use crate::key::{HashBinary, hash_key};
use crate::{CacheMeta, VarianceBuilder};
use http::HeaderName;
use http::header::{ACCEPT_ENCODING, VARY};
use pingora_http::{RequestHeader, ResponseHeader};
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
        self.variance_of(meta.response_header(), req)
    }

    pub(super) fn variance_of(
        &self,
        response: &ResponseHeader,
        req: &RequestHeader,
    ) -> Option<HashBinary> {
        let mut text = Vec::new();
        named_in(response).for_each(|name| {
            text.reserve(128);
            text.extend_from_slice(name.as_str().as_bytes());
            // Values contain neither of these two.
            req.values_of(&name).for_each(|line| {
                text.push(b'\n');
                text.extend_from_slice(line);
            });
            text.push(b'\r');
        });
        if text.is_empty() {
            return None;
        }
        Some(crate::recent::of_variant(&text, || {
            let names = names(response);
            let mut variance = VarianceBuilder::new();
            for name in &names {
                variance.add_owned_value(name.as_str(), normal_value(req, name));
            }
            // There is a name.
            variance.finalize().unwrap_or_default()
        }))
    }
}

/// The names in `Vary`, as they stand there.
fn named_in(response: &ResponseHeader) -> impl Iterator<Item = HeaderName> {
    let lines = response.values_of(&VARY);
    lines
        .flat_map(|line| line.split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

/// The names in `Vary`, in order and each once. Anything else is left out, because no
/// request has such a field.
pub(super) fn names(response: &ResponseHeader) -> Vec<HeaderName> {
    let mut names: Vec<_> = named_in(response).collect();
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names
}

/// A field that is absent is something else than an empty one.
fn normal_value(req: &RequestHeader, name: &HeaderName) -> Vec<u8> {
    let mut lines = req.values_of(name).peekable();
    if lines.peek().is_none() {
        return b"absent".to_vec();
    }
    let mut normal = b"present,".to_vec();
    let start = normal.len();
    let is_list_of_codings = *name == ACCEPT_ENCODING;
    for element in lines.flat_map(|line| line.split(|&byte| byte == b',')) {
        let element = element.trim_ascii();
        if element.is_empty() {
            continue;
        }
        if normal.len() > start {
            normal.push(b',');
        }
        if is_list_of_codings {
            let visible = element.iter().filter(|byte| !byte.is_ascii_whitespace());
            normal.extend(visible.map(u8::to_ascii_lowercase));
        } else {
            normal.extend_from_slice(element);
        }
    }
    if is_list_of_codings {
        let (_, list) = normal.split_at(start);
        let mut elements: Vec<_> = list.split(|&byte| byte == b',').collect();
        if !elements.is_sorted() {
            elements.sort_unstable();
        }
        elements.dedup();
        let sorted = elements.join(&b","[..]);
        normal.truncate(start);
        normal.extend(sorted);
    }
    normal
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
