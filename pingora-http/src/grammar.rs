//! The grammar of message elements: one rule for each, for every version of HTTP and both directions,
//! whether the element is in a head, is in a trailer section or was added by a program.
//!
//! Pure functions over bytes. The parsers of all versions call these and decide only how to report a
//! refusal: with a status, a reset stream, or an error for the program.
//!
//! | element | rule |
//! |---|---|
//! | method | [`is_method`] |
//! | request target | [`is_target`], [`is_origin_form`], [`is_connect_target`] |
//! | scheme | [`is_scheme`], [`is_http_scheme`] |
//! | authority, `Host` | [`is_authority`], [`host_and_port`] |
//! | status | [`status_code`], [`is_reason_phrase`] |
//! | field name | [`is_field_name`], [`is_lower_case_field_name`] |
//! | names that may be taken for each other | [`has_odd_separators`], [`is_taken_for`] |
//! | field value | [`is_field_value`], [`trim`], [`list_elements`] |
//! | `Content-Length` | [`ContentLength`], [`decimal`] |
//! | strings of structured fields | [`structured_string`] |
//! | pseudo-header fields, and fields that only HTTP/1 has | [`SectionCheck`] |
//!
//! If the RFCs leave a choice, the function's documentation states ours. Bytes beyond ASCII are allowed
//! in field values, reason phrases and targets, in any encoding and unchanged, and nowhere else.

mod alias;
mod authority;
mod length;
mod section;
mod structured;

pub use alias::{has_odd_separators, is_taken_for, with_hyphens};
pub use authority::{host_and_port, is_authority, is_connect_target};
pub use length::{ContentLength, LengthRefused, decimal};
pub use section::{Line, Malformed, Section, SectionCheck};
pub use structured::structured_string;

/// The longest request target, in bytes: a [`Uri`](http::Uri) can't hold more.
pub const LONGEST_TARGET: usize = u16::MAX as usize - 1;

/// `tchar` (RFC 9110 section 5.6.2).
#[inline]
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// The matching bytes, as a table, because names are examined for every field of every message.
const fn table(is_lower_case: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        let fits = is_token_byte(byte as u8);
        table[byte] = fits && !(is_lower_case && (byte as u8).is_ascii_uppercase());
        byte += 1;
    }
    table
}

static TOKEN: [bool; 256] = table(false);
static LOWER_CASE_TOKEN: [bool; 256] = table(true);

/// Whether this is a `token`: at least one `tchar` and nothing else (RFC 9110 section 5.6.2).
#[inline]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| TOKEN[usize::from(b)])
}

/// Whether this is a method: a token (RFC 9110 section 9.1). Methods are case-sensitive, and unknown ones
/// are accepted.
#[inline]
pub fn is_method(method: &[u8]) -> bool {
    is_token(method)
}

/// Whether this is a field name: a token, in any case (RFC 9110 section 5.1).
#[inline]
pub fn is_field_name(name: &[u8]) -> bool {
    is_token(name)
}

/// Whether this is a field name as written in HTTP/2 and HTTP/3: without upper-case letters (RFC 9113
/// section 8.2.1). Pseudo-header fields, which begin with a colon, don't count.
#[inline]
pub fn is_lower_case_field_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&b| LOWER_CASE_TOKEN[usize::from(b)])
}

/// Whether a field value may contain this byte: all but control characters, of which only HTAB is allowed
/// (RFC 9110 section 5.5). Bytes from 0x80 on are accepted.
#[inline]
pub const fn is_field_byte(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t'
}

/// Whether this is a field value (RFC 9110 section 5.5): no control character but HTAB, and no whitespace
/// at either end. May be empty.
///
/// In HTTP/1 the whitespace around a value is not part of it ([`trim`] removes it). If a value arrives
/// with its exact length, as in HTTP/2, whitespace at an end makes it malformed (RFC 9113 section 8.2.1).
#[inline]
pub fn is_field_value(value: &[u8]) -> bool {
    let mut sound = true;
    // Without an early exit, so that the compiler vectorises it.
    for &byte in value {
        sound &= is_field_byte(byte);
    }
    sound && !has_outer_whitespace(value)
}

/// Whether a value begins or ends with a space or a tab.
#[inline]
pub fn has_outer_whitespace(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// Removes spaces and tabs at both ends.
#[inline]
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list, trimmed, including empty ones. Does not handle quoted strings:
/// for lists of tokens (RFC 9110 section 5.6.1).
#[inline]
pub fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim)
}

/// Whether this is a reason phrase: any bytes that a field value may contain (RFC 9112 section 4).
#[inline]
pub fn is_reason_phrase(phrase: &[u8]) -> bool {
    phrase.iter().all(|&b| is_field_byte(b))
}

/// Reads a status code: three digits, 100 to 999 (RFC 9110 section 15).
///
/// Codes from 600 on belong to no class, but peers send them nevertheless; they are accepted.
#[inline]
pub fn status_code(code: &[u8]) -> Option<u16> {
    let [first @ b'1'..=b'9', second, third] = code else {
        return None;
    };
    let [first, second, third] =
        [first, second, third].map(|digit| u16::from(digit.wrapping_sub(b'0')));
    (second <= 9 && third <= 9).then_some(first * 100 + second * 10 + third)
}

/// Whether these bytes can be a request target, or the `:path` of HTTP/2, in any form.
///
/// Refused are bytes that break a request line (control characters, spaces), bytes where readers split a
/// target differently (`#`: a fragment is not part of a target, RFC 9112 section 3.2), an empty target
/// and one longer than [`LONGEST_TARGET`]. All others are accepted unchanged, including those that RFC
/// 3986 requires to be percent-encoded (`"`, `<`, `>`, a backtick, `{`, `|`, `}`, `\`, `^`, bytes from
/// 0x80 on): clients send them, and origins give them a meaning.
#[inline]
pub fn is_target(target: &[u8]) -> bool {
    if target.len() > LONGEST_TARGET {
        return false;
    }
    let mut bad = target.is_empty();
    // Without an early exit, so that the compiler vectorises it.
    for &byte in target {
        bad |= byte <= b' ' || byte == 0x7f || byte == b'#';
    }
    !bad
}

/// Whether this is a target that begins with a slash, or an asterisk if `is_options` says that the method
/// is OPTIONS (RFC 9112 sections 3.2.1 and 3.2.4). The `:path` of HTTP/2 has the same form (RFC 9113
/// section 8.3.1).
#[inline]
pub fn is_origin_form(target: &[u8], is_options: bool) -> bool {
    match target {
        [b'/', ..] => is_target(target),
        b"*" => is_options,
        _ => false,
    }
}

/// Whether this is a scheme (RFC 3986 section 3.1). Schemes are case-insensitive.
pub fn is_scheme(scheme: &[u8]) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(fits)
}

/// Whether this is `http` or `https`, in any case: the only supported schemes.
pub fn is_http_scheme(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")
}

#[cfg(test)]
mod tests;
