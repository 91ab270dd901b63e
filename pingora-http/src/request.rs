//! The head of a request.

use bytes::{BufMut, Bytes};
use http::header::AsHeaderName;
use http::request::Parts as ReqParts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pingora_error::{Error, ErrorType, Result};
use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use crate::case_header_name::{CaseHeaderName, HeaderNameVariant, IntoCaseHeaderName};
use crate::control_field::ControlField;
use crate::name_cases::{FieldRefused, NameCases, make_sound};
use crate::target::{self, Target, TargetRefused};
use crate::wire::{Head, ParsedFields, Parts};

/// The head of a request: method, target, version and fields, with the spelling of field names.
///
/// Dereferences to [`http::request::Parts`] for reading.
#[derive(Debug, Clone)]
pub struct RequestHeader {
    head: Head<ReqParts>,
    /// The target to be sent, if it differs from the bytes of `base.uri`.
    raw_target: Option<Bytes>,
    send_end_stream: bool,
}

impl RequestHeader {
    /// Builds an HTTP/1.1 request without fields, which keeps the spelling of names.
    ///
    /// `path` is the request target, usually path and query; see [`Self::set_raw_path`]. `size_hint` is
    /// the number of fields to reserve space for.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if the method is not a token or the path can't be a request target.
    pub fn build(
        method: impl TryInto<Method>,
        path: &[u8],
        size_hint: Option<usize>,
    ) -> Result<Self> {
        Self::with_cases(NameCases::kept(), method, path, size_hint)
    }

    /// Like [`Self::build`], but does not keep the spelling of names: HTTP/1 writes them in Title-Case.
    /// For HTTP/2 requests, where all names are lower-case.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_no_case(
        method: impl TryInto<Method>,
        path: &[u8],
        size_hint: Option<usize>,
    ) -> Result<Self> {
        Self::with_cases(NameCases::default(), method, path, size_hint)
    }

    fn with_cases(
        cases: NameCases,
        method: impl TryInto<Method>,
        path: &[u8],
        size_hint: Option<usize>,
    ) -> Result<Self> {
        let mut request = Self::of_parts(ReqParts::empty(), cases);
        request.head.line_mut().method = method.try_into().map_err(|_| {
            Error::explain(ErrorType::InvalidHTTPHeader, "the method is not a token")
        })?;
        request.set_raw_path(path)?;
        if let Some(fields) = size_hint {
            request.reserve(fields);
        }
        Ok(request)
    }

    fn of_parts(base: ReqParts, cases: NameCases) -> Self {
        let raw_target = target::raw_for_uri(&base.uri);
        Self {
            head: Head::new(base, cases),
            raw_target,
            send_end_stream: true,
        }
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

    /// Appends all fields in HTTP/1 form, each as `Name: value` and CRLF. Writes neither the request line
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

    /// Data that travels with the request but is never sent.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        self.head.extensions_mut()
    }

    /// Sets the method.
    pub fn set_method(&mut self, method: Method) {
        self.head.line_mut().method = method;
    }

    /// Sets the target. On HTTP/1 only its path and query are sent, even if it has other parts.
    pub fn set_uri(&mut self, uri: Uri) {
        self.raw_target = target::raw_for_uri(&uri);
        self.head.line_mut().uri = uri;
    }

    /// Sets the target to these bytes, which are sent unchanged.
    ///
    /// Usually this is path and query. The bytes need not be UTF-8: those that a [`Uri`] can't hold are
    /// percent-encoded in `uri`, and [`Self::raw_path`] still returns the original bytes.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if the target is empty, longer than 65,534 bytes, contains a space, a control
    /// character or `#`, or has none of the forms of RFC 9112 section 3.2.
    pub fn set_raw_path(&mut self, path: &[u8]) -> Result<()> {
        let target = target::any_form(Bytes::copy_from_slice(path)).map_err(|refused| {
            let why = match refused {
                TargetRefused::Malformed => "the request target is malformed",
                TargetRefused::TooLong => "the request target is longer than 65534 bytes",
            };
            Error::explain(ErrorType::InvalidHTTPHeader, why)
        })?;
        self.set_target(target);
        Ok(())
    }

    fn set_target(&mut self, target: Target) {
        self.head.line_mut().uri = target.uri;
        self.raw_target = target.raw;
    }

    /// Sets whether the headers of an HTTP/2 request without a body end its stream. By default they do;
    /// otherwise an empty DATA frame does.
    pub fn set_send_end_stream(&mut self, send_end_stream: bool) {
        self.send_end_stream = send_end_stream;
    }

    /// The value set by [`Self::set_send_end_stream`], if this is an HTTP/2 request.
    pub fn send_end_stream(&self) -> Option<bool> {
        (self.head.line().version == Version::HTTP_2).then_some(self.send_end_stream)
    }

    /// The target as sent on an HTTP/1 connection, byte for byte: usually path and query.
    pub fn raw_path(&self) -> &[u8] {
        if let Some(raw) = &self.raw_target {
            return raw;
        }
        let uri = &self.head.line().uri;
        match (uri.path_and_query(), uri.authority()) {
            (Some(path), _) => path.as_str().as_bytes(),
            (None, Some(authority)) => authority.as_str().as_bytes(),
            (None, None) => b"/",
        }
    }

    /// Whether [`Self::raw_path`] is UTF-8.
    pub fn raw_path_is_utf8(&self) -> bool {
        match &self.raw_target {
            Some(raw) => str::from_utf8(raw).is_ok(),
            None => true,
        }
    }

    /// The extension of the file that the path seems to name: `css` for `/a/b.css?v=2`. `None` if the
    /// last segment of the path has no dot, or only one as its first character.
    pub fn uri_file_extension(&self) -> Option<&str> {
        let file = self.head.line().uri.path().rsplit('/').next()?;
        let (stem, extension) = file.rsplit_once('.')?;
        (!stem.is_empty() && !extension.is_empty()).then_some(extension)
    }

    /// Sets the version.
    pub fn set_version(&mut self, version: Version) {
        self.head.line_mut().version = version;
    }

    /// A copy in the type of the [`http`] crate.
    pub fn as_owned_parts(&self) -> ReqParts {
        self.head.parts().clone()
    }
}

/// For parsers and the proxy; not part of the user interface.
#[doc(hidden)]
impl RequestHeader {
    /// Replaces all fields by these, whose names and values have been validated, and which have no spelling of
    /// their own. Returns the previous map.
    pub fn take_sound_fields(&mut self, fields: HeaderMap) -> HeaderMap {
        self.head.take_fields(fields)
    }

    /// An empty HTTP/1.1 request `GET /` that keeps spellings.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Resets this to an empty HTTP/1.1 request `GET /` that keeps spellings. Keeps all allocations.
    pub fn reset(&mut self) {
        let line = self.head.reset();
        line.method = Method::GET;
        line.uri = Uri::default();
        line.version = Version::HTTP_11;
        self.raw_target = None;
        self.send_end_stream = true;
    }

    /// Whether its map of fields has, or has room for, more than this. Builds no map.
    #[inline]
    pub fn is_larger_than(&self, fields: usize) -> bool {
        self.head.is_larger_than(fields)
    }

    /// Becomes a copy of `other`, reusing allocations. Extensions are copied too.
    pub fn assign_from(&mut self, other: &Self) {
        self.head.assign_from(&other.head);
        self.raw_target.clone_from(&other.raw_target);
        self.send_end_stream = other.send_end_stream;
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

    /// The values of a field, in order. Unlike [`headers`](http::request::Parts::headers), builds no map of a head
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

    /// Method, target and version. The fields may be missing: for callers that don't need them and would
    /// otherwise cause a map to be built.
    #[inline]
    pub fn line(&self) -> &ReqParts {
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

    /// Removes the control fields that `gone` names, without building a map. `false`: a map already
    /// exists, and nothing was removed.
    #[inline]
    pub fn remove_unsettled(&mut self, gone: impl FnMut(ControlField) -> bool) -> bool {
        self.head.remove_from_wire(gone)
    }

    /// The approximate number of bytes that [`Self::header_to_h1_wire`] will write.
    pub fn written_len(&self) -> usize {
        self.head.written_len()
    }

    /// Reduces a target with an authority to its path and query. Their bytes stay as they arrived.
    pub fn strip_authority(&mut self) {
        let uri = &self.head.line().uri;
        if let (Some(path), Some(_)) = (uri.path_and_query(), uri.authority()) {
            let uri = Uri::from(path.clone());
            let arrived = self.raw_target.take();
            self.raw_target = match arrived.filter(|raw| raw.starts_with(b"/")) {
                None => target::raw_for_uri(&uri),
                raw => raw,
            };
            self.head.line_mut().uri = uri;
        }
    }

    /// Path and query as they arrived, or the asterisk: the value of HTTP/2's `:path` for this request,
    /// byte for byte (RFC 9113 section 8.3.1). Copies only a query without a path, which needs its slash.
    pub fn origin_form(&self) -> Cow<'_, [u8]> {
        let raw = self.raw_target.as_deref();
        if let Some(path) = raw.filter(|raw| raw.starts_with(b"/")) {
            return Cow::Borrowed(path);
        }
        let line = self.head.line();
        match line.uri.path_and_query().map(|path| path.as_str()) {
            None if line.method == Method::OPTIONS => Cow::Borrowed(b"*"),
            None | Some("") => Cow::Borrowed(b"/"),
            Some(query) if query.starts_with('?') => Cow::Owned([b"/", query.as_bytes()].concat()),
            Some(path) => Cow::Borrowed(path.as_bytes()),
        }
    }

    /// Sets a target in origin-form or asterisk-form, which is in `head` and is kept without a copy.
    #[inline]
    pub fn set_parsed_path(&mut self, head: &Bytes, path: &[u8]) -> Result<(), TargetRefused> {
        let target = target::path_form(head, path)?;
        self.set_target(target);
        Ok(())
    }

    /// Sets a target that arrived in absolute-form: `uri` has all of it, and on HTTP/1 only `path` (not
    /// empty, beginning with a slash or being an asterisk) is sent.
    pub fn set_parsed_absolute(
        &mut self,
        scheme: &[u8],
        authority: Bytes,
        path: Bytes,
    ) -> Result<(), TargetRefused> {
        let target = target::with_authority(scheme, authority, path)?;
        self.set_target(target);
        Ok(())
    }

    /// Sets a target in the authority-form of CONNECT.
    pub fn set_parsed_authority(&mut self, authority: Bytes) -> Result<(), TargetRefused> {
        let target = target::any_form(authority)?;
        self.set_target(target);
        Ok(())
    }
}

/// A request header that may be changed and is restored when this is dropped: cheaper than a copy if the
/// changes need not be kept.
///
/// This covers the fields and the version. Method, target and extensions must not be changed.
#[doc(hidden)]
#[derive(Debug)]
pub struct LentRequest<'a> {
    request: &'a mut RequestHeader,
    version: Version,
}

impl RequestHeader {
    /// `None`: the fields are already in a map, and the caller has to make a copy.
    #[doc(hidden)]
    pub fn lend(&mut self) -> Option<LentRequest<'_>> {
        self.head.lend().then(|| LentRequest {
            version: self.head.line().version,
            request: self,
        })
    }
}

impl Deref for LentRequest<'_> {
    type Target = RequestHeader;

    fn deref(&self) -> &RequestHeader {
        self.request
    }
}

impl DerefMut for LentRequest<'_> {
    fn deref_mut(&mut self) -> &mut RequestHeader {
        self.request
    }
}

impl Drop for LentRequest<'_> {
    fn drop(&mut self) {
        self.request.head.line_mut().version = self.version;
        self.request.head.take_back();
    }
}

impl Default for RequestHeader {
    /// An HTTP/1.1 request `GET /` without fields, which keeps the spelling of names.
    fn default() -> Self {
        Self::of_parts(ReqParts::empty(), NameCases::kept())
    }
}

impl AsRef<ReqParts> for RequestHeader {
    fn as_ref(&self) -> &ReqParts {
        self.head.parts()
    }
}

impl Deref for RequestHeader {
    type Target = ReqParts;

    fn deref(&self) -> &ReqParts {
        self.head.parts()
    }
}

impl From<ReqParts> for RequestHeader {
    /// The spelling of names is not kept. Fields whose names are not tokens, which the [`http`] crate can
    /// be made to hold, are dropped; whitespace around values is removed.
    fn from(mut parts: ReqParts) -> Self {
        make_sound(&mut parts.headers);
        Self::of_parts(parts, NameCases::default())
    }
}

impl From<RequestHeader> for ReqParts {
    fn from(request: RequestHeader) -> Self {
        request.head.into_parts()
    }
}
