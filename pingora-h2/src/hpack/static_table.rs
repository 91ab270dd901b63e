//! The static table (RFC 7541 appendix A), as ready-made fields.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::field::{Entry, Name};
use super::{Field, Pseudo};
use pingora_http::grammar::Malformed;

/// The number of entries; their indices begin at 1.
pub(super) const LENGTH: usize = 61;

const fn regular(name: HeaderName, value: &'static str) -> Entry {
    Entry::Good(Field::Regular(name, HeaderValue::from_static(value)))
}

const fn pseudo(pseudo: Pseudo, value: &'static str) -> Entry {
    Entry::Good(Field::Pseudo(pseudo, Bytes::from_static(value.as_bytes())))
}

const fn status(status: StatusCode) -> Entry {
    Entry::Good(Field::Status(status))
}

/// Index 1 comes first.
pub(super) static TABLE: [Entry; LENGTH] = [
    pseudo(Pseudo::Authority, ""),
    Entry::Good(Field::Method(Method::GET)),
    Entry::Good(Field::Method(Method::POST)),
    pseudo(Pseudo::Path, "/"),
    pseudo(Pseudo::Path, "/index.html"),
    pseudo(Pseudo::Scheme, "http"),
    pseudo(Pseudo::Scheme, "https"),
    status(StatusCode::OK),
    status(StatusCode::NO_CONTENT),
    status(StatusCode::PARTIAL_CONTENT),
    status(StatusCode::NOT_MODIFIED),
    status(StatusCode::BAD_REQUEST),
    status(StatusCode::NOT_FOUND),
    status(StatusCode::INTERNAL_SERVER_ERROR),
    regular(header::ACCEPT_CHARSET, ""),
    regular(header::ACCEPT_ENCODING, "gzip, deflate"),
    regular(header::ACCEPT_LANGUAGE, ""),
    regular(header::ACCEPT_RANGES, ""),
    regular(header::ACCEPT, ""),
    regular(header::ACCESS_CONTROL_ALLOW_ORIGIN, ""),
    regular(header::AGE, ""),
    regular(header::ALLOW, ""),
    regular(header::AUTHORIZATION, ""),
    regular(header::CACHE_CONTROL, ""),
    regular(header::CONTENT_DISPOSITION, ""),
    regular(header::CONTENT_ENCODING, ""),
    regular(header::CONTENT_LANGUAGE, ""),
    regular(header::CONTENT_LENGTH, ""),
    regular(header::CONTENT_LOCATION, ""),
    regular(header::CONTENT_RANGE, ""),
    regular(header::CONTENT_TYPE, ""),
    regular(header::COOKIE, ""),
    regular(header::DATE, ""),
    regular(header::ETAG, ""),
    regular(header::EXPECT, ""),
    regular(header::EXPIRES, ""),
    regular(header::FROM, ""),
    regular(header::HOST, ""),
    regular(header::IF_MATCH, ""),
    regular(header::IF_MODIFIED_SINCE, ""),
    regular(header::IF_NONE_MATCH, ""),
    regular(header::IF_RANGE, ""),
    regular(header::IF_UNMODIFIED_SINCE, ""),
    regular(header::LAST_MODIFIED, ""),
    regular(header::LINK, ""),
    regular(header::LOCATION, ""),
    regular(header::MAX_FORWARDS, ""),
    regular(header::PROXY_AUTHENTICATE, ""),
    regular(header::PROXY_AUTHORIZATION, ""),
    regular(header::RANGE, ""),
    regular(header::REFERER, ""),
    regular(header::REFRESH, ""),
    regular(header::RETRY_AFTER, ""),
    regular(header::SERVER, ""),
    regular(header::SET_COOKIE, ""),
    regular(header::STRICT_TRANSPORT_SECURITY, ""),
    Entry::Bad {
        name: Name::Regular(header::TRANSFER_ENCODING),
        value_length: 0,
        why: Malformed::ConnectionField,
    },
    regular(header::USER_AGENT, ""),
    regular(header::VARY, ""),
    regular(header::VIA, ""),
    regular(header::WWW_AUTHENTICATE, ""),
];
