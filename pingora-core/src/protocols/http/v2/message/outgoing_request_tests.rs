//! Requests sent over HTTP/2.

use super::*;

/// The pseudo-header fields in the form of a URI.
fn target(head: &Head) -> String {
    let text = |text: &Option<Bytes>| {
        let text = text.as_deref().unwrap_or_default();
        String::from_utf8(text.to_vec()).unwrap()
    };
    let pseudo = &head.pseudo;
    let scheme = match &pseudo.scheme {
        Some(_) => format!("{}://", text(&pseudo.scheme)),
        None => String::new(),
    };
    let method = pseudo.method.as_ref().unwrap();
    format!(
        "{method} {scheme}{}{}",
        text(&pseudo.authority),
        text(&pseudo.path)
    )
}

/// A short form of the pseudo-header fields and the fields, or the reason of the refusal.
fn sent(request: &RequestHeader, encrypted: bool) -> Result<String, &'static str> {
    let outgoing = outgoing_request(request, encrypted)?;
    let mut told = target(&outgoing.head);
    let mut fields: Vec<_> = outgoing
        .head
        .fields
        .iter()
        .map(|(name, value)| format!(" {name}={}", value.to_str().unwrap()))
        .collect();
    fields.sort();
    told.extend(fields);
    Ok(told)
}

fn request(method: &str, target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
    for (name, value) in fields {
        request.append_header(*name, *value).unwrap();
    }
    request
}

#[test]
fn requests_are_translated() {
    type Row = (
        &'static str,
        &'static str,
        &'static [(&'static str, &'static str)],
        Result<&'static str, ()>,
    );
    const HOST_A: (&str, &str) = ("Host", "a");
    let rows: &[Row] = &[
        ("GET", "/", &[HOST_A], Ok("GET http://a/")),
        (
            "GET",
            "/x?y=z",
            &[("Host", "a:8080")],
            Ok("GET http://a:8080/x?y=z"),
        ),
        (
            "GET",
            "/",
            &[("Host", "[::1]:80")],
            Ok("GET http://[::1]:80/"),
        ),
        // The authority.
        ("GET", "http://a/x", &[], Ok("GET http://a/x")),
        ("GET", "http://a/x", &[("Host", "b")], Ok("GET http://b/x")),
        ("GET", "http://a?x", &[], Ok("GET http://a/?x")),
        ("GET", "/", &[], Err(())),
        ("GET", "/", &[("Host", "")], Err(())),
        ("GET", "/", &[("Host", "a b")], Err(())),
        ("GET", "/", &[("Host", "u@a")], Err(())),
        ("GET", "/", &[HOST_A, HOST_A], Err(())),
        // The target.
        ("OPTIONS", "*", &[HOST_A], Ok("OPTIONS http://a*")),
        ("GET", "*", &[HOST_A], Err(())),
        ("GET", "/\u{e9}", &[HOST_A], Ok("GET http://a/\u{e9}")),
        // Unchanged, as over HTTP/1, although no URI has such bytes.
        (
            "GET",
            "/?q=\"a\"<b>`c`",
            &[HOST_A],
            Ok("GET http://a/?q=\"a\"<b>`c`"),
        ),
        ("CONNECT", "b:443", &[HOST_A], Ok("CONNECT b:443")),
        // Connection-specific fields.
        (
            "GET",
            "/",
            &[
                HOST_A,
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Connection", "keep-alive"),
                ("HTTP2-Settings", "x"),
                ("X-Kept", "1"),
            ],
            Ok("GET http://a/ x-kept=1"),
        ),
        (
            "POST",
            "/",
            &[HOST_A, ("Transfer-Encoding", "chunked")],
            Ok("POST http://a/"),
        ),
        (
            "GET",
            "/",
            &[HOST_A, ("TE", "trailers")],
            Ok("GET http://a/ te=trailers"),
        ),
        (
            "GET",
            "/",
            &[HOST_A, ("TE", "gzip, Trailers")],
            Ok("GET http://a/ te=trailers"),
        ),
        ("GET", "/", &[HOST_A, ("TE", "gzip")], Ok("GET http://a/")),
        // The length.
        (
            "POST",
            "/",
            &[HOST_A, ("Content-Length", "3")],
            Ok("POST http://a/ content-length=3"),
        ),
        (
            "POST",
            "/",
            &[HOST_A, ("Content-Length", "3"), ("Content-Length", "3")],
            Ok("POST http://a/ content-length=3"),
        ),
        (
            "POST",
            "/",
            &[HOST_A, ("Content-Length", "3"), ("Content-Length", "4")],
            Err(()),
        ),
        ("POST", "/", &[HOST_A, ("Content-Length", "+3")], Err(())),
        // Pieces stay pieces.
        (
            "GET",
            "/",
            &[HOST_A, ("Cookie", "a=b"), ("Cookie", "c=d")],
            { Ok("GET http://a/ cookie=a=b cookie=c=d") },
        ),
    ];
    for (method, target, fields, expected) in rows {
        let found = sent(&request(method, target, fields), false);
        assert_eq!(
            found.as_deref().map_err(|_| ()),
            expected.as_deref().map_err(|_| ()),
            "{method} {target} {fields:?}: {found:?}"
        );
    }
}

#[test]
fn the_scheme_is_that_of_the_connection() {
    let request = request("GET", "http://a/", &[]);
    assert_eq!(sent(&request, true).unwrap(), "GET https://a/");
    assert_eq!(sent(&request, false).unwrap(), "GET http://a/");
}

/// RFC 8441 section 4.
#[test]
fn an_extended_connect_has_a_whole_target() {
    let mut request = request("CONNECT", "http://a/chat", &[("Host", "a")]);
    let protocol = Protocol::from_static("websocket");
    request.extensions_mut().insert(protocol.clone());
    let outgoing = outgoing_request(&request, true).unwrap();
    assert_eq!(target(&outgoing.head), "CONNECT https://a/chat");
    let sent = outgoing.head.pseudo.protocol.as_deref();
    assert_eq!(sent, Some(protocol.as_ref()));
    request.set_method(Method::GET);
    assert!(outgoing_request(&request, true).is_err());
}

#[test]
fn the_declared_length_is_told() {
    type Row = (&'static [(&'static str, &'static str)], Option<u64>);
    let rows: &[Row] = &[
        (&[], None),
        (&[("Content-Length", "0")], Some(0)),
        (&[("Content-Length", "17")], Some(17)),
        (&[("Transfer-Encoding", "chunked")], None),
    ];
    for (fields, expected) in rows {
        let mut request = request("POST", "/", fields);
        request.insert_header("Host", "a").unwrap();
        let outgoing = outgoing_request(&request, false).unwrap();
        assert_eq!(outgoing.length, *expected, "{fields:?}");
    }
}
