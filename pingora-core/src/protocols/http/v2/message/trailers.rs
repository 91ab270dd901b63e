//! Trailer sections (RFC 9113 section 8.1).

use super::judge_fields;
use crate::protocols::http::h1::{Fault, may_be_trailer};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use pingora_http::grammar::{Section, SectionCheck, has_outer_whitespace, trim};

/// Checks a received trailer section, and drops fields that are not allowed in one, as HTTP/1 does.
///
/// # Errors
/// The section is malformed, and therefore its message too.
pub(crate) fn incoming_trailers(trailers: &mut HeaderMap) -> Result<(), Fault> {
    judge_fields(&mut SectionCheck::new(Section::Trailers), trailers)?;
    drop_forbidden(trailers);
    Ok(())
}

/// Prepares a trailer section for sending: removes fields that are not allowed in one, as HTTP/1
/// does, and white space around values.
pub(crate) fn outgoing_trailers(trailers: &mut HeaderMap) {
    drop_forbidden(trailers);
    trim_values(trailers);
}

fn drop_forbidden(trailers: &mut HeaderMap) {
    let forbidden: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !may_be_trailer(name))
        .cloned()
        .collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

/// Removes the white space around values (RFC 9113 section 8.2.1).
fn trim_values(fields: &mut HeaderMap) {
    for value in fields.values_mut() {
        if has_outer_whitespace(value.as_bytes())
            && let Ok(trimmed) = HeaderValue::from_bytes(trim(value.as_bytes()))
        {
            *value = trimmed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_trailer_stays() {
        let rows = [
            ("grpc-status", true),
            ("x-checksum", true),
            ("content-length", false),
            ("host", false),
            ("te", false),
            ("connection", false),
            ("transfer-encoding", false),
            ("authorization", false),
            ("x\"y", false),
        ];
        let mut trailers = HeaderMap::new();
        for (name, _) in rows {
            let name = HeaderName::from_static(name);
            trailers.append(&name, HeaderValue::from_static("1"));
            trailers.append(&name, HeaderValue::from_static("2"));
        }
        outgoing_trailers(&mut trailers);
        for (name, stays) in rows {
            let name = HeaderName::from_static(name);
            assert_eq!(trailers.contains_key(&name), stays, "{name}");
        }
    }

    /// RFC 9113 sections 8.1.1 and 8.2.
    #[test]
    fn a_malformed_trailer_section_is_no_end_of_a_message() {
        let rows = [
            ("x-sum", "1", true),
            ("content-length", "1", true),
            ("x\"y", "1", false),
            ("x", " 1", false),
            ("x", "1\t", false),
            ("connection", "close", false),
            ("transfer-encoding", "chunked", false),
        ];
        for (name, value, sound) in rows {
            let mut trailers = HeaderMap::new();
            trailers.append("x-first", HeaderValue::from_static("1"));
            trailers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
            let found = incoming_trailers(&mut trailers);
            assert_eq!(found.is_ok(), sound, "{name}: {value:?}");
        }
    }

    #[test]
    fn whitespace_around_a_value_does_not_leave() {
        let mut trailers = HeaderMap::new();
        trailers.append("x", HeaderValue::from_static(" a b\t"));
        outgoing_trailers(&mut trailers);
        assert_eq!(trailers["x"], "a b");
    }
}
