//! Fields as they arrived, before anybody asks for them.
//!
//! Most fields of a proxied message are only passed on. A head that came from the wire therefore
//! keeps its bytes and where each field stands in them; the map is made when somebody looks into it,
//! and what nobody changed is written by copying it.

mod added;

use bytes::{BufMut, Bytes};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, request, response};
use pingora_error::Result;
use std::sync::OnceLock;

use added::Added;

use crate::case_header_name::IntoCaseHeaderName;
use crate::control_field::ControlField;
use crate::name_cases::{FieldRefused, NameCases, assign_map, map_is_full, value_of};

/// Longer names go straight into the map, which may refuse them.
const LONGEST_NAME: usize = 1024;
/// A head with more fields goes into the map: so many bits are at hand to mark the control fields with.
const MOST_FIELDS: usize = u64::BITS as usize;
/// Where a field stands is told in 32 bits.
const LONGEST_HEAD: usize = u32::MAX as usize;

/// Where one field stands in its head.
#[derive(Debug, Clone, Copy)]
struct Span {
    name: u32,
    value: u32,
    value_len: u32,
    name_len: u16,
    control: Option<ControlField>,
    /// Whether the whole line stands there just as it would be written.
    is_line: bool,
}

impl Span {
    /// `None`: it does not lie in `head`. That is no longer than [`LONGEST_HEAD`], and the name no
    /// longer than [`LONGEST_NAME`].
    #[inline]
    fn new(head: &[u8], name: &[u8], control: Option<ControlField>, value: &[u8]) -> Option<Self> {
        let offset = |part: &[u8]| {
            let at = (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
            let room = head.len().checked_sub(at)?;
            (part.len() <= room).then_some(at as u32)
        };
        let mut span = Self {
            name: offset(name)?,
            name_len: name.len() as u16,
            control,
            // An empty value may lie anywhere.
            value: offset(value).or(value.is_empty().then_some(0))?,
            value_len: value.len() as u32,
            is_line: false,
        };
        let (name_end, value) = (span.name_end(), span.value_range());
        span.is_line = value.start == name_end + 2
            && head.get(name_end..value.start) == Some(b": ")
            && head.get(value.end..value.end + 2) == Some(b"\r\n");
        Some(span)
    }

    #[inline]
    fn name<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        head.get(self.name as usize..self.name_end())
            .unwrap_or_default()
    }

    #[inline]
    fn name_end(&self) -> usize {
        self.name as usize + usize::from(self.name_len)
    }

    #[inline]
    fn value_range(&self) -> std::ops::Range<usize> {
        self.value as usize..(self.value + self.value_len) as usize
    }

    #[inline]
    fn value<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        head.get(self.value_range()).unwrap_or_default()
    }

    /// The whole line with its CRLF, if it stands in the head just as it would be written.
    #[inline]
    fn line(&self) -> Option<std::ops::Range<usize>> {
        let line = self.name as usize..self.value_range().end + 2;
        self.is_line.then_some(line)
    }
}

/// Fields that still are where they arrived. Empty, if they are in the map.
#[derive(Debug, Default)]
struct Wire {
    head: Bytes,
    spans: Vec<Span>,
    /// Which of them are control fields, a bit each.
    control: u64,
    added: Added,
}

impl Clone for Wire {
    fn clone(&self) -> Self {
        Self {
            head: self.head.clone(),
            spans: self.spans.clone(),
            control: self.control,
            added: self.added.clone(),
        }
    }

    fn clone_from(&mut self, other: &Self) {
        self.head.clone_from(&other.head);
        self.spans.clone_from(&other.spans);
        self.control = other.control;
        self.added.assign_from(&other.added);
    }
}

impl Wire {
    #[inline]
    fn is_used(&self) -> bool {
        !self.head.is_empty()
    }

    fn clear(&mut self) {
        self.head = Bytes::new();
        self.spans.clear();
        self.control = 0;
        self.added.clear();
    }

    /// Whether a field of this name may be added: one that has to be found by its name, or that takes
    /// the place of another, goes into the map.
    fn may_add(&self, name: &HeaderName) -> bool {
        let bytes = name.as_str().as_bytes();
        let is_same = |span: &Span| {
            usize::from(span.name_len) == bytes.len()
                && span.name(&self.head).eq_ignore_ascii_case(bytes)
        };
        self.added.has_room()
            && ControlField::of(bytes).is_none()
            && !self.spans.iter().any(is_same)
            && !self.added.has(name)
    }

    #[inline]
    fn control_fields(&self) -> impl Iterator<Item = (ControlField, &[u8])> {
        let mut left = self.control;
        std::iter::from_fn(move || {
            let span = self.spans.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some((span.control?, span.value(&self.head)))
        })
    }

    /// Removes the control fields that `gone` names.
    #[inline]
    fn remove_control_fields(&mut self, mut gone: impl FnMut(ControlField) -> bool) {
        let mut left = self.control;
        while let Some(place) = (u64::BITS - 1).checked_sub(left.leading_zeros()) {
            // The last one first: those in front of it stay where they are.
            let before = (1 << place) - 1;
            left &= before;
            let field = self.spans.get(place as usize).and_then(|s| s.control);
            if field.is_some_and(&mut gone) {
                self.spans.remove(place as usize);
                self.control = self.control & before | self.control >> 1 & !before;
            }
        }
    }

    /// Keeps a field where it is. `false`: it has to go into the map.
    #[inline]
    fn push(&mut self, span: Option<Span>) -> bool {
        let place = self.spans.len();
        let Some(span) = span.filter(|_| place < MOST_FIELDS) else {
            return false;
        };
        if span.control.is_some() {
            self.control |= 1 << place;
        }
        self.spans.push(span);
        true
    }

    /// Moves the fields into a map. What the map would refuse was refused on arrival.
    fn fill(&self, headers: &mut HeaderMap, cases: &mut NameCases) {
        self.fill_from(&self.head, headers, cases);
    }

    /// [`fill`](Self::fill) from a head that was not taken in yet.
    fn fill_from(&self, head: &Bytes, headers: &mut HeaderMap, cases: &mut NameCases) {
        headers.reserve(self.spans.len());
        for span in &self.spans {
            let name = span.name(head);
            let value = head.slice_ref(span.value(head));
            if cases.append_parsed(headers, name, value).is_err() {
                debug_assert!(false, "the tokeniser and the map disagree");
            }
        }
        self.added.fill(headers, cases);
    }

    /// Copies the fields, neighbours in one piece.
    #[inline]
    fn write(&self, buf: &mut impl BufMut) {
        let mut run = 0..0;
        for span in &self.spans {
            match span.line() {
                Some(line) if line.start == run.end => run.end = line.end,
                line => {
                    buf.put_slice(self.head.get(run).unwrap_or_default());
                    run = line.clone().unwrap_or(0..0);
                    if line.is_none() {
                        buf.put_slice(span.name(&self.head));
                        buf.put_slice(b": ");
                        buf.put_slice(span.value(&self.head));
                        buf.put_slice(b"\r\n");
                    }
                }
            }
        }
        buf.put_slice(self.head.get(run).unwrap_or_default());
        self.added.write(buf);
    }
}

/// Clearing a map goes through its whole table, and most are empty.
#[inline]
fn clear_map(headers: &mut HeaderMap) {
    if !headers.is_empty() {
        headers.clear();
    }
}

/// Takes in the fields of a head as the tokeniser found them. They are left where they are until
/// somebody asks for them; [`RequestHeader::keep_head`](crate::RequestHeader::keep_head) or its twin has to
/// follow.
#[doc(hidden)]
#[derive(Debug)]
pub struct ParsedFields<'a> {
    /// Whether fields stay where they are, so far.
    stay: bool,
    head: &'a Bytes,
    wire: &'a mut Wire,
    headers: &'a mut HeaderMap,
    cases: &'a mut NameCases,
}

impl ParsedFields<'_> {
    /// Adds a field whose name and value lie in the head. `control` is what [`ControlField::of`] says
    /// of the name.
    #[inline]
    pub fn push(
        &mut self,
        name: &[u8],
        control: Option<ControlField>,
        value: &[u8],
    ) -> std::result::Result<(), FieldRefused> {
        let is_short = self.stay && name.len() <= LONGEST_NAME;
        let span = is_short.then(|| Span::new(self.head, name, control, value));
        match self.wire.push(span.flatten()) {
            true => Ok(()),
            false => self.push_into_map(name, value),
        }
    }

    /// [`push`](Self::push) of a line that is written `name: value` and CRLF, and where it begins.
    #[inline]
    pub fn push_line(
        &mut self,
        at: usize,
        name: &[u8],
        control: Option<ControlField>,
        value: &[u8],
    ) -> std::result::Result<(), FieldRefused> {
        let is_short = self.stay && name.len() <= LONGEST_NAME;
        let span = is_short.then(|| Span {
            name: at as u32,
            value: (at + name.len() + 2) as u32,
            value_len: value.len() as u32,
            name_len: name.len() as u16,
            control,
            is_line: true,
        });
        match self.wire.push(span) {
            true => Ok(()),
            false => self.push_into_map(name, value),
        }
    }

    #[cold]
    fn push_into_map(
        &mut self,
        name: &[u8],
        value: &[u8],
    ) -> std::result::Result<(), FieldRefused> {
        self.stay = false;
        self.wire.fill_from(self.head, self.headers, self.cases);
        self.wire.clear();
        let value = Bytes::copy_from_slice(value);
        self.cases.append_parsed(self.headers, name, value)
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

/// All of a head, made from its bytes because somebody looked at it.
#[derive(Debug, Clone)]
struct View<P> {
    parts: P,
    cases: NameCases,
}

/// What a head was like before it was lent out to be changed.
#[derive(Debug)]
struct Before<P> {
    is_lent: bool,
    spans: Vec<Span>,
    control: u64,
    added: usize,
    view: OnceLock<Box<View<P>>>,
    /// The fields that had to be moved into the map meanwhile.
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

/// A head: its first line, and its fields either in a map or still as they arrived.
#[derive(Debug)]
pub(crate) struct Head<P> {
    /// Complete if `wire` is not used; otherwise all but the fields.
    base: P,
    cases: NameCases,
    wire: Wire,
    /// What the wire's fields look like in a map. Made on demand, dropped with any change.
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

    /// The first line, to be changed.
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

    /// All of the head.
    #[inline]
    pub(crate) fn parts(&self) -> &P {
        match self.wire.is_used() {
            false => &self.base,
            true => &self.view().parts,
        }
    }

    #[inline]
    pub(crate) fn cases(&self) -> &NameCases {
        match self.wire.is_used() {
            false => &self.cases,
            true => &self.view().cases,
        }
    }

    pub(crate) fn are_cases_kept(&self) -> bool {
        self.cases.are_kept()
    }

    /// A map of the fields, for whoever keeps it: nothing is made that stays here.
    pub(crate) fn copied_fields(&self) -> HeaderMap {
        if self.wire.is_used() && self.view.get().is_none() {
            let mut headers = HeaderMap::new();
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

    /// Whether fields can be added without a map: there is none yet, not even for looking at it.
    fn has_no_map(&self) -> bool {
        self.wire.is_used() && self.view.get().is_none()
    }

    /// Sets a field, in place of all that had this name.
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

    /// Adds a field beside those that have this name. Returns whether there were any.
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

    /// The map and its spellings, to be changed.
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

    /// Lets the fields be changed for a while: [`take_back`](Self::take_back) makes them what they were.
    /// `false`: they are in the map, and that can't be had.
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

    /// Drops all fields, spellings and extensions; spellings are kept from here on. Allocations
    /// stay.
    pub(crate) fn reset(&mut self) -> &mut P {
        self.forget_view();
        self.wire.clear();
        clear_map(self.base.headers_mut());
        self.base.extensions_mut().clear();
        self.cases.reset(true);
        &mut self.base
    }

    /// Becomes a copy of `other`, reusing allocations.
    pub(crate) fn assign_from(&mut self, other: &Self) {
        self.forget_view();
        self.base.assign_line(&other.base);
        self.cases.assign_from(&other.cases);
        self.wire.clone_from(&other.wire);
        match other.wire.is_used() {
            true => clear_map(self.base.headers_mut()),
            false => assign_map(self.base.headers_mut(), other.base.headers()),
        }
    }

    /// Takes in fields of `head` that the tokeniser found sound; there will be `count` of them.
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

    /// Takes over the head that fields were taken in of. Without it they are lost.
    #[inline]
    pub(crate) fn keep_head(&mut self, head: Bytes) {
        if !self.wire.spans.is_empty() && !self.wire.is_used() {
            self.wire.head = head;
        }
    }

    /// Adds a field that lies elsewhere.
    pub(crate) fn append_parsed(
        &mut self,
        name: &[u8],
        value: Bytes,
    ) -> std::result::Result<(), FieldRefused> {
        let (headers, cases) = self.fields_mut();
        cases.append_parsed(headers, name, value)
    }

    /// The control fields, in order.
    #[inline]
    pub(crate) fn for_each_control<'a>(&'a self, mut f: impl FnMut(ControlField, &'a [u8])) {
        match self.wire.is_used() {
            true => self
                .wire
                .control_fields()
                .for_each(|(field, value)| f(field, value)),
            false => {
                for (name, value) in self.base.headers() {
                    if let Some(field) = ControlField::of(name.as_str().as_bytes()) {
                        f(field, value.as_bytes());
                    }
                }
            }
        }
    }

    /// Removes the control fields that `gone` names, without making a map. `false`: the fields are in
    /// the map already, and nothing was removed.
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
        match self.wire.is_used() {
            // Spellings that are not to be kept have to be made Title-Case.
            true if self.cases.are_kept() => self.wire.write(buf),
            _ => self.cases().write(self.parts().headers(), buf),
        }
    }

    /// About how many bytes [`Self::write`] will write.
    pub(crate) fn written_len(&self) -> usize {
        match self.wire.is_used() {
            true => self.wire.head.len() + self.wire.added.written_len(),
            false => {
                let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    name.as_str().len() + value.len() + 4
                };
                self.base.headers().iter().map(field).sum()
            }
        }
    }
}

#[cfg(test)]
mod tests;
