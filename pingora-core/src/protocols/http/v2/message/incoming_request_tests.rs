//! One row for each rule that an HTTP/2 request has to follow.

use super::*;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::uri::PathAndQuery;
use pingora_http::grammar::{Malformed, Section, SectionCheck};

const PLAIN: RequestRules = RequestRules {
    limits: HeadLimits {
        head_bytes: 64 * 1024,
        fields: 8,
        target_bytes: 64,
    },
    allow_connect: false,
    allow_obs_fold: false,
};

/// A request as the framing delivers it: the target's parts and the fields.
fn arrived(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method);
    request = match uri.strip_prefix("path:") {
        // A target without `:authority`, built from `Parts`.
        Some(path) => {
            let mut parts = http::uri::Parts::default();
            parts.path_and_query = Some(PathAndQuery::try_from(path).unwrap());
            request.uri(http::Uri::from_parts(parts).unwrap())
        }
        None => request.uri(uri),
    };
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// The faults that the framing detects.
pub(super) fn judge(head: &Head) -> Result<(), Malformed> {
    let mut check = SectionCheck::new(Section::Request);
    let pseudo = &head.pseudo;
    if let Some(method) = &pseudo.method {
        check.line(b":method", method.as_str().as_bytes())?;
    }
    let texts = [
        (&b":protocol"[..], &pseudo.protocol),
        (b":authority", &pseudo.authority),
        (b":scheme", &pseudo.scheme),
        (b":path", &pseudo.path),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            check.line(name, text)?;
        }
    }
    for (name, value) in &head.fields {
        check.line(name.as_str().as_bytes(), value.as_bytes())?;
    }
    check.end()
}

fn status(parts: &mut Parts, rules: &RequestRules) -> Result<IncomingRequest, u16> {
    let (header, checked) = new_request(head_of(parts.clone()), rules);
    parts.headers = header.headers.clone();
    parts.extensions = header.extensions.clone();
    checked.map_err(|fault| fault.status())
}

/// Targets that the types of the `http` crate can't hold are as valid as over HTTP/1.
#[test]
fn a_target_arrives_byte_by_byte() {
    let targets: [&[u8]; 6] = [
        b"/a`b",
        b"/?q=<a>",
        b"/\xe9",
        b"/a{b}|\\^",
        b"/?q=\"a\"",
        b"/",
    ];
    for target in targets {
        for authority in [true, false] {
            let mut head = head_of(arrived("GET", "https://a.test/", &[("host", "a.test")]));
            head.pseudo.path = Some(Bytes::copy_from_slice(target));
            if !authority {
                head.pseudo.authority = None;
            }
            let (header, checked) = new_request(head, &PLAIN);
            assert!(checked.is_ok(), "{}", target.escape_ascii());
            assert_eq!(header.raw_path(), target);
            assert_eq!(header.uri.authority().is_some(), authority);
        }
    }
}

/// A refused head can be logged.
#[test]
fn a_malformed_request_keeps_its_method_and_target() {
    let head = head_of(arrived("PUT", "https://a/x", &[("te", "gzip")]));
    let (header, checked) = new_request(head, &PLAIN);
    assert_eq!(checked.map_err(|fault| fault.status()), Err(400));
    assert_eq!(
        (&header.method, header.raw_path()),
        (&Method::PUT, &b"/x"[..])
    );
}

/// RFC 9113 section 8.3.1.
#[test]
fn authority_and_host_agree_and_there_is_a_host() {
    const URI: &str = "https://example.com/x";
    let rows: &[(&str, &[&str], Result<&str, u16>)] = &[
        (URI, &[], Ok("example.com")),
        (URI, &["example.com"], Ok("example.com")),
        (URI, &["EXAMPLE.com"], Ok("EXAMPLE.com")),
        ("https://example.com:8443/", &[], Ok("example.com:8443")),
        (URI, &["example.org"], Err(400)),
        (URI, &["example.com:443"], Err(400)),
        (URI, &["example.com", "example.com"], Err(400)),
        ("https://user@example.com/", &[], Err(400)),
        ("path:/x", &["example.com"], Ok("example.com")),
        ("path:/x", &["exa mple"], Err(400)),
        ("path:/x", &["a,b"], Err(400)),
        ("path:/x", &[""], Err(400)),
        ("path:/x", &[], Err(400)),
    ];
    for (uri, hosts, expected) in rows {
        let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let mut parts = arrived("GET", uri, &fields);
        let got = status(&mut parts, &PLAIN);
        assert_eq!(got.err(), expected.err(), "{uri} {hosts:?}");
        if let Ok(host) = expected {
            let all: Vec<_> = parts.headers.get_all(HOST).iter().collect();
            assert_eq!(all, [host], "{uri} {hosts:?}");
        }
    }
}

/// RFC 9113 section 8.3.1.
#[test]
fn a_path_begins_with_a_slash() {
    let rows = [
        ("GET", "https://a/", Ok(())),
        ("GET", "https://a/b?c", Ok(())),
        ("OPTIONS", "path:*", Ok(())),
        ("GET", "path:*", Err(400)),
        ("GET", "https://a?c", Err(400)),
        (
            "GET",
            "https://a/0123456789012345678901234567890123456789012345678901234567890123456789",
            Err(414),
        ),
    ];
    for (method, uri, expected) in rows {
        let mut parts = arrived(method, uri, &[("host", "a")]);
        assert_eq!(
            status(&mut parts, &PLAIN).map(|_| ()),
            expected,
            "{method} {uri}"
        );
    }
}

/// RFC 9113 section 8.3.1, like an absolute-form target of HTTP/1.
#[test]
fn a_scheme_is_http_or_https() {
    for (scheme, expected) in [("http", Ok(())), ("HTTPS", Ok(())), ("ftp", Err(400))] {
        let mut parts = arrived("GET", &format!("{scheme}://a/"), &[]);
        assert_eq!(status(&mut parts, &PLAIN).map(drop), expected, "{scheme}");
    }
    // An empty one, which the library accepts.
    let mut target = http::uri::Parts::default();
    target.scheme = Some(http::uri::Scheme::try_from("").unwrap());
    target.authority = Some(http::uri::Authority::from_static("a"));
    target.path_and_query = Some(PathAndQuery::from_static("/"));
    let mut parts = arrived("GET", "https://a/", &[]);
    parts.uri = http::Uri::from_parts(target).unwrap();
    assert_eq!(status(&mut parts, &PLAIN).map(drop), Err(400));
}

/// RFC 9110 section 9.3.6.
#[test]
fn a_tunnel_has_no_length() {
    let allowing = RequestRules {
        allow_connect: true,
        ..PLAIN
    };
    for (length, expected) in [("0", Ok(())), ("5", Err(400))] {
        let mut parts = arrived("CONNECT", "a:443", &[("content-length", length)]);
        assert_eq!(
            status(&mut parts, &allowing).map(drop),
            expected,
            "{length}"
        );
    }
}

/// RFC 9113 section 8.5, RFC 8441 section 4.
#[test]
fn tunnels_are_for_those_who_allow_them() {
    let allowing = RequestRules {
        allow_connect: true,
        ..PLAIN
    };
    let rows = [
        (&PLAIN, "a:443", None, Err(405)),
        (&allowing, "a:443", None, Ok(false)),
        (&PLAIN, "a", None, Err(405)),
        (&allowing, "a", None, Err(400)),
        (&allowing, "a:", None, Err(400)),
        (&PLAIN, "https://a/chat", Some("WebSocket"), Ok(true)),
        (&PLAIN, "ftp://a/chat", Some("websocket"), Err(400)),
        (&PLAIN, "https://a/chat", Some("websocket"), Ok(true)),
        (&allowing, "https://a/chat", Some("connect-udp"), Err(501)),
    ];
    for (rules, uri, protocol, expected) in rows {
        let mut parts = arrived("CONNECT", uri, &[]);
        if let Some(protocol) = protocol {
            parts.extensions.insert(Protocol::from(protocol));
        }
        let got = status(&mut parts, rules).map(|facts| facts.extended_connect);
        assert_eq!(got, expected, "{uri} {protocol:?}");
        assert_eq!(
            parts.extensions.get::<Protocol>().is_some(),
            protocol.is_some()
        );
    }
}

/// RFC 9110 section 9.3.6.
#[test]
fn what_a_tunnel_carries_is_no_body() {
    let allowing = RequestRules {
        allow_connect: true,
        ..PLAIN
    };
    for (uri, protocol) in [("a:443", None), ("https://a/chat", Some("websocket"))] {
        for (length, expected) in [("0", None), ("5", Some(400))] {
            let mut parts = arrived("CONNECT", uri, &[("content-length", length)]);
            if let Some(protocol) = protocol {
                parts.extensions.insert(Protocol::from(protocol));
            }
            assert_eq!(
                status(&mut parts, &allowing).err(),
                expected,
                "{uri} {length}"
            );
        }
    }
}

/// RFC 9113 section 8.2.2.
#[test]
fn fields_of_a_connection_are_refused() {
    let rows = [
        ("connection", "close", 400),
        ("keep-alive", "5", 400),
        ("proxy-connection", "close", 400),
        ("transfer-encoding", "chunked", 400),
        ("upgrade", "websocket", 400),
        ("http2-settings", "AAA", 400),
        ("te", "gzip", 400),
        ("te", "trailers", 0),
        ("trailer", "x-sum", 0),
    ];
    for (name, value, expected) in rows {
        let mut parts = arrived("GET", "https://a/", &[(name, value)]);
        let got = status(&mut parts, &PLAIN).err().unwrap_or(0);
        assert_eq!(got, expected, "{name}: {value}");
    }
}

#[test]
fn lengths_expectations_and_cookies_are_read() {
    type Row<'a> = (&'a [(&'a str, &'a str)], Result<(Option<u64>, bool), u16>);
    let rows: &[Row<'_>] = &[
        (&[], Ok((None, false))),
        (&[("content-length", "5")], Ok((Some(5), false))),
        (
            &[("content-length", "5"), ("content-length", "5")],
            Ok((Some(5), false)),
        ),
        (
            &[("content-length", "5"), ("content-length", "6")],
            Err(400),
        ),
        (&[("content-length", "05")], Ok((Some(5), false))),
        (&[("content-length", "5, 5")], Ok((Some(5), false))),
        (&[("content-length", "5, 6")], Err(400)),
        (&[("content-length", "five")], Err(400)),
        (&[("expect", "100-Continue")], Ok((None, true))),
        (&[("expect", "miracles")], Ok((None, false))),
        (&[("cookie", "a=1"), ("cookie", "b=2")], Ok((None, false))),
    ];
    for (fields, expected) in rows {
        let mut parts = arrived("POST", "https://a/", fields);
        let got = status(&mut parts, &PLAIN).map(|facts| (facts.length, facts.expects_continue));
        assert_eq!(got, *expected, "{fields:?}");
        if let Ok((Some(length), _)) = got {
            assert_eq!(parts.headers[CONTENT_LENGTH], length.to_string());
        }
        if got.is_ok() {
            for name in ["content-length", "cookie"] {
                assert!(
                    parts.headers.get_all(name).iter().count() <= 1,
                    "{fields:?}"
                );
            }
        }
    }
}

#[test]
fn too_many_fields_are_refused_and_a_cookie_is_one() {
    let many: Vec<_> = (0..9).map(|_| ("x", "y")).collect();
    let mut parts = arrived("GET", "path:/", &many);
    assert_eq!(status(&mut parts, &PLAIN).err(), Some(431));
    assert!(parts.headers.is_empty(), "nothing of it is held");
    for (crumbs, expected) in [
        (50, None),
        (MOST_CRUMBS, None),
        (MOST_CRUMBS + 1, Some(431)),
    ] {
        let crumbs: Vec<_> = (0..crumbs).map(|_| ("cookie", "a=b")).collect();
        let mut parts = arrived("GET", "https://a/", &crumbs);
        assert_eq!(status(&mut parts, &PLAIN).err(), expected);
    }
}
