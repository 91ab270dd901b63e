//! The head of a response.

use bytes::{BufMut, Bytes};
use http::header::{AsHeaderName, CONTENT_LENGTH};
use http::response::Parts as RespParts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use pingora_error::{Error, ErrorType, Result};
use std::ops::Deref;

use crate::case_header_name::{CaseHeaderName, HeaderNameVariant, IntoCaseHeaderName};
use crate::control_field::ControlField;
use crate::grammar::is_reason_phrase;
use crate::name_cases::{FieldRefused, NameCases, make_sound};
use crate::wire::{Head, ParsedFields, Parts};

/// The head of a response: status, version and fields, with the spelling of field names and the
/// reason phrase.
///
/// Dereferences to [`http::response::Parts`] for reading.
#[derive(Debug, Clone)]
pub struct ResponseHeader {
    head: Head<RespParts>,
    /// Set only if it differs from the usual one of the status.
    reason_phrase: Option<Box<str>>,
}

impl ResponseHeader {
    /// Builds an HTTP/1.1 response without fields, which keeps the spelling of names.
    ///
    /// `size_hint` is the number of fields to reserve space for.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if the code is not within 100 to 999.
    pub fn build(code: impl TryInto<StatusCode>, size_hint: Option<usize>) -> Result<Self> {
        Self::with_cases(NameCases::kept(), code, size_hint)
    }

    /// Like [`Self::build`], but does not keep the spelling of names: HTTP/1 writes them in Title-Case.
    /// For HTTP/2 responses, where all names are lower-case.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_no_case(code: impl TryInto<StatusCode>, size_hint: Option<usize>) -> Result<Self> {
        Self::with_cases(NameCases::default(), code, size_hint)
    }

    fn with_cases(
        cases: NameCases,
        code: impl TryInto<StatusCode>,
        size_hint: Option<usize>,
    ) -> Result<Self> {
        let mut response = Self {
            head: Head::new(RespParts::empty(), cases),
            reason_phrase: None,
        };
        response.set_status(code)?;
        if let Some(fields) = size_hint {
            response.reserve(fields);
        }
        Ok(response)
    }

    /// Adds a field in addition to those with the same name. Returns whether there were any.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if the name is not a token, the value contains a control character, or the
    /// head is full.
    pub fn append_header(
        &mut self,
        name: impl IntoCaseHeaderName,
        value: impl TryInto<HeaderValue>,
    ) -> Result<bool> {
        self.head.append(name, value)
    }

    /// Sets a field, replacing all with the same name.
    ///
    /// # Errors
    /// As [`Self::append_header`].
    pub fn insert_header(
        &mut self,
        name: impl IntoCaseHeaderName,
        value: impl TryInto<HeaderValue>,
    ) -> Result<()> {
        self.head.insert(name, value)
    }

    /// Removes all fields with this name. Returns the first value, if there was one.
    pub fn remove_header<'a, N: ?Sized>(&mut self, name: &'a N) -> Option<HeaderValue>
    where
        &'a N: 'a + AsHeaderName,
    {
        let (headers, cases) = self.head.fields_mut();
        cases.remove(headers, name)
    }

    /// Appends all fields in HTTP/1 form, each as `Name: value` and CRLF. Writes neither the status line
    /// nor the empty line at the end.
    pub fn header_to_h1_wire(&self, buf: &mut impl BufMut) {
        self.head.write(buf);
    }

    /// All fields, with names spelt as on an HTTP/1 connection. Yields nothing if spellings are not kept:
    /// see [`Self::has_case`].
    ///
    /// The first call after a change allocates. [`Self::map`] never does.
    pub fn case_header_iter(&self) -> impl Iterator<Item = (&CaseHeaderName, &HeaderValue)> + '_ {
        let headers = &self.head.parts().headers;
        self.head
            .cases()
            .spelt_out(headers)
            .iter()
            .zip(headers.values())
    }

    /// Whether the spelling of names is kept.
    pub fn has_case(&self) -> bool {
        self.head.are_cases_kept()
    }

    /// Calls `f` with every field, until it fails.
    ///
    /// # Errors
    /// That of `f`.
    pub fn map<F: FnMut(HeaderNameVariant<'_>, &HeaderValue) -> Result<()>>(
        &self,
        f: F,
    ) -> Result<()> {
        self.head.cases().map(&self.head.parts().headers, f)
    }

    /// Data that travels with the response but is never sent.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        self.head.extensions_mut()
    }

    /// Sets the status. A reason phrase set earlier is kept.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if the code is not within 100 to 999.
    pub fn set_status(&mut self, status: impl TryInto<StatusCode>) -> Result<()> {
        self.head.line_mut().status = status.try_into().map_err(|_| {
            Error::explain(
                ErrorType::InvalidHTTPHeader,
                "the status code is not within 100 to 999",
            )
        })?;
        Ok(())
    }

    /// Sets the version.
    pub fn set_version(&mut self, version: Version) {
        self.head.line_mut().version = version;
    }

    /// Sets the reason phrase; `None` restores the usual one of the status.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if it contains a control character other than tab.
    pub fn set_reason_phrase(&mut self, reason_phrase: Option<&str>) -> Result<()> {
        if reason_phrase.is_some_and(|phrase| !is_reason_phrase(phrase.as_bytes())) {
            return Error::e_explain(
                ErrorType::InvalidHTTPHeader,
                "a reason phrase must not contain control characters other than tab",
            );
        }
        self.reason_phrase = match reason_phrase {
            phrase if phrase == self.head.line().status.canonical_reason() => None,
            phrase => phrase.map(Box::from),
        };
        Ok(())
    }

    /// The reason phrase: the one that was set, or else the usual one of the status, if it has one.
    pub fn get_reason_phrase(&self) -> Option<&str> {
        match &self.reason_phrase {
            Some(phrase) => Some(phrase),
            None => self.head.line().status.canonical_reason(),
        }
    }

    /// A copy in the type of the [`http`] crate.
    pub fn as_owned_parts(&self) -> RespParts {
        self.head.parts().clone()
    }

    /// Sets `Content-Length` to `len` bytes.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if the head is full.
    pub fn set_content_length(&mut self, len: usize) -> Result<()> {
        self.insert_header(CONTENT_LENGTH, len)
    }
}

/// For parsers and the proxy; not part of the user interface.
#[doc(hidden)]
impl ResponseHeader {
    /// [`From`] parts whose names and values have been validated.
    pub fn from_sound_parts(parts: RespParts) -> Self {
        Self {
            head: Head::new(parts, NameCases::default()),
            reason_phrase: None,
        }
    }

    /// The fields in the order in which they are written: the result of [`ControlField::of`] for the name, the name in
    /// any case, and the value. `None`: they are in a map.
    #[doc(hidden)]
    #[inline]
    pub fn lines(&self) -> Option<impl Iterator<Item = (Option<ControlField>, &[u8], &[u8])>> {
        self.head.lines()
    }

    /// An owned map of the fields. `spare` makes an empty map, where one has to be filled.
    pub fn copied_fields(&self, spare: impl FnOnce() -> HeaderMap) -> HeaderMap {
        self.head.copied_fields(spare)
    }

    /// An empty HTTP/1.1 response with status 200 that keeps spellings.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Resets this to an empty HTTP/1.1 response with status 200 that keeps spellings. Keeps all
    /// allocations.
    pub fn reset(&mut self) {
        let line = self.head.reset();
        line.status = StatusCode::OK;
        line.version = Version::HTTP_11;
        self.reason_phrase = None;
    }

    /// Whether its map of fields has, or has room for, more than this. Builds no map.
    #[inline]
    pub fn is_larger_than(&self, fields: usize) -> bool {
        self.head.is_larger_than(fields)
    }

    /// Becomes a copy of `other`, reusing allocations. Extensions are copied too.
    pub fn assign_from(&mut self, other: &Self) {
        self.head.assign_from(&other.head);
        self.reason_phrase.clone_from(&other.reason_phrase);
    }

    /// Reserves space for `fields` more fields.
    pub fn reserve(&mut self, fields: usize) {
        self.head.fields_mut().0.reserve(fields);
    }

    /// Adds a field from the tokeniser; `value` is kept without a copy.
    #[inline]
    pub fn append_parsed(&mut self, name: &[u8], value: Bytes) -> Result<(), FieldRefused> {
        self.head.append_parsed(name, value)
    }

    /// Takes over fields of `head` from the tokeniser; there will be `count` of them.
    #[inline]
    pub fn parsed_fields<'a>(&'a mut self, head: &'a Bytes, count: usize) -> ParsedFields<'a> {
        self.head.parsed_fields(head, count)
    }

    /// Takes over the head whose fields [`Self::parsed_fields`] took over. Must be called before the
    /// fields are used in any other way; otherwise they are lost.
    #[inline]
    pub fn keep_head(&mut self, head: Bytes) {
        self.head.keep_head(head);
    }

    /// The values of a field, in order. Unlike [`headers`](http::response::Parts::headers), builds no map of a head
    /// that was not accessed yet.
    #[inline]
    pub fn values_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.head.values_of(name)
    }

    /// Whether there is a field with this name. Builds no map.
    #[inline]
    pub fn has_field(&self, name: &HeaderName) -> bool {
        self.head.has_any(std::slice::from_ref(name))
    }

    /// Whether there is a field with one of these names. Builds no map.
    #[inline]
    pub fn has_any_field(&self, names: &[HeaderName]) -> bool {
        self.head.has_any(names)
    }

    /// Brings the fields into the form in which they are written, in memory of their own and no more than they need: for
    /// a head that is kept, and will be copied and written often.
    pub fn compact(&mut self) {
        self.head.compact();
    }

    /// Status and version. The fields may be missing: for callers that don't need them and would
    /// otherwise cause a map to be built.
    #[inline]
    pub fn line(&self) -> &RespParts {
        self.head.line()
    }

    /// The value of the first field with this name. Unlike access to `headers`, it builds no map: for one or two
    /// fields of a message that is otherwise only passed on.
    pub fn first_value(&self, name: &HeaderName) -> Option<&[u8]> {
        self.head.first_value(name)
    }

    /// The fields that frame the message, route it, or are about its connection, in order and without
    /// building a map.
    #[inline]
    pub fn for_each_control_field<'a>(&'a self, f: impl FnMut(ControlField, &'a [u8])) {
        self.head.for_each_control(f);
    }

    /// Whether there is a `Date`, without having a map made.
    #[inline]
    pub fn is_dated(&self) -> bool {
        self.head.is_dated()
    }

    /// Removes the control fields that `gone` names, without having a map made. `false`: there is a map
    /// already, and nothing was removed.
    #[inline]
    pub fn remove_unsettled(&mut self, gone: impl FnMut(ControlField) -> bool) -> bool {
        self.head.remove_from_wire(gone)
    }

    /// The approximate number of bytes that [`Self::header_to_h1_wire`] will write.
    pub fn written_len(&self) -> usize {
        self.head.written_len()
    }
}

impl Default for ResponseHeader {
    /// An HTTP/1.1 response with status 200 and no fields, which keeps the spelling of names.
    fn default() -> Self {
        Self {
            head: Head::new(RespParts::empty(), NameCases::kept()),
            reason_phrase: None,
        }
    }
}

impl AsRef<RespParts> for ResponseHeader {
    fn as_ref(&self) -> &RespParts {
        self.head.parts()
    }
}

impl Deref for ResponseHeader {
    type Target = RespParts;

    fn deref(&self) -> &RespParts {
        self.head.parts()
    }
}

impl From<RespParts> for ResponseHeader {
    /// The spelling of names is not kept. Fields whose names are not tokens, which the [`http`] crate can
    /// be made to hold, are dropped; whitespace around values is removed.
    fn from(mut parts: RespParts) -> Self {
        make_sound(&mut parts.headers);
        Self::from_sound_parts(parts)
    }
}

impl From<ResponseHeader> for RespParts {
    fn from(response: ResponseHeader) -> Self {
        response.head.into_parts()
    }
}
