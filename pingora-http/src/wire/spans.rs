//! The positions of fields in the head that they arrived in.

use super::added::Added;
use crate::control_field::ControlField;
use crate::name_cases::{FieldRefused, NameCases};
use bytes::{BufMut, Bytes};
use http::header::DATE;
use http::{HeaderMap, HeaderName};

/// Fields with longer names go straight into the map, which may refuse them.
pub(super) const LONGEST_NAME: usize = 1024;
/// A head with more fields goes into the map: this is the number of bits available to mark the control
/// fields.
const MOST_FIELDS: usize = u64::BITS as usize;
/// The position of a field is stored in 32 bits.
pub(super) const LONGEST_HEAD: usize = u32::MAX as usize;

/// The position of one field in its head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    name: u32,
    value: u32,
    value_len: u32,
    name_len: u16,
    control: Option<ControlField>,
    /// Whether the head contains the whole line exactly as it would be written.
    is_line: bool,
}

impl Span {
    /// `None`: it is not in `head`. `head` is no longer than [`LONGEST_HEAD`], and the name no longer
    /// than [`LONGEST_NAME`].
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
            // An empty value may point anywhere.
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

    /// The whole line with its CRLF, if the head contains it exactly as it would be written.
    #[inline]
    fn line(&self) -> Option<std::ops::Range<usize>> {
        let line = self.name as usize..self.value_range().end + 2;
        self.is_line.then_some(line)
    }
}

/// Fields in the form in which they arrived. Empty if they are in the map.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) head: Bytes,
    pub(super) spans: Vec<Span>,
    /// Marks the control fields other than `Date`, one bit each.
    pub(super) control: u64,
    pub(super) added: Added,
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
    pub(super) fn is_used(&self) -> bool {
        !self.head.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.head = Bytes::new();
        self.spans.clear();
        self.control = 0;
        self.added.clear();
    }

    /// Whether a field with this name may be added here. A field that has to be found by name, or that
    /// replaces another, goes into the map.
    pub(super) fn may_add(&self, name: &HeaderName) -> bool {
        let bytes = name.as_str().as_bytes();
        self.added.has_room()
            && matches!(ControlField::of(bytes), None | Some(ControlField::Date))
            && self.arrived(bytes).next().is_none()
            && !self.added.has(name)
    }

    /// The fields that arrived with this name, which is in lower case.
    #[inline]
    fn arrived<'w, 'n>(&'w self, name: &'n [u8]) -> impl Iterator<Item = &'w Span> + use<'w, 'n> {
        self.spans.iter().filter(move |span| {
            usize::from(span.name_len) == name.len()
                && span.name(&self.head).eq_ignore_ascii_case(name)
        })
    }

    pub(super) fn first_value(&self, name: &HeaderName) -> Option<&[u8]> {
        match self.arrived(name.as_str().as_bytes()).next() {
            Some(span) => Some(span.value(&self.head)),
            None => self.added.value_of(name),
        }
    }

    /// The values of a field, in order.
    #[inline]
    pub(super) fn values_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let arrived = self.arrived(name.as_str().as_bytes());
        let arrived = arrived.map(|span| span.value(&self.head));
        arrived.chain(self.added.value_of(name))
    }

    /// Whether there is a field with one of these names. Most names are excluded by their length.
    pub(super) fn has_any(&self, names: &[HeaderName]) -> bool {
        let length = |bytes: usize| 1_u64 << bytes.min(63);
        let spans = self.spans.iter();
        let lengths = spans.fold(0, |all, span| all | length(usize::from(span.name_len)));
        names.iter().any(|name| {
            let wanted = name.as_str().as_bytes();
            let is_same = |span: &Span| {
                usize::from(span.name_len) == wanted.len()
                    && span.name(&self.head).eq_ignore_ascii_case(wanted)
            };
            lengths & length(wanted.len()) != 0 && self.spans.iter().any(is_same)
                || self.added.has(name)
        })
    }

    /// Takes over fields as they are written: lines of a name, a colon, a space, a value and CRLF. `None`: they can't
    /// stay in this form.
    pub(super) fn of_lines(head: Vec<u8>) -> Option<Self> {
        if head.len() > LONGEST_HEAD {
            return None;
        }
        let mut wire = Wire::default();
        let mut rest = &head[..];
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'\r')?;
            let (line, after) = rest.split_at_checked(end)?;
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = line.split_at_checked(colon)?;
            let value = value.strip_prefix(b": ")?;
            if name.len() > LONGEST_NAME {
                return None;
            }
            let span = Span::new(&head, name, ControlField::of(name), value);
            if !wire.push(span) {
                return None;
            }
            rest = after.strip_prefix(b"\r\n")?;
        }
        wire.spans.shrink_to_fit();
        wire.head = Bytes::from(head.into_boxed_slice());
        Some(wire)
    }

    /// The fields that arrived: what is known of the name, the name and the value.
    #[inline]
    pub(super) fn lines(&self) -> impl Iterator<Item = (Option<ControlField>, &[u8], &[u8])> {
        let head = &self.head;
        let spans = self.spans.iter();
        spans.map(move |span| (span.control, span.name(head), span.value(head)))
    }

    #[inline]
    pub(super) fn is_dated(&self) -> bool {
        // It is one of the first, as a rule.
        let is_date = |span: &Span| span.control == Some(ControlField::Date);
        self.spans.iter().any(is_date) || self.added.has(&DATE)
    }

    #[inline]
    pub(super) fn control_fields(&self) -> impl Iterator<Item = (ControlField, &[u8])> {
        let mut left = self.control;
        std::iter::from_fn(move || {
            let span = self.spans.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some((span.control?, span.value(&self.head)))
        })
    }

    /// Removes the control fields that `gone` names.
    #[inline]
    pub(super) fn remove_control_fields(&mut self, mut gone: impl FnMut(ControlField) -> bool) {
        let mut left = self.control;
        while let Some(place) = (u64::BITS - 1).checked_sub(left.leading_zeros()) {
            // In reverse order, so that earlier indices stay valid.
            let before = (1 << place) - 1;
            left &= before;
            let field = self.spans.get(place as usize).and_then(|s| s.control);
            if field.is_some_and(&mut gone) {
                self.spans.remove(place as usize);
                self.control = self.control & before | self.control >> 1 & !before;
            }
        }
    }

    /// Keeps a field in place. `false`: it has to go into the map.
    #[inline]
    pub(super) fn push(&mut self, span: Option<Span>) -> bool {
        let place = self.spans.len();
        let Some(span) = span.filter(|_| place < MOST_FIELDS) else {
            return false;
        };
        if span
            .control
            .is_some_and(|field| field != ControlField::Date)
        {
            self.control |= 1 << place;
        }
        self.spans.push(span);
        true
    }

    /// Moves the fields into a map. Fields that the map would refuse were refused on arrival.
    pub(super) fn fill(&self, headers: &mut HeaderMap, cases: &mut NameCases) {
        self.fill_from(&self.head, headers, cases);
    }

    /// [`fill`](Self::fill) from a head that has not been taken over yet.
    pub(super) fn fill_from(&self, head: &Bytes, headers: &mut HeaderMap, cases: &mut NameCases) {
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

    /// Copies the fields, adjacent ones in one piece.
    #[inline]
    pub(super) fn write(&self, buf: &mut impl BufMut) {
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

/// Takes over the fields of a head from the tokeniser. They stay in place until they are accessed.
/// [`RequestHeader::keep_head`](crate::RequestHeader::keep_head) or its counterpart must be called
/// afterwards.
#[doc(hidden)]
#[derive(Debug)]
pub struct ParsedFields<'a> {
    /// Whether the fields have stayed in place so far.
    pub(super) stay: bool,
    pub(super) head: &'a Bytes,
    pub(super) wire: &'a mut Wire,
    pub(super) headers: &'a mut HeaderMap,
    pub(super) cases: &'a mut NameCases,
}

impl ParsedFields<'_> {
    /// Adds a field whose name and value are in the head. `control` is the result of [`ControlField::of`]
    /// for the name.
    #[inline]
    pub fn push(
        &mut self,
        name: &[u8],
        control: Option<ControlField>,
        value: &[u8],
    ) -> std::result::Result<(), FieldRefused> {
        let is_short = self.stay && name.len() <= LONGEST_NAME;
        let span = is_short.then(|| Span::new(self.head, name, control, value));
        if self.wire.push(span.flatten()) {
            Ok(())
        } else {
            self.push_into_map(name, value)
        }
    }

    /// [`push`](Self::push) for a line written as `name: value` and CRLF, with its start position.
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
        if self.wire.push(span) {
            Ok(())
        } else {
            self.push_into_map(name, value)
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
