//! Shared by the heads of requests, the heads of responses and trailer sections: their parts, and the fault
//! of a head that the tokeniser refuses.

use super::{Fault, HeadLimits};
use http::Version;
use httparse::Header;
use pingora_http::FieldRefused;

/// The number of header fields that are tokenised without an allocation; more are possible if the
/// limits allow.
pub(super) const FIELDS_ON_STACK: usize = 128;

/// Never reported: tells the caller to use the slow path.
pub(super) const NOT_PLAIN: Fault = Fault::bad("the head is not of the plainest form");

/// A field: its name, and its value without the whitespace around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'b> {
    pub(super) name: &'b [u8],
    pub(super) value: &'b [u8],
    /// The offset of the line in the head, if it is written as `name: value` and CRLF.
    pub(super) line: Option<usize>,
}

/// A head that is not of the plainest form, or not a head at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotPlain;

/// The parts of a request line.
#[derive(Debug)]
pub(super) struct RequestLine<'b> {
    pub(super) method: &'b [u8],
    pub(super) target: &'b [u8],
    pub(super) version: Version,
}

/// The parts of a status line.
#[derive(Debug)]
pub(super) struct StatusLine<'b> {
    pub(super) version: Version,
    pub(super) code: u16,
    pub(super) reason: &'b str,
}

/// The fields that the tokeniser found.
#[inline]
pub(super) fn all<'h, 'b>(
    fields: &'h [Header<'b>],
) -> impl Iterator<Item = Result<Field<'b>, NotPlain>> + use<'h, 'b> {
    fields.iter().map(|field| {
        Ok(Field {
            name: field.name.as_bytes(),
            value: field.value,
            line: None,
        })
    })
}

/// `HTTP/1.x` for its second digit.
#[inline]
pub(super) fn version(minor: u8) -> Version {
    match minor {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    }
}

/// Whether no line ends with a bare LF, which the tokeniser accepts: CRLF precedes every field, and
/// comes twice at the end.
#[inline]
pub(super) fn ends_lines_with_crlf(head: &[u8], fields: &[Header<'_>]) -> bool {
    let start = head.as_ptr() as usize;
    let follows_crlf = |field: &Header<'_>| {
        let offset = (field.name.as_ptr() as usize).wrapping_sub(start);
        head.get(..offset)
            .is_some_and(|before| before.ends_with(b"\r\n"))
    };
    head.ends_with(b"\r\n\r\n") && fields.iter().all(follows_crlf)
}

/// A field takes at least four bytes: `a:` and CRLF.
pub(super) fn most_fields(head: &[u8], limits: &HeadLimits) -> usize {
    limits.fields.min(head.len() / 4 + 1)
}

/// The fault of a field that a header refuses.
#[cold]
pub(super) fn field_fault(refused: FieldRefused) -> Fault {
    match refused {
        FieldRefused::Name => Fault::bad("a field name is not a token"),
        FieldRefused::Value => Fault::bad("a field value holds a control character"),
        FieldRefused::TooMany => Fault::new(431, "the head has too many fields"),
    }
}

/// The fault of a head that the tokeniser refuses, described as the sender's mistake.
#[cold]
pub(super) fn tokenising_fault(error: httparse::Error, head: &[u8]) -> Fault {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => Fault::new(431, "the head has too many fields"),
        Error::Version if names_other_version(head) => {
            Fault::new(505, "the version is neither HTTP/1.1 nor HTTP/1.0")
        }
        Error::Version | Error::Token => Fault::bad("the request line is malformed"),
        Error::Status => Fault::bad("the status line is malformed"),
        Error::HeaderName if is_folded(head) => Fault::bad("a field is folded onto two lines"),
        Error::HeaderName => Fault::bad("a field name is malformed"),
        Error::HeaderValue => Fault::bad("a field value holds a control character"),
        Error::NewLine => Fault::bad("the head is incomplete, or a line does not end with CRLF"),
    }
}

/// Whether a line begins with white space, which continues the field before it (RFC 9112 section
/// 5.2).
pub(super) fn is_folded(head: &[u8]) -> bool {
    head.windows(2)
        .any(|pair| matches!(pair, [b'\n', b' ' | b'\t']))
}

/// Whether the first line is valid except for an existing HTTP version that we don't support.
fn names_other_version(head: &[u8]) -> bool {
    let mut lines = head.split(|&b| b == b'\r');
    let mut words = lines.next().unwrap_or_default().split(|&b| b == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let sound = |word: Option<&[u8]>| word.is_some_and(|word| !word.is_empty());
    let Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]) = version else {
        return false;
    };
    let ours = *major == b'1' && matches!(minor, b'0' | b'1');
    let version = major.is_ascii_digit() && minor.is_ascii_digit() && !ours;
    version && sound(method) && sound(target) && words.next().is_none()
}
