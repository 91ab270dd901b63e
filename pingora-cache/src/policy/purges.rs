//! Purging many responses at once: by a number that is compared when one is found, not by a search for all.

use crate::cache_control::DELTA_SECONDS_OVERFLOW_DURATION;
use crate::{CacheMeta, clock};
use http::HeaderName;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

/// The most purges that are remembered. One more, and the oldest is replaced by one of everything that was stored
/// before it.
const MOST: usize = 65_536;

/// The purges by tag, host or prefix, or of everything.
///
/// A purge takes constant time, regardless of the number of entries: it notes when it happened, in microseconds of
/// [`clock::now`](crate::clock::now). A stored response knows when its request was sent, and counts as absent if
/// something purged it after that; so a response that was under way during the purge is purged as well. The space
/// is freed when the response is asked for or evicted.
///
/// 65,536 purges are remembered at most, each about 100 bytes and its text. Stored responses outlive the process if
/// their storage does, so the purges have to as well: see [`serialize`](Self::serialize).
pub struct Purges {
    /// Until when everything is purged.
    all: AtomicU64,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    tags: HashMap<Box<[u8]>, u64>,
    /// `scheme://authority` in lower case.
    origins: HashMap<Box<[u8]>, u64>,
    prefixes: HashMap<Box<[u8]>, u64>,
    /// How many prefixes of each length there are.
    lengths: BTreeMap<usize, usize>,
}

impl Purges {
    pub(super) fn new() -> Self {
        Purges {
            all: AtomicU64::new(0),
            table: RwLock::default(),
        }
    }

    /// Purges every response with this tag, as it stands in one of the
    /// [fields for tags](super::CachePolicy::tag_fields). Capitals count.
    pub fn purge_tag(&self, tag: &str) {
        self.note(|table, now| {
            table.tags.insert(tag.as_bytes().into(), now);
        });
    }

    /// Purges every response of a scheme and an authority, as they stand in keys: for example `https` and
    /// `one.example`.
    pub fn purge_host(&self, scheme: &str, authority: &str) {
        let mut origin = Vec::new();
        super::keys::push_uri(&mut origin, scheme, authority.as_bytes(), b"/");
        origin.pop();
        self.note(|table, now| {
            table.origins.insert(origin.into(), now);
        });
    }

    /// Purges every response whose URI begins like this, for example `https://one.example/news/`. A look-up costs
    /// one more step for each length of prefix that was ever purged.
    pub fn purge_prefix(&self, prefix: &str) {
        self.note(|table, now| table.insert_prefix(prefix.as_bytes().into(), now));
    }

    /// Purges everything.
    pub fn purge_all(&self) {
        self.all
            .fetch_max(generation(clock::now()), Ordering::AcqRel);
    }

    /// How many purges are remembered.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether nothing was purged.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.all.load(Ordering::Acquire) == 0
    }

    /// All purges as bytes, for a file beside a storage that outlives the process.
    pub fn serialize(&self) -> Vec<u8> {
        let table = self.read();
        let mut out = vec![1];
        put(&mut out, b'*', self.all.load(Ordering::Acquire), b"");
        for (kind, purges) in [
            (b't', &table.tags),
            (b'o', &table.origins),
            (b'p', &table.prefixes),
        ] {
            for (text, at) in purges {
                put(&mut out, kind, *at, text);
            }
        }
        out
    }

    /// Adds the purges that [`serialize`](Self::serialize) wrote.
    ///
    /// # Errors
    /// `InternalError`, if these bytes are not what it wrote. Then everything that is stored should be purged
    /// ([`purge_all`](Self::purge_all)): it is unknown which responses may still be served.
    pub fn deserialize(&self, bytes: &[u8]) -> Result<()> {
        let damaged = || Error::explain(ErrorType::InternalError, "stored purges are damaged");
        let [1, rest @ ..] = bytes else {
            return Err(damaged());
        };
        let mut rest = rest;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        while !rest.is_empty() {
            let (head, tail) = rest.split_first_chunk::<13>().ok_or_else(damaged)?;
            let [kind, at @ .., l0, l1, l2, l3] = *head;
            let at = u64::from_le_bytes(at);
            let length = u32::from_le_bytes([l0, l1, l2, l3]);
            let length =
                usize::try_from(length).or_err(ErrorType::InternalError, "a purge is too long")?;
            let (text, tail) = tail.split_at_checked(length).ok_or_else(damaged)?;
            rest = tail;
            let text: Box<[u8]> = text.into();
            match kind {
                b'*' => {
                    self.all.fetch_max(at, Ordering::AcqRel);
                }
                b't' => later(&mut table.tags, text, at),
                b'o' => later(&mut table.origins, text, at),
                b'p' => table.insert_prefix(text, at),
                _ => return Err(damaged()),
            }
            self.bound(&mut table);
        }
        Ok(())
    }

    /// The number of a response whose request was sent at this time.
    pub(super) fn generation_at(&self, requested: SystemTime) -> u64 {
        generation(requested)
    }

    /// Whether a stored response has been purged.
    pub(super) fn hits(&self, key: &[u8], meta: &CacheMeta, tag_fields: &[HeaderName]) -> bool {
        let own = meta
            .generation()
            .unwrap_or_else(|| generation(meta.updated()));
        if own <= self.all.load(Ordering::Acquire) {
            return true;
        }
        let table = self.read();
        if table.len() == 0 {
            return false;
        }
        let is_later = |at: Option<&u64>| at.is_some_and(|at| *at >= own);
        let uri = uri_in(key);
        let has_purged_tag = !table.tags.is_empty()
            && tags_in(meta, tag_fields).any(|tag| is_later(table.tags.get(tag)));
        let origin = origin_of(uri);
        has_purged_tag
            || is_later(table.origins.get(origin))
            || table.lengths.keys().any(|length| {
                let prefix = uri.get(..*length);
                prefix.is_some_and(|prefix| is_later(table.prefixes.get(prefix)))
            })
    }

    fn note(&self, insert: impl FnOnce(&mut Table, u64)) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        insert(&mut table, generation(clock::now()));
        self.bound(&mut table);
    }

    /// Makes room: the older half is forgotten, and everything older than it purged.
    fn bound(&self, table: &mut Table) {
        if table.len() <= MOST {
            return;
        }
        let mut times: Vec<_> = [&table.tags, &table.origins, &table.prefixes]
            .into_iter()
            .flat_map(|purges| purges.values().copied())
            .collect();
        let middle = times.len() / 2;
        let (_, &mut middle, _) = times.select_nth_unstable(middle);
        self.all.fetch_max(middle, Ordering::AcqRel);
        for purges in [&mut table.tags, &mut table.origins, &mut table.prefixes] {
            purges.retain(|_, at| *at > middle);
        }
        table.lengths.clear();
        for prefix in table.prefixes.keys() {
            *table.lengths.entry(prefix.len()).or_default() += 1;
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        // A panic elsewhere while the lock was held leaves maps that are whole.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn len(&self) -> usize {
        self.tags.len() + self.origins.len() + self.prefixes.len()
    }

    fn insert_prefix(&mut self, prefix: Box<[u8]>, at: u64) {
        let length = prefix.len();
        if !self.prefixes.contains_key(&prefix) {
            *self.lengths.entry(length).or_default() += 1;
        }
        later(&mut self.prefixes, prefix, at);
    }
}

impl fmt::Debug for Purges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purges").field("len", &self.len()).finish()
    }
}

fn later(purges: &mut HashMap<Box<[u8]>, u64>, text: Box<[u8]>, at: u64) {
    let known = purges.entry(text).or_default();
    *known = at.max(*known);
}

fn put(out: &mut Vec<u8>, kind: u8, at: u64, text: &[u8]) {
    let Ok(length) = u32::try_from(text.len()) else {
        return;
    };
    out.push(kind);
    out.extend(at.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(text);
}

/// Microseconds since 1970.
fn generation(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .min(DELTA_SECONDS_OVERFLOW_DURATION * 1000);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The part after the method, and the digest if there is one, of a key of [`CachePolicy`](super::CachePolicy).
pub(crate) fn uri_in(primary_key: &[u8]) -> &[u8] {
    primary_key
        .rsplitn(2, |&byte| byte == b' ')
        .next()
        .unwrap_or_default()
}

/// The tags of a response, in fields that hold them.
pub(crate) fn tags_in<'a>(
    meta: &'a CacheMeta,
    fields: &'a [HeaderName],
) -> impl Iterator<Item = &'a [u8]> {
    let lines = fields
        .iter()
        .flat_map(|name| meta.response_header().values_of(name));
    lines
        .flat_map(|line| {
            let is_between = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
            line.split(is_between)
        })
        .filter(|tag| !tag.is_empty())
}

fn origin_of(uri: &[u8]) -> &[u8] {
    let authority = uri
        .windows(3)
        .position(|window| window == b"://")
        .map_or(0, |at| at + 3);
    let rest = uri.get(authority..).unwrap_or_default();
    let end = rest.iter().position(|&byte| byte == b'/');
    uri.get(..authority + end.unwrap_or(rest.len()))
        .unwrap_or(uri)
}
