//! The number of fields that a message may have.
//!
//! The framing bounds the size of a header list, in bytes as RFC 9113 section 6.5.2 counts them. An
//! indexed field takes one byte to send, and more memory than it is counted for, so the number of fields
//! is bounded as well.

use crate::protocols::http::h1::Fault;
use http::HeaderMap;

/// The maximum number of pieces that a cookie may be split into (RFC 9113 section 8.2.3); a request
/// with more gets 431. Browsers send one piece per cookie, and keep about 180 for one site.
pub(crate) const MOST_CRUMBS: usize = 256;
/// The maximum number of fields of a response, as over HTTP/1.
const MOST_RESPONSE_FIELDS: usize = 128;
/// The maximum number of fields of a trailer section, as over HTTP/1.
const MOST_TRAILERS: usize = 64;

/// Whether the head of a response has too many fields, even if they all have one name.
pub(crate) fn has_too_many_fields(headers: &HeaderMap) -> bool {
    headers.len() > MOST_RESPONSE_FIELDS
}

/// Counts the fields of a trailer section.
///
/// # Errors
/// 431 if there are too many.
pub(crate) fn check_trailers(trailers: &HeaderMap) -> Result<(), Fault> {
    if trailers.len() > MOST_TRAILERS {
        Err(Fault::new(431, "too many trailers"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    /// CVE-2026-49975, CVE-2026-47774: many values of one name count individually.
    #[test]
    fn fields_are_counted_whatever_their_names() {
        let repeated = |count: usize| {
            let mut fields = HeaderMap::new();
            for _ in 0..count {
                fields.append("x", HeaderValue::from_static(""));
            }
            fields
        };
        assert!(!has_too_many_fields(&repeated(MOST_RESPONSE_FIELDS)));
        assert!(has_too_many_fields(&repeated(MOST_RESPONSE_FIELDS + 1)));
        assert!(check_trailers(&repeated(MOST_TRAILERS)).is_ok());
        let refused = check_trailers(&repeated(MOST_TRAILERS + 1));
        assert_eq!(refused.map_err(|fault| fault.status()), Err(431));
    }
}
