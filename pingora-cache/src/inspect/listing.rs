//! Questions and answers of a listing, page by page.

use super::Entry;
use crate::key::{HashBinary, str2hex};
use crate::policy::{tags_in, uri_in};
use http::HeaderName;
use pingora_error::{Error, ErrorType};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::fmt;
use std::str::FromStr;

/// A page ends with the key that fills it, or with so many entries looked at.
const LIMIT: usize = 100;
const MOST: usize = 1_000;
const LOOK_AT: usize = 1_000;
const MOST_LOOKED_AT: usize = 100_000;

/// A question for a listing.
///
/// A page costs what it looks at, not what it shows: a disk has to read the head of each response for that. So a page may
/// be short, even empty, and yet not the last.
#[derive(Debug, Clone)]
pub struct Listing {
    prefix: Vec<u8>,
    tag: Option<String>,
    tag_fields: Vec<HeaderName>,
    limit: usize,
    look_at: usize,
    after: Option<Cursor>,
}

impl Default for Listing {
    fn default() -> Self {
        Listing::new()
    }
}

impl Listing {
    /// Everything, from the beginning: a page ends with the key that brings it to 100 entries, or after looking at 1,000.
    pub fn new() -> Self {
        Listing {
            prefix: Vec::new(),
            tag: None,
            tag_fields: Vec::new(),
            limit: LIMIT,
            look_at: LOOK_AT,
            after: None,
        }
    }

    /// Only responses whose [URI](Entry::uri) begins like this, for example `https://one.example/news/`.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.as_bytes().to_vec();
        self
    }

    /// Only responses with this tag. None, if the [`Inspector`](super::Inspector) has no policy.
    pub fn tag(mut self, tag: &str) -> Self {
        self.tag = Some(tag.to_owned());
        self
    }

    /// Ends a page with the key that brings it to so many entries: at least 1, at most 1,000. All variants of a key are on
    /// one page, so there may be some more.
    pub fn limit(mut self, entries: usize) -> Self {
        self.limit = entries.clamp(1, MOST);
        self
    }

    /// Ends a page after looking at so many entries: at least 1, at most 100,000.
    pub fn look_at(mut self, entries: usize) -> Self {
        self.look_at = entries.clamp(1, MOST_LOOKED_AT);
        self
    }

    /// Goes on where a page ended.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Where to go on; `None` at the beginning. For storages.
    pub fn cursor(&self) -> Option<Cursor> {
        self.after
    }

    /// Whether an entry is among what is asked for. For storages.
    pub fn accepts(&self, entry: &Entry) -> bool {
        if !uri_in(entry.primary_key()).starts_with(&self.prefix) {
            return false;
        }
        self.tag.as_ref().is_none_or(|tag| {
            let mut tags = tags_in(entry.meta(), &self.tag_fields);
            tags.any(|own| own == tag.as_bytes())
        })
    }

    pub(super) fn with_tag_fields(mut self, fields: &[HeaderName]) -> Self {
        self.tag_fields = fields.to_vec();
        self
    }

    /// For one of two storages, which has its own place to go on.
    pub(crate) fn within(&self, after: Option<Cursor>) -> Self {
        Listing {
            after,
            ..self.clone()
        }
    }

    /// The same from the beginning, with so many entries less on a page; `None` if there is room for no more.
    pub(crate) fn left_after(&self, entries: usize) -> Option<Self> {
        let limit = self.limit.checked_sub(entries).filter(|left| *left > 0)?;
        Some(Listing {
            limit,
            after: None,
            ..self.clone()
        })
    }

    fn digest(&self) -> Option<HashBinary> {
        self.after.and_then(|cursor| cursor.after)
    }
}

/// Where a page ended. As text, for a URL, it is two groups of hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The storage, of several: one bit for each pair, the outermost first.
    tier: u8,
    after: Option<HashBinary>,
}

impl Cursor {
    /// After the key with this digest.
    pub fn after(digest: HashBinary) -> Self {
        Cursor {
            tier: 0,
            after: Some(digest),
        }
    }

    /// The digest of the last key, if there was one.
    pub fn digest(&self) -> Option<HashBinary> {
        self.after
    }

    /// At the beginning of the second of a pair of storages.
    pub(crate) fn second() -> Self {
        Cursor {
            tier: 1,
            after: None,
        }
    }

    /// Whether it is in the second of a pair, and where in it.
    pub(crate) fn split(self) -> (bool, Option<Self>) {
        let tier = self.tier >> 1;
        let inner = Cursor { tier, ..self };
        let is_beginning = tier == 0 && self.after.is_none();
        (self.tier & 1 == 1, (!is_beginning).then_some(inner))
    }

    /// The same place, seen from the pair.
    pub(crate) fn of(self, is_second: bool) -> Self {
        Cursor {
            tier: self.tier << 1 | u8::from(is_second),
            ..self
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}-", self.tier)?;
        let mut digest = self.after.iter().flatten();
        digest.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = Box<Error>;

    /// Reads what `Display` wrote.
    ///
    /// # Errors
    /// `InternalError`, if it did not write this.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (tier, digest) = text.split_once('-')?;
            let after = match digest {
                "" => None,
                digest => Some(str2hex(digest)?),
            };
            let is_number = tier.len() == 2 && tier.bytes().all(|byte| byte.is_ascii_hexdigit());
            let tier = is_number.then(|| u8::from_str_radix(tier, 16).ok())??;
            Some(Cursor { tier, after })
        };
        read().ok_or_else(|| Error::explain(ErrorType::InternalError, "this is no cursor"))
    }
}

/// A page of a listing.
///
/// `Serialize` writes `entries` and `next`, the text of a [`Cursor`] or null.
#[derive(Debug, Clone, Default)]
pub struct Page {
    entries: Vec<Entry>,
    next: Option<Cursor>,
}

impl Page {
    /// A page, and where the next one begins; `None` if it is the last.
    pub fn new(entries: Vec<Entry>, next: Option<Cursor>) -> Self {
        Page { entries, next }
    }

    /// The entries that were found.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the next page begins; `None` after the last.
    pub fn next(&self) -> Option<Cursor> {
        self.next
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// The same page with another end.
    pub(crate) fn ending(mut self, next: Option<Cursor>) -> Self {
        self.next = next;
        self
    }
}

impl Serialize for Page {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Page", 2)?;
        out.serialize_field("entries", &self.entries)?;
        let next = self.next.map(|next| next.to_string());
        out.serialize_field("next", &next)?;
        out.end()
    }
}

/// Makes a page of the keys that follow, of which there are as many as may be looked at, or all.
pub(crate) fn page<E>(
    listing: &Listing,
    keys: &[HashBinary],
    mut entries_of: impl FnMut(&HashBinary) -> Result<Vec<Entry>, E>,
) -> Result<Page, E> {
    let mut found = Vec::new();
    let mut looked_at = 0;
    for (at, key) in keys.iter().enumerate() {
        let entries = entries_of(key)?;
        looked_at += entries.len().max(1);
        found.extend(entries.into_iter().filter(|entry| listing.accepts(entry)));
        let is_full = found.len() >= listing.limit || looked_at >= listing.look_at;
        let is_last = at + 1 == keys.len() && keys.len() < listing.look_at;
        if is_full && !is_last {
            return Ok(Page::new(found, Some(Cursor::after(*key))));
        }
    }
    Ok(Page::new(found, None))
}

/// At most so many digests of keys that come after one of them, in the order of a listing: by shard, and then by digest. A
/// shard is given by its number, which is the first byte of its digests, modulo the number of shards.
pub(crate) fn keys_after<S>(
    listing: &Listing,
    shards: impl ExactSizeIterator<Item = S>,
    digests_of: impl Fn(S, &mut dyn FnMut(&HashBinary)),
) -> Vec<HashBinary> {
    let (after, most) = (listing.digest(), listing.look_at);
    let first = after.map_or(0, |[first, ..]| usize::from(first) % shards.len().max(1));
    let mut keys = Vec::new();
    for (at, shard) in shards.enumerate().skip(first) {
        if keys.len() >= most {
            break;
        }
        let begin = keys.len();
        digests_of(shard, &mut |digest| {
            if at != first || after.is_none_or(|after| *digest > after) {
                keys.push(*digest);
            }
        });
        if let Some(own) = keys.get_mut(begin..) {
            own.sort_unstable();
        }
        keys.truncate(most);
    }
    keys
}
