//! The request to the upstream.

use crate::CacheMeta;
use http::Method;
use http::header::{
    ETAG, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, RANGE,
};
use pingora_http::RequestHeader;

/// The client's own conditions: they are about its copy, and the cache applies them to what it serves.
const CONDITIONS: [HeaderName; 6] = [
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
];

/// Makes a request whose response can be stored: a GET for the whole, without the conditions of the client. With
/// the stored response that has to be validated, the request asks whether it still holds (RFC 9111 section 4.3.1).
///
/// A HEAD becomes a GET as well; the client gets the head of the response.
pub fn request_filter(req: &mut RequestHeader, meta: Option<&CacheMeta>) {
    if req.method == Method::HEAD {
        req.set_method(Method::GET);
    }
    for name in &CONDITIONS {
        req.remove_header(name);
    }
    let Some(meta) = meta else { return };
    for (validator, condition) in [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)] {
        if let Some(value) = meta.headers().get(validator) {
            // Fails only if the head is full; without the condition, the whole response comes.
            let _ = req.insert_header(condition, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_http::ResponseHeader;
    use std::time::SystemTime;

    #[test]
    fn conditions_are_those_of_the_cache() {
        let mut req = RequestHeader::build("HEAD", b"/a?b", None).unwrap();
        for name in CONDITIONS {
            req.insert_header(name, "\"client\"").unwrap();
        }
        let mut plain = req.clone();
        request_filter(&mut plain, None);
        assert_eq!((plain.method.as_str(), plain.headers.len()), ("GET", 0));

        let mut stored = ResponseHeader::build(200, None).unwrap();
        stored.insert_header("ETag", "W/\"a\"").unwrap();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        stored.insert_header("Last-Modified", date).unwrap();
        let now = SystemTime::now();
        request_filter(&mut req, Some(&CacheMeta::new(now, now, 0, 0, stored)));
        assert_eq!(req.headers.len(), 2);
        assert_eq!(req.headers["if-none-match"], "W/\"a\"");
        assert_eq!(req.headers["if-modified-since"], date);
    }
}
