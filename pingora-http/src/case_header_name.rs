//! A header name as spelt on the wire.

use bytes::{BufMut, Bytes};
use http::header::HeaderName;
use pingora_error::{Error, ErrorType, Result};
use std::fmt;

use crate::grammar::is_field_name;
use crate::name_cache;

/// Names of up to this many bytes are converted to Title-Case on the stack.
const STACK_NAME: usize = 64;

/// A header name with its spelling on an HTTP/1 connection.
///
/// It is not validated on its own: a name that isn't a token (RFC 9110 section 5.1) is refused when it is
/// added to a head.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CaseHeaderName(Bytes);

impl CaseHeaderName {
    /// A name spelt as given.
    pub fn new(name: String) -> Self {
        Self(name.into())
    }

    /// A name spelt as given, without an allocation.
    pub const fn from_static(name: &'static str) -> Self {
        Self(Bytes::from_static(name.as_bytes()))
    }

    /// The bytes of the name.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn copy_from_slice(name: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(name))
    }
}

impl AsRef<[u8]> for CaseHeaderName {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CaseHeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A name in a head, ready to be written: see [`RequestHeader::map`](crate::RequestHeader::map).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderNameVariant<'a> {
    /// A stored spelling.
    Case(&'a CaseHeaderName),
    /// The canonical spelling, Title-Case.
    Titled(&'a str),
}

/// The types that can serve as a header name.
///
/// Text keeps its spelling on the wire; the [`http`] crate's [`HeaderName`] has none and is written in
/// Title-Case.
pub trait IntoCaseHeaderName {
    /// The name with its spelling.
    fn into_case_header_name(self) -> CaseHeaderName;

    /// The name for the map, and its spelling if that has to be stored.
    #[doc(hidden)]
    fn into_field_name(self) -> Result<FieldName>
    where
        Self: Sized,
    {
        let case = self.into_case_header_name();
        let (name, titled) = name_cache::name(case.as_slice()).ok_or_else(not_a_token)?;
        let case = (!titled).then_some(case);
        Ok(FieldName { name, case })
    }
}

/// A name for the map, and its spelling if that is not the canonical one.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct FieldName {
    pub(crate) name: HeaderName,
    pub(crate) case: Option<CaseHeaderName>,
}

#[cold]
fn not_a_token() -> Box<Error> {
    Error::explain(
        ErrorType::InvalidHTTPHeader,
        "a header name must be one or more token characters (letters, digits, !#$%&'*+-.^_`|~)",
    )
}

impl IntoCaseHeaderName for CaseHeaderName {
    fn into_case_header_name(self) -> CaseHeaderName {
        self
    }
}

impl IntoCaseHeaderName for String {
    fn into_case_header_name(self) -> CaseHeaderName {
        CaseHeaderName::new(self)
    }
}

impl IntoCaseHeaderName for &'static str {
    fn into_case_header_name(self) -> CaseHeaderName {
        CaseHeaderName::from_static(self)
    }
}

impl IntoCaseHeaderName for Bytes {
    fn into_case_header_name(self) -> CaseHeaderName {
        CaseHeaderName(self)
    }
}

impl IntoCaseHeaderName for HeaderName {
    fn into_case_header_name(self) -> CaseHeaderName {
        titled_name(&self)
    }

    fn into_field_name(self) -> Result<FieldName> {
        // `HeaderName::from_static` and `from_lowercase` accept a quotation mark.
        if !is_field_name(self.as_str().as_bytes()) {
            return Err(not_a_token());
        }
        Ok(FieldName {
            name: self,
            case: None,
        })
    }
}

impl IntoCaseHeaderName for &HeaderName {
    fn into_case_header_name(self) -> CaseHeaderName {
        titled_name(self)
    }

    fn into_field_name(self) -> Result<FieldName> {
        self.clone().into_field_name()
    }
}

/// One byte of a lower-case name in Title-Case, given the byte before it. Branch-free, so that the
/// compiler vectorises a loop over it.
#[inline(always)]
fn titled_byte(byte: u8, previous: u8) -> u8 {
    byte ^ (u8::from((previous == b'-') & byte.is_ascii_lowercase()) << 5)
}

/// Whether `wire` is spelt in Title-Case: as [`put_titled`] would write it.
#[inline]
pub(crate) fn is_titled(wire: &[u8]) -> bool {
    let mut previous = b'-';
    let mut same = true;
    for &byte in wire {
        same &= titled_byte(byte.to_ascii_lowercase(), previous) == byte;
        previous = byte;
    }
    same
}

/// Appends a lower-case name in Title-Case.
#[inline]
pub(crate) fn put_titled(name: &[u8], buf: &mut impl BufMut) {
    let mut chunk = [0; STACK_NAME];
    let mut previous = b'-';
    for part in name.chunks(STACK_NAME) {
        for (out, &byte) in chunk.iter_mut().zip(part) {
            *out = titled_byte(byte, previous);
            previous = byte;
        }
        buf.put_slice(chunk.get(..part.len()).unwrap_or(part));
    }
}

pub(crate) fn titled_name(name: &HeaderName) -> CaseHeaderName {
    let mut titled = Vec::with_capacity(name.as_str().len());
    put_titled(name.as_str().as_bytes(), &mut titled);
    CaseHeaderName(titled.into())
}

/// Passes the Title-Case form of `name` to `f`.
pub(crate) fn with_titled<R>(name: &HeaderName, f: impl FnOnce(&str) -> R) -> R {
    let name = name.as_str();
    if name.len() > STACK_NAME {
        let mut titled = Vec::with_capacity(name.len());
        put_titled(name.as_bytes(), &mut titled);
        return f(str::from_utf8(&titled).unwrap_or(name));
    }
    let mut stack = [0; STACK_NAME];
    put_titled(name.as_bytes(), &mut stack.as_mut_slice());
    let titled = stack.get(..name.len()).unwrap_or_default();
    f(str::from_utf8(titled).unwrap_or(name))
}
