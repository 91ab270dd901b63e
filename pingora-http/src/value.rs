//! Header values from bytes.

use bytes::Bytes;
use http::HeaderValue;

use crate::grammar::is_field_byte;

/// A header value of these bytes, without a copy where they are valid (RFC 9110 section 5.5).
///
/// Bytes that no header value may hold (control characters other than tab, DEL) become spaces: a
/// value made here can't end its line.
///
/// The value keeps the buffer alive that the bytes are a part of.
pub fn header_value_from_raw(raw: impl Into<Bytes>) -> HeaderValue {
    let raw = raw.into();
    HeaderValue::from_maybe_shared(raw.clone()).unwrap_or_else(|_| with_spaces(&raw))
}

/// As [`header_value_from_raw`], copying the bytes.
pub fn header_value_from_slice(raw: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(raw).unwrap_or_else(|_| with_spaces(raw))
}

#[cold]
fn with_spaces(raw: &[u8]) -> HeaderValue {
    let cleaned: Vec<u8> = raw
        .iter()
        .map(|&b| if is_field_byte(b) { b } else { b' ' })
        .collect();
    HeaderValue::from_maybe_shared(Bytes::from(cleaned))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_bytes_are_shared() {
        let raw = Bytes::from(b"text/html; q=\"\xe4\"\t".to_vec());
        let value = header_value_from_raw(raw.clone());
        assert_eq!(value.as_bytes(), raw);
        assert_eq!(value.as_bytes().as_ptr(), raw.as_ptr());
    }

    #[test]
    fn a_value_never_ends_its_line() {
        let raw = b"a\r\nX-Injected: 1\0\x7f";
        assert_eq!(header_value_from_slice(raw), "a  X-Injected: 1  ");
        assert_eq!(header_value_from_raw(&raw[..]), "a  X-Injected: 1  ");
    }
}
