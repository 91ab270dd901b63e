//! Fields as they arrived, before they are accessed.
//!
//! Most fields of a proxied message are only passed on. A head from the wire therefore keeps its bytes
//! and the position of each field in them. The map is built on first access, and unchanged fields are
//! written by copying their bytes.

mod added;
mod spans;

pub use spans::ParsedFields;

use bytes::{BufMut, Bytes};
use http::header::DATE;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, request, response};
use pingora_error::Result;
use std::sync::OnceLock;

use spans::{LONGEST_HEAD, Span, Wire};

use crate::case_header_name::IntoCaseHeaderName;
use crate::control_field::ControlField;
use crate::name_cases::{FieldRefused, NameCases, assign_map, map_is_full, value_of};

/// Clearing a map walks its whole table, and most maps are empty.
#[inline]
fn clear_map(headers: &mut HeaderMap) {
    if !headers.is_empty() {
        headers.clear();
    }
}

/// The parts of a message's head in the [`http`] crate's types.
pub(crate) trait Parts: Clone {
    fn headers(&self) -> &HeaderMap;
    fn headers_mut(&mut self) -> &mut HeaderMap;
    fn extensions_mut(&mut self) -> &mut Extensions;
    /// Takes over everything but the fields.
    fn assign_line(&mut self, other: &Self);
    fn empty() -> Self;
}

impl Parts for request::Parts {
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    fn assign_line(&mut self, other: &Self) {
        self.method.clone_from(&other.method);
        self.uri.clone_from(&other.uri);
        self.version = other.version;
        self.extensions.clone_from(&other.extensions);
    }

    fn empty() -> Self {
        http::Request::new(()).into_parts().0
    }
}

impl Parts for response::Parts {
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    fn assign_line(&mut self, other: &Self) {
        self.status = other.status;
        self.version = other.version;
        self.extensions.clone_from(&other.extensions);
    }

    fn empty() -> Self {
        http::Response::new(()).into_parts().0
    }
}

/// A complete head, built from its bytes on first access.
#[derive(Debug, Clone)]
struct View<P> {
    parts: P,
    cases: NameCases,
}

/// The state of a head before it was lent out for changes.
#[derive(Debug)]
struct Before<P> {
    is_lent: bool,
    spans: Vec<Span>,
    control: u64,
    added: usize,
    view: OnceLock<Box<View<P>>>,
    /// The fields that had to be moved into the map in the meantime.
    settled: Option<Box<Wire>>,
}

impl<P> Default for Before<P> {
    fn default() -> Self {
        Self {
            is_lent: false,
            spans: Vec::new(),
            control: 0,
            added: 0,
            view: OnceLock::new(),
            settled: None,
        }
    }
}

/// A head: its first line, and its fields either in a map or still in the form in which they arrived.
#[derive(Debug)]
pub(crate) struct Head<P> {
    /// Complete if `wire` is not used; otherwise all but the fields.
    base: P,
    cases: NameCases,
    wire: Wire,
    /// The wire's fields as a map. Built on demand, dropped with any change.
    view: OnceLock<Box<View<P>>>,
    before: Before<P>,
}

impl<P: Parts> Clone for Head<P> {
    fn clone(&self) -> Self {
        Self {
            base: self.base.clone(),
            cases: self.cases.clone(),
            wire: self.wire.clone(),
            view: OnceLock::new(),
            before: Before::default(),
        }
    }
}

impl<P: Parts> Head<P> {
    pub(crate) fn new(base: P, cases: NameCases) -> Self {
        Self {
            base,
            cases,
            wire: Wire::default(),
            view: OnceLock::new(),
            before: Before::default(),
        }
    }

    /// The first line; the fields may be missing.
    #[inline]
    pub(crate) fn line(&self) -> &P {
        &self.base
    }

    /// The first line, mutably.
    #[inline]
    pub(crate) fn line_mut(&mut self) -> &mut P {
        self.forget_view();
        &mut self.base
    }

    #[inline(always)]
    fn forget_view(&mut self) {
        #[cold]
        fn forget<V>(view: &mut OnceLock<V>) {
            *view = OnceLock::new();
        }
        if self.view.get().is_some() {
            forget(&mut self.view);
        }
    }

    /// The complete head.
    #[inline]
    pub(crate) fn parts(&self) -> &P {
        if self.wire.is_used() {
            &self.view().parts
        } else {
            &self.base
        }
    }

    #[inline]
    pub(crate) fn cases(&self) -> &NameCases {
        if self.wire.is_used() {
            &self.view().cases
        } else {
            &self.cases
        }
    }

    pub(crate) fn are_cases_kept(&self) -> bool {
        self.cases.are_kept()
    }

    /// An owned map of the fields, which is not cached here. `spare` makes an empty map, where one has to be filled.
    pub(crate) fn copied_fields(&self, spare: impl FnOnce() -> HeaderMap) -> HeaderMap {
        if self.wire.is_used() && self.view.get().is_none() {
            let mut headers = spare();
            self.wire.fill(&mut headers, &mut NameCases::default());
            return headers;
        }
        self.parts().headers().clone()
    }

    fn view(&self) -> &View<P> {
        self.view.get_or_init(|| {
            let mut parts = P::empty();
            parts.assign_line(&self.base);
            let mut cases = self.cases.clone();
            self.wire.fill(parts.headers_mut(), &mut cases);
            Box::new(View { parts, cases })
        })
    }

    /// Whether fields can be added without a map: none exists yet, not even for reading.
    fn has_no_map(&self) -> bool {
        self.wire.is_used() && self.view.get().is_none()
    }

    /// Sets a field, replacing all with the same name.
    pub(crate) fn insert(
        &mut self,
        name: impl IntoCaseHeaderName,
        value: impl TryInto<HeaderValue>,
    ) -> Result<()> {
        let (field, value) = (name.into_field_name()?, value_of(value)?);
        if self.has_no_map() && self.wire.may_add(&field.name) {
            self.wire.added.push(field, value);
            return Ok(());
        }
        let (headers, cases) = self.fields_mut();
        cases.insert_field(headers, field, value)
    }

    /// Adds a field in addition to those with the same name. Returns whether there were any.
    pub(crate) fn append(
        &mut self,
        name: impl IntoCaseHeaderName,
        value: impl TryInto<HeaderValue>,
    ) -> Result<bool> {
        let (field, value) = (name.into_field_name()?, value_of(value)?);
        if self.has_no_map() && self.wire.may_add(&field.name) {
            self.wire.added.push(field, value);
            return Ok(false);
        }
        let (headers, cases) = self.fields_mut();
        let known = cases.append_field(headers, field, value);
        known.ok_or_else(map_is_full)
    }

    /// The map and its spellings, mutably.
    pub(crate) fn fields_mut(&mut self) -> (&mut HeaderMap, &mut NameCases) {
        self.settle();
        (self.base.headers_mut(), &mut self.cases)
    }

    pub(crate) fn extensions_mut(&mut self) -> &mut Extensions {
        self.settle();
        self.base.extensions_mut()
    }

    /// Moves the fields into the map, where they can be changed.
    fn settle(&mut self) {
        if !self.wire.is_used() {
            debug_assert!(self.wire.spans.is_empty(), "the head was not taken over");
            return;
        }
        if self.before.is_lent {
            self.before.settled = Some(Box::new(self.wire.clone()));
        }
        match self.view.take() {
            Some(view) => {
                self.base = view.parts;
                self.cases = view.cases;
            }
            None => self.wire.fill(self.base.headers_mut(), &mut self.cases),
        }
        self.wire.clear();
    }

    /// Lets the fields be changed temporarily: [`take_back`](Self::take_back) restores them. `false`:
    /// they are in the map, where that is not possible.
    pub(crate) fn lend(&mut self) -> bool {
        if !self.wire.is_used() {
            return false;
        }
        self.before.is_lent = true;
        self.before.spans.clone_from(&self.wire.spans);
        self.before.control = self.wire.control;
        self.before.added = self.wire.added.len();
        std::mem::swap(&mut self.before.view, &mut self.view);
        true
    }

    pub(crate) fn take_back(&mut self) {
        if let Some(wire) = self.before.settled.take() {
            self.wire = *wire;
            self.base.headers_mut().clear();
            self.cases.reset(true);
        }
        self.forget_view();
        std::mem::swap(&mut self.before.view, &mut self.view);
        std::mem::swap(&mut self.before.spans, &mut self.wire.spans);
        self.before.spans.clear();
        self.wire.control = self.before.control;
        self.wire.added.truncate(self.before.added);
        self.before.is_lent = false;
    }

    pub(crate) fn into_parts(mut self) -> P {
        self.settle();
        self.base
    }

    /// Drops all fields, spellings and extensions; from here on spellings are kept. Keeps all
    /// allocations.
    pub(crate) fn reset(&mut self) -> &mut P {
        self.forget_view();
        self.wire.clear();
        clear_map(self.base.headers_mut());
        self.base.extensions_mut().clear();
        self.cases.reset(true);
        &mut self.base
    }

    /// Replaces all fields by these, which have no spelling of their own. Returns the previous map.
    pub(crate) fn take_fields(&mut self, fields: HeaderMap) -> HeaderMap {
        self.forget_view();
        self.wire.clear();
        self.cases.reset(false);
        std::mem::replace(self.base.headers_mut(), fields)
    }

    /// Whether the map of fields has, or has room for, more than this. Builds no map.
    pub(crate) fn is_larger_than(&self, fields: usize) -> bool {
        let headers = self.base.headers();
        // The capacity does not tell of values that share a name.
        headers.len() > fields || headers.capacity() > fields
    }

    /// Becomes a copy of `other`, reusing allocations.
    pub(crate) fn assign_from(&mut self, other: &Self) {
        self.forget_view();
        self.base.assign_line(&other.base);
        self.cases.assign_from(&other.cases);
        self.wire.clone_from(&other.wire);
        if other.wire.is_used() {
            clear_map(self.base.headers_mut())
        } else {
            assign_map(self.base.headers_mut(), other.base.headers())
        }
    }

    /// Takes over fields of `head` that the tokeniser found valid; there will be `count` of them.
    #[inline]
    pub(crate) fn parsed_fields<'a>(
        &'a mut self,
        head: &'a Bytes,
        count: usize,
    ) -> ParsedFields<'a> {
        self.forget_view();
        self.settle();
        let stay = self.base.headers().is_empty() && head.len() <= LONGEST_HEAD;
        if stay {
            self.wire.spans.reserve(count);
        }
        ParsedFields {
            stay,
            head,
            wire: &mut self.wire,
            headers: self.base.headers_mut(),
            cases: &mut self.cases,
        }
    }

    /// Takes over the head that contains the fields. Without this call they are lost.
    #[inline]
    pub(crate) fn keep_head(&mut self, head: Bytes) {
        if !self.wire.spans.is_empty() && !self.wire.is_used() {
            self.wire.head = head;
        }
    }

    /// Adds a field that is not in the head.
    pub(crate) fn append_parsed(
        &mut self,
        name: &[u8],
        value: Bytes,
    ) -> std::result::Result<(), FieldRefused> {
        let (headers, cases) = self.fields_mut();
        cases.append_parsed(headers, name, value)
    }

    /// The value of the first field of this name.
    pub(crate) fn first_value(&self, name: &HeaderName) -> Option<&[u8]> {
        if self.wire.is_used() {
            self.wire.first_value(name)
        } else {
            self.base.headers().get(name).map(HeaderValue::as_bytes)
        }
    }

    /// The values of a field, in order. Builds no map.
    #[inline]
    pub(crate) fn values_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let (wire, map) = if self.has_no_map() {
            (Some(self.wire.values_of(name)), None)
        } else {
            (None, Some(self.parts().headers().get_all(name).iter()))
        };
        let map = map.into_iter().flatten().map(HeaderValue::as_bytes);
        wire.into_iter().flatten().chain(map)
    }

    /// Whether there is a field with one of these names. Builds no map.
    pub(crate) fn has_any(&self, names: &[HeaderName]) -> bool {
        if self.has_no_map() {
            return self.wire.has_any(names);
        }
        let headers = self.parts().headers();
        names.iter().any(|name| headers.contains_key(name))
    }

    /// Brings the fields into the form in which they are written, in memory of their own and no more than they need: such
    /// a head is copied, and written, at little cost. Those that can't have it stay in the map.
    pub(crate) fn compact(&mut self) {
        if !self.cases.are_kept() {
            return;
        }
        let mut head = Vec::with_capacity(self.written_len());
        self.write(&mut head);
        if let Some(wire) = Wire::of_lines(head) {
            self.forget_view();
            self.wire = wire;
            *self.base.headers_mut() = HeaderMap::new();
            self.cases = NameCases::kept();
        }
    }

    /// The fields in the order in which they are written, each with the result of [`ControlField::of`] for its name.
    /// `None`: they are in a map, which also knows what is sensitive.
    #[inline]
    pub(crate) fn lines(
        &self,
    ) -> Option<impl Iterator<Item = (Option<ControlField>, &[u8], &[u8])>> {
        let (wire, added) = (&self.wire, &self.wire.added);
        if !self.has_no_map() || added.is_any_sensitive() {
            return None;
        }
        let added = added.iter().map(|(name, value)| {
            let date = (*name == DATE).then_some(ControlField::Date);
            (date, name.as_str().as_bytes(), value)
        });
        Some(wire.lines().chain(added))
    }

    /// Whether there is a `Date`.
    #[inline]
    pub(crate) fn is_dated(&self) -> bool {
        if self.wire.is_used() {
            self.wire.is_dated()
        } else {
            self.base.headers().contains_key(DATE)
        }
    }

    /// The control fields but `Date`, in order.
    #[inline]
    pub(crate) fn for_each_control<'a>(&'a self, mut f: impl FnMut(ControlField, &'a [u8])) {
        if self.wire.is_used() {
            self.wire
                .control_fields()
                .for_each(|(field, value)| f(field, value))
        } else {
            for (name, value) in self.base.headers() {
                match ControlField::of(name.as_str().as_bytes()) {
                    None | Some(ControlField::Date) => {}
                    Some(field) => f(field, value.as_bytes()),
                }
            }
        }
    }

    /// Removes the control fields that `gone` names, without building a map. `false`: the fields are
    /// already in the map, and nothing was removed.
    #[inline]
    pub(crate) fn remove_from_wire(&mut self, gone: impl FnMut(ControlField) -> bool) -> bool {
        if !self.wire.is_used() {
            return false;
        }
        self.forget_view();
        self.wire.remove_control_fields(gone);
        true
    }

    #[inline]
    pub(crate) fn write(&self, buf: &mut impl BufMut) {
        // Spellings that are not kept have to be converted to Title-Case.
        if self.wire.is_used() && self.cases.are_kept() {
            self.wire.write(buf)
        } else {
            self.cases().write(self.parts().headers(), buf)
        }
    }

    /// The approximate number of bytes that [`Self::write`] will write.
    pub(crate) fn written_len(&self) -> usize {
        if self.wire.is_used() {
            self.wire.head.len() + self.wire.added.written_len()
        } else {
            let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                name.as_str().len() + value.len() + 4
            };
            self.base.headers().iter().map(field).sum()
        }
    }
}

#[cfg(test)]
mod tests;
