//! Trailer sections (RFC 9113 section 8.1).

use crate::protocols::http::h1::may_be_trailer;
use http::HeaderMap;
use http::header::HeaderName;

/// Drops what must not stand in a trailer section, as HTTP/1 does.
pub(crate) fn keep_allowed_trailers(trailers: &mut HeaderMap) {
    let forbidden: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !may_be_trailer(name))
        .cloned()
        .collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

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
        ];
        let mut trailers = HeaderMap::new();
        for (name, _) in rows {
            trailers.append(name, HeaderValue::from_static("1"));
            trailers.append(name, HeaderValue::from_static("2"));
        }
        keep_allowed_trailers(&mut trailers);
        for (name, stays) in rows {
            assert_eq!(trailers.contains_key(name), stays, "{name}");
        }
    }
}
