//! Header values from bytes.

use bytes::Bytes;
use http::HeaderValue;

use crate::grammar::is_field_byte;

/// Builds a header value from these bytes, without a copy if they are valid (RFC 9110 section 5.5).
///
/// Bytes that a header value must not contain (control characters other than tab, DEL) become spaces, so
/// the value can't end its line.
///
/// The value keeps the whole underlying buffer alive.
pub fn header_value_from_raw(raw: impl Into<Bytes>) -> HeaderValue {
    let raw = raw.into();
    HeaderValue::from_maybe_shared(raw.clone()).unwrap_or_else(|_| with_spaces(&raw))
}

/// Like [`header_value_from_raw`], but copies the bytes.
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
