//! Fields as they arrived, before anybody asks for them.
//!
//! Most fields of a proxied message are only passed on. A head that came from the wire therefore
//! keeps its bytes and where each field stands in them; the map is made when somebody looks into it,
//! and what nobody changed is written by copying it.

use bytes::{BufMut, Bytes};
use http::{Extensions, HeaderMap, request, response};
use std::sync::OnceLock;

use crate::name_cases::{FieldRefused, NameCases, assign_map};

/// Longer names go straight into the map, which may refuse them.
const LONGEST_NAME: usize = 1024;
/// A head with more fields goes straight into the map, which may be full.
const MOST_FIELDS: usize = 1024;

/// Where one field stands in its head.
#[derive(Debug, Clone, Copy)]
struct Span {
    name: u32,
    value: u32,
    value_len: u32,
    name_len: u16,
    /// See [`may_be_control`].
    control: bool,
}

/// First letters of the names, by length, of the fields that are about the message or its connection
/// instead of its content: that frame it, route it, or are for one hop only.
const CONTROL_INITIALS: [[u8; 2]; 20] = {
    let mut initials = [[0; 2]; 20];
    initials[2] = *b"tt"; // te
    initials[4] = *b"hh"; // host
    initials[6] = *b"ee"; // expect
    initials[7] = *b"uu"; // upgrade
    initials[10] = *b"ck"; // connection, keep-alive
    initials[14] = *b"ch"; // content-length, http2-settings
    initials[16] = *b"pp"; // proxy-connection
    initials[17] = *b"tt"; // transfer-encoding
    initials[18] = *b"pp"; // proxy-authenticate
    initials[19] = *b"pp"; // proxy-authorization
    initials
};

/// Whether this may be the name of such a field. `true` for a few other names too.
#[inline]
fn may_be_control(name: &[u8]) -> bool {
    let (Some([one, other]), Some(first)) = (CONTROL_INITIALS.get(name.len()), name.first()) else {
        return false;
    };
    let first = first | 0x20;
    first == *one || first == *other
}

impl Span {
    fn new(head: &[u8], name: &[u8], value: &[u8]) -> Option<Self> {
        let offset = |part: &[u8]| {
            let at = (part.as_ptr() as usize).checked_sub(head.as_ptr() as usize)?;
            (at + part.len() <= head.len()).then_some(at)
        };
        Some(Self {
            name: offset(name)?.try_into().ok()?,
            name_len: name.len().try_into().ok()?,
            // An empty value may lie anywhere.
            value: if value.is_empty() {
                0
            } else {
                offset(value)?.try_into().ok()?
            },
            value_len: value.len().try_into().ok()?,
            control: may_be_control(name),
        })
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
    fn line(&self, head: &[u8]) -> Option<std::ops::Range<usize>> {
        let (name_end, value) = (self.name_end(), self.value_range());
        let line = self.name as usize..value.end + 2;
        let canonical = value.start == name_end + 2
            && head.get(name_end..value.start) == Some(b": ")
            && head.get(value.end..line.end) == Some(b"\r\n");
        canonical.then_some(line)
    }
}

/// Fields that still are where they arrived. Empty, if they are in the map.
#[derive(Debug, Default)]
struct Wire {
    head: Bytes,
    spans: Vec<Span>,
}

impl Clone for Wire {
    fn clone(&self) -> Self {
        Self {
            head: self.head.clone(),
            spans: self.spans.clone(),
        }
    }

    fn clone_from(&mut self, other: &Self) {
        self.head.clone_from(&other.head);
        self.spans.clone_from(&other.spans);
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
    }

    fn is_same(&self, head: &Bytes) -> bool {
        self.head.as_ptr() == head.as_ptr() && self.head.len() == head.len()
    }

    fn control_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans
            .iter()
            .filter(|span| span.control)
            .map(|span| (span.name(&self.head), span.value(&self.head)))
    }

    /// Moves the fields into a map. What the map would refuse was refused on arrival.
    fn fill(&self, headers: &mut HeaderMap, cases: &mut NameCases) {
        headers.reserve(self.spans.len());
        for span in &self.spans {
            let name = span.name(&self.head);
            let value = self.head.slice_ref(span.value(&self.head));
            if cases.append_parsed(headers, name, value).is_err() {
                debug_assert!(false, "the tokeniser and the map disagree");
            }
        }
    }

    /// Copies the fields, neighbours in one piece.
    #[inline]
    fn write(&self, buf: &mut impl BufMut) {
        let mut run = 0..0;
        for span in &self.spans {
            match span.line(&self.head) {
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

/// A head: its first line, and its fields either in a map or still as they arrived.
#[derive(Debug)]
pub(crate) struct Head<P> {
    /// Complete if `wire` is not used; otherwise all but the fields.
    base: P,
    cases: NameCases,
    wire: Wire,
    /// What the wire's fields look like in a map. Made on demand, dropped with any change.
    view: OnceLock<Box<View<P>>>,
}

impl<P: Parts> Clone for Head<P> {
    fn clone(&self) -> Self {
        Self {
            base: self.base.clone(),
            cases: self.cases.clone(),
            wire: self.wire.clone(),
            view: OnceLock::new(),
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

    #[inline]
    fn forget_view(&mut self) {
        if self.view.get().is_some() {
            self.view = OnceLock::new();
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

    fn view(&self) -> &View<P> {
        self.view.get_or_init(|| {
            let mut parts = P::empty();
            parts.assign_line(&self.base);
            let mut cases = self.cases.clone();
            self.wire.fill(parts.headers_mut(), &mut cases);
            Box::new(View { parts, cases })
        })
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
            return;
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

    pub(crate) fn into_parts(mut self) -> P {
        self.settle();
        self.base
    }

    /// Drops all fields, spellings and extensions; spellings are kept from here on. Allocations
    /// stay.
    pub(crate) fn reset(&mut self) -> &mut P {
        self.forget_view();
        self.wire.clear();
        self.base.headers_mut().clear();
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
            true => self.base.headers_mut().clear(),
            false => assign_map(self.base.headers_mut(), other.base.headers()),
        }
    }

    /// Adds a field of `head` that the tokeniser found sound. It stays where it is until somebody
    /// asks for it.
    #[inline]
    pub(crate) fn push_parsed(
        &mut self,
        head: &Bytes,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), FieldRefused> {
        let here = match self.wire.is_used() {
            true => self.wire.is_same(head),
            false => self.base.headers().is_empty(),
        };
        if here
            && name.len() <= LONGEST_NAME
            && self.wire.spans.len() < MOST_FIELDS
            && let Some(span) = Span::new(head, name, value)
        {
            if !self.wire.is_used() {
                self.wire.head = head.clone();
            }
            self.forget_view();
            self.wire.spans.push(span);
            return Ok(());
        }
        self.append_parsed(name, Bytes::copy_from_slice(value))
    }

    /// Adds a field that lies elsewhere.
    pub(crate) fn append_parsed(&mut self, name: &[u8], value: Bytes) -> Result<(), FieldRefused> {
        let (headers, cases) = self.fields_mut();
        cases.append_parsed(headers, name, value)
    }

    /// Those fields in order that [may be control fields](may_be_control), or all of them where they
    /// are in the map. Names are lower-case, or as they arrived.
    #[inline]
    pub(crate) fn for_each_control<'a>(&'a self, mut f: impl FnMut(&'a [u8], &'a [u8])) {
        match self.wire.is_used() {
            true => self
                .wire
                .control_fields()
                .for_each(|(name, value)| f(name, value)),
            false => {
                for (name, value) in self.base.headers() {
                    f(name.as_str().as_bytes(), value.as_bytes());
                }
            }
        }
    }

    /// Removes the control fields that `gone` names, without making a map. `false`: the fields are in
    /// the map already, and nothing was removed.
    pub(crate) fn remove_from_wire(&mut self, mut gone: impl FnMut(&[u8]) -> bool) -> bool {
        if !self.wire.is_used() {
            return false;
        }
        self.forget_view();
        let Wire { head, spans } = &mut self.wire;
        spans.retain(|span| !(span.control && gone(span.name(head))));
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
            true => self.wire.head.len(),
            false => {
                let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    name.as_str().len() + value.len() + 4
                };
                self.base.headers().iter().map(field).sum()
            }
        }
    }
}
