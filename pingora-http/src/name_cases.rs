//! Which names of a header map are not spelt in Title-Case, and walking a map in wire form.

use bytes::{BufMut, Bytes};
use http::header::{AsHeaderName, Entry, HeaderName};
use http::{HeaderMap, HeaderValue};
use pingora_error::{Error, ErrorType, Result};
use std::sync::OnceLock;

use crate::case_header_name::{
    CaseHeaderName, FieldName, HeaderNameVariant, put_titled, titled_name, with_titled,
};
use crate::grammar::{has_outer_whitespace, is_field_name, trim};
use crate::name_cache;

/// The reason why a parsed field could not be stored.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldRefused {
    /// The name is not a token.
    Name,
    /// The value contains a control character.
    Value,
    /// The map is full (32,768 names).
    TooMany,
}

/// A field whose name is spelt differently.
#[derive(Debug, Clone)]
struct Differing {
    /// The index of its value among those of the same name, from 0.
    nth: usize,
    case: CaseHeaderName,
}

impl Differing {
    #[inline]
    fn is_of(&self, name: &HeaderName) -> bool {
        self.case
            .as_slice()
            .eq_ignore_ascii_case(name.as_str().as_bytes())
    }
}

/// The spellings of one map's names.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameCases {
    kept: bool,
    /// In the order of arrival, which is also the map's until a field is removed.
    differing: Vec<Differing>,
    /// All names in the order of the map, built on demand.
    spelt_out: OnceLock<Box<[CaseHeaderName]>>,
}

impl NameCases {
    pub(crate) fn kept() -> Self {
        Self {
            kept: true,
            ..Self::default()
        }
    }

    pub(crate) fn are_kept(&self) -> bool {
        self.kept
    }

    /// Resets this to the initial state, keeping the allocation.
    pub(crate) fn reset(&mut self, kept: bool) {
        self.kept = kept;
        self.differing.clear();
        self.changed();
    }

    pub(crate) fn assign_from(&mut self, other: &Self) {
        self.kept = other.kept;
        self.differing.clone_from(&other.differing);
        self.changed();
    }

    #[inline]
    fn changed(&mut self) {
        if self.spelt_out.get().is_some() {
            self.spelt_out = OnceLock::new();
        }
    }

    /// Every name of `headers`, in the map's order.
    pub(crate) fn spelt_out(&self, headers: &HeaderMap) -> &[CaseHeaderName] {
        if !self.kept {
            return &[];
        }
        self.spelt_out.get_or_init(|| {
            self.walk(headers)
                .map(|(name, case, _)| case.cloned().unwrap_or_else(|| titled_name(name)))
                .collect()
        })
    }

    #[inline]
    fn walk<'a>(&'a self, headers: &'a HeaderMap) -> Walk<'a> {
        Walk {
            fields: headers.iter(),
            differing: &self.differing,
            next: 0,
            left: self.differing.len(),
            last: None,
            nth: 0,
        }
    }

    /// Appends `Name: value CRLF` for each field.
    #[inline]
    pub(crate) fn write(&self, headers: &HeaderMap, buf: &mut impl BufMut) {
        for (name, case, value) in self.walk(headers) {
            match case {
                Some(case) => buf.put_slice(case.as_slice()),
                None => put_titled(name.as_str().as_bytes(), buf),
            }
            buf.put_slice(b": ");
            buf.put_slice(value.as_bytes());
            buf.put_slice(b"\r\n");
        }
    }

    pub(crate) fn map<F>(&self, headers: &HeaderMap, mut f: F) -> Result<()>
    where
        F: FnMut(HeaderNameVariant<'_>, &HeaderValue) -> Result<()>,
    {
        self.walk(headers)
            .try_for_each(|(name, case, value)| match case {
                Some(case) => f(HeaderNameVariant::Case(case), value),
                None => with_titled(name, |titled| f(HeaderNameVariant::Titled(titled), value)),
            })
    }

    #[inline]
    fn forget(&mut self, name: &HeaderName) {
        if !self.differing.is_empty() {
            self.differing.retain(|entry| !entry.is_of(name));
        }
    }

    pub(crate) fn insert_field(
        &mut self,
        headers: &mut HeaderMap,
        field: FieldName,
        value: HeaderValue,
    ) -> Result<()> {
        let FieldName { name, case } = field;
        self.changed();
        self.forget(&name);
        headers.try_insert(name, value).map_err(|_| map_is_full())?;
        if let Some(case) = case.filter(|_| self.kept) {
            self.differing.push(Differing { nth: 0, case });
        }
        Ok(())
    }

    /// A field from the tokeniser.
    #[inline]
    pub(crate) fn append_parsed(
        &mut self,
        headers: &mut HeaderMap,
        name: &[u8],
        value: Bytes,
    ) -> std::result::Result<(), FieldRefused> {
        let (name, case) = name_cache::name_and_case(name).ok_or(FieldRefused::Name)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| FieldRefused::Value)?;
        self.append_field(headers, FieldName { name, case }, value)
            .map(drop)
            .ok_or(FieldRefused::TooMany)
    }

    /// `None`: the map is full.
    #[inline]
    pub(crate) fn append_field(
        &mut self,
        headers: &mut HeaderMap,
        field: FieldName,
        value: HeaderValue,
    ) -> Option<bool> {
        self.changed();
        let FieldName { name, case } = field;
        let known = headers.try_append(name, value).ok()?;
        if let Some(case) = case.filter(|_| self.kept) {
            let nth = if known {
                place_of_last(headers, &case)
            } else {
                0
            };
            self.differing.push(Differing { nth, case });
        }
        Some(known)
    }

    pub(crate) fn remove<'a, N: ?Sized>(
        &mut self,
        headers: &mut HeaderMap,
        name: &'a N,
    ) -> Option<HeaderValue>
    where
        &'a N: 'a + AsHeaderName,
    {
        self.changed();
        if self.differing.is_empty() {
            return headers.remove(name);
        }
        match headers.try_entry(name) {
            Ok(Entry::Occupied(entry)) => {
                self.forget(entry.key());
                Some(entry.remove())
            }
            _ => None,
        }
    }
}

/// The fields of a map in order, each with its spelling if that differs.
struct Walk<'a> {
    fields: http::header::Iter<'a, HeaderValue>,
    differing: &'a [Differing],
    /// The position of the next differing field, if the orders agree.
    next: usize,
    /// Differing fields not yet reached.
    left: usize,
    last: Option<&'a HeaderName>,
    nth: usize,
}

impl<'a> Walk<'a> {
    #[inline]
    fn case_of(&mut self, name: &'a HeaderName) -> Option<&'a CaseHeaderName> {
        if self.left == 0 {
            return None;
        }
        // The map yields the values of one name in a row, with a reference to the same name.
        self.nth = match self.last {
            Some(last) if std::ptr::eq(last, name) => self.nth + 1,
            _ => 0,
        };
        self.last = Some(name);
        let nth = self.nth;
        let wanted = |entry: &&Differing| entry.nth == nth && entry.is_of(name);
        let found = match self.differing.get(self.next).filter(wanted) {
            Some(found) => {
                self.next += 1;
                found
            }
            None => {
                let at = self.differing.iter().position(|e| wanted(&e))?;
                self.next = at + 1;
                self.differing.get(at)?
            }
        };
        self.left -= 1;
        Some(&found.case)
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (&'a HeaderName, Option<&'a CaseHeaderName>, &'a HeaderValue);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.fields.next()?;
        Some((name, self.case_of(name), value))
    }
}

/// The index of the last appended value of its name.
#[cold]
fn place_of_last(headers: &HeaderMap, case: &CaseHeaderName) -> usize {
    let name = str::from_utf8(case.as_slice()).unwrap_or_default();
    headers.get_all(name).iter().count().saturating_sub(1)
}

/// A value from a program, without the whitespace around it: in HTTP/1 it is not part of the value, and
/// HTTP/2 forbids it (RFC 9113 section 8.2.1).
pub(crate) fn value_of(value: impl TryInto<HeaderValue>) -> Result<HeaderValue> {
    let value = value.try_into().map_err(|_| {
        Error::explain(
            ErrorType::InvalidHTTPHeader,
            "a header value must not contain control characters other than tab",
        )
    })?;
    if has_outer_whitespace(value.as_bytes()) {
        Ok(trimmed(&value))
    } else {
        Ok(value)
    }
}

/// `value` without the whitespace around it.
#[cold]
fn trimmed(value: &HeaderValue) -> HeaderValue {
    let mut inner = match HeaderValue::from_bytes(trim(value.as_bytes())) {
        Ok(inner) => inner,
        // Any part of a valid value is valid.
        Err(_) => return value.clone(),
    };
    inner.set_sensitive(value.is_sensitive());
    inner
}

/// Makes a map that the [`http`] crate accepted suitable for a head: removes names that are not tokens,
/// and the whitespace around values.
pub(crate) fn make_sound(headers: &mut HeaderMap) {
    let mut names_are_sound = true;
    for (name, value) in headers.iter_mut() {
        names_are_sound &= is_field_name(name.as_str().as_bytes());
        if has_outer_whitespace(value.as_bytes()) {
            *value = trimmed(value);
        }
    }
    if !names_are_sound {
        remove_unsound_names(headers);
    }
}

#[cold]
fn remove_unsound_names(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| !is_field_name(name.as_str().as_bytes()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

#[cold]
pub(crate) fn map_is_full() -> Box<Error> {
    Error::explain(
        ErrorType::InvalidHTTPHeader,
        "a head holds at most 32768 different header names",
    )
}

/// Replaces the content of `map` with a copy of `other`'s, keeping the allocation of `map`.
pub(crate) fn assign_map(map: &mut HeaderMap, other: &HeaderMap) {
    map.clear();
    map.reserve(other.keys_len());
    for (name, value) in other {
        map.append(name, value.clone());
    }
}
