//! The same message over HTTP/1 and over HTTP/2: both must reach the same verdict, and forward the
//! same. Both directions, heads and trailers, without a socket.
//!
//! HTTP/2 is tested twice: as lines, which is the rule, and as a message of the `http` crate, if its
//! types can hold it at all.

use super::h1::{
    BodyDecoder, BodyEncoder, BodyLength, HeadLimits, RequestRules, ResponseContext, Step,
    encode_request, encode_response, outgoing_request_length, outgoing_response_length,
    parse_request, parse_response,
};
use super::v2::message::{
    head_of, incoming_trailers, judged_response as incoming_response, new_request,
    outgoing_request, outgoing_response, outgoing_trailers,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, uri};
use pingora_http::grammar::{Section, SectionCheck};
use pingora_http::{RequestHeader, ResponseHeader};

/// The request that HTTP/1 would forward, or the status of the refusal.
type Verdict = Result<String, u16>;

type Fields<'a> = &'a [(&'a [u8], &'a [u8])];

#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'a [u8],
    target: &'a [u8],
    host: &'a [u8],
    fields: Fields<'a>,
}

const PLAIN: Asked<'static> = Asked {
    method: b"GET",
    target: b"/",
    host: b"a.test",
    fields: &[],
};

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().to_ascii_lowercase()
}

fn put_fields(head: &mut Vec<u8>, fields: Fields<'_>) {
    for (name, value) in fields {
        head.extend([name, &b": "[..], value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
}

fn rules() -> RequestRules {
    RequestRules {
        allow_connect: true,
        ..RequestRules::default()
    }
}

fn request_of_http1(asked: &Asked<'_>) -> Verdict {
    let mut head = [asked.method, b" ", asked.target, b" HTTP/1.1\r\n"].concat();
    head.extend([b"host: ", asked.host, b"\r\n"].concat());
    put_fields(&mut head, asked.fields);
    let mut request = RequestHeader::empty();
    parse_request(&head.into(), &rules(), &mut request).map_err(|fault| fault.status())?;
    Ok(sent_on(&request))
}

fn sent_on(request: &RequestHeader) -> String {
    let mut out = Vec::new();
    encode_request(request, &mut out);
    text(&out)
}

/// The lines of a request over HTTP/2.
fn lines<'a>(asked: &Asked<'a>) -> Vec<(&'a [u8], &'a [u8])> {
    let mut lines: Vec<(&[u8], &[u8])> =
        vec![(b":method", asked.method), (b":authority", asked.host)];
    if asked.method != b"CONNECT" {
        lines.extend([
            (&b":scheme"[..], &b"http"[..]),
            (&b":path"[..], asked.target),
        ]);
    }
    lines.extend(asked.fields);
    lines
}

fn judge(section: Section, lines: &[(&[u8], &[u8])]) -> Result<(), u16> {
    let mut check = SectionCheck::new(section);
    for (name, value) in lines {
        check.line(name, value).map_err(|_| 400_u16)?;
    }
    check.end().map_err(|_| 400)
}

fn map_of(fields: Fields<'_>) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(
            HeaderName::from_lowercase(name).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        );
    }
    Some(map)
}

/// A request as the `h2` crate delivers it; `None`: its types can't hold it.
fn parts_of(asked: &Asked<'_>) -> Option<http::request::Parts> {
    let mut target = uri::Parts::default();
    target.authority = Some(Authority::try_from(asked.host).ok()?);
    if asked.method != b"CONNECT" {
        target.scheme = Some(Scheme::HTTP);
        let path = PathAndQuery::try_from(asked.target).ok()?;
        // It removes a fragment.
        if path.as_str().as_bytes() != asked.target {
            return None;
        }
        target.path_and_query = Some(path);
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(asked.method).ok()?;
    *request.uri_mut() = http::Uri::from_parts(target).ok()?;
    *request.headers_mut() = map_of(asked.fields)?;
    Some(request.into_parts().0)
}

fn request_of_http2(asked: &Asked<'_>) -> Verdict {
    let judged = judge(Section::Request, &lines(asked));
    let Some(parts) = parts_of(asked) else {
        judged?;
        // The forwarded part of a target that only the raw lines can hold.
        let mut request =
            RequestHeader::build(asked.method, asked.target, None).map_err(|_| 0_u16)?;
        assert_eq!(*request.origin_form(), *asked.target);
        request
            .insert_header("host", asked.host)
            .map_err(|_| 0_u16)?;
        for (name, value) in asked.fields {
            let name = String::from_utf8_lossy(name).into_owned();
            request.append_header(name, *value).map_err(|_| 0_u16)?;
        }
        return Ok(sent_on(&request));
    };
    let (header, found) = new_request(head_of(parts), &rules());
    let found = found.map_err(|fault| fault.status());
    if judged.is_err() {
        assert!(found.is_err(), "{:?}", lines(asked));
    }
    found?;
    // The authority arrives first.
    let mut parts = header.as_owned_parts();
    let mut request = header;
    let host = parts.headers.remove("host");
    for name in parts.headers.keys() {
        request.remove_header(name);
    }
    request.remove_header("host");
    request
        .insert_header("host", host.unwrap())
        .map_err(|_| 0_u16)?;
    for (name, value) in &parts.headers {
        request
            .append_header(name, value.clone())
            .map_err(|_| 0_u16)?;
    }
    Ok(sent_on(&request))
}

fn assert_alike(asked: &Asked<'_>) {
    let (one, two) = (request_of_http1(asked), request_of_http2(asked));
    let name: Vec<_> = lines(asked)
        .iter()
        .map(|(name, value)| format!("{}={}", text(name), text(value)))
        .collect();
    assert_eq!(one, two, "{name:?}");
}

/// Every byte, inside and at the end of a valid value.
fn with_every_byte(sound: &[u8]) -> impl Iterator<Item = (u8, Vec<u8>)> {
    (0..=u8::MAX).flat_map(move |byte| {
        [
            (byte, [sound, &[byte], b"z"].concat()),
            (byte, [sound, &[byte]].concat()),
        ]
    })
}

#[test]
fn a_target_is_judged_alike() {
    let paths: [&[u8]; 4] = [b"/", b"/a/b", b"/a?q=", b"/%41?"];
    for path in paths {
        for (_, target) in with_every_byte(path) {
            let target = &target[..];
            assert_alike(&Asked { target, ..PLAIN });
        }
    }
    let rows: &[(&[u8], &[u8])] = &[
        (b"GET", b"/?q=\"a\""),
        (b"GET", b"/?q=<a>"),
        (b"GET", b"/a`b"),
        (b"GET", b"/a{b}|\\^"),
        (b"GET", b"/\xe9"),
        (b"GET", b"/\xc3\xa9?\xff"),
        (b"GET", b"//a.test/"),
        (b"GET", b"/../a"),
        (b"GET", b"/a#b"),
        (b"GET", b"#b"),
        (b"GET", b""),
        (b"GET", b"*"),
        (b"GET", b"**"),
        (b"GET", b"a"),
        (b"GET", b"?q"),
        (b"OPTIONS", b"*"),
        (b"OPTIONS", b"/"),
        (b"OPTIONS", b"a"),
    ];
    for (method, target) in rows {
        assert_alike(&Asked {
            method,
            target,
            ..PLAIN
        });
    }
}

#[test]
fn a_method_is_judged_alike() {
    for (_, method) in with_every_byte(b"GE") {
        let method = &method[..];
        assert_alike(&Asked { method, ..PLAIN });
    }
    for method in [
        &b""[..],
        b"get",
        b"CONNECTED",
        b"A-LONG-METHOD-WITH-MANY-LETTERS",
    ] {
        assert_alike(&Asked { method, ..PLAIN });
    }
}

#[test]
fn an_authority_is_judged_alike() {
    for (byte, host) in with_every_byte(b"a.tes") {
        // HTTP/1 does not treat white space around a value as part of it.
        if !matches!(byte, b' ' | b'\t') {
            assert_alike(&Asked {
                host: &host,
                ..PLAIN
            });
        }
    }
    let hosts: [&[u8]; 16] = [
        b"",
        b"a:",
        b"a:80",
        b"a:65535",
        b"a:65536",
        b"a:x",
        b":80",
        b"u@a",
        b"a,b",
        b"[::1]",
        b"[::1]:80",
        b"[::1",
        b"[v1.a]",
        b"a%6",
        b"%61",
        b"A.TEST",
    ];
    for host in hosts {
        assert_alike(&Asked { host, ..PLAIN });
    }
    // For CONNECT, the target is the authority.
    for target in hosts {
        assert_alike(&Asked {
            method: b"CONNECT",
            target,
            host: target,
            ..PLAIN
        });
    }
}

#[test]
fn a_name_is_judged_alike() {
    for (byte, name) in with_every_byte(b"x-a") {
        // A colon ends an HTTP/1 field name; upper-case letters are only allowed in HTTP/1 (RFC 9113
        // section 8.2.1).
        if byte != b':' && !byte.is_ascii_uppercase() {
            let fields: Fields<'_> = &[(&name, b"1")];
            assert_alike(&Asked { fields, ..PLAIN });
            assert_fields_alike(fields);
        }
    }
    let long = [b'x'; 300];
    for name in [&b""[..], b"x\"y", b"\"", b"x(y", b"x y", b"\xe9", &long] {
        let fields: Fields<'_> = &[(name, b"1")];
        assert_alike(&Asked { fields, ..PLAIN });
        assert_fields_alike(fields);
    }
    let upper = SectionCheck::new(Section::Trailers).line(b"X-A", b"1");
    assert!(upper.is_err());
}

#[test]
fn a_value_is_judged_alike() {
    for (byte, value) in with_every_byte(b"a") {
        let outer = value.ends_with(b" ") || value.ends_with(b"\t");
        let fields: Fields<'_> = &[(b"x", &value)];
        if outer {
            // HTTP/1 has removed it; in HTTP/2 it is not allowed (RFC 9113 section 8.2.1).
            assert_eq!(
                request_of_http2(&Asked { fields, ..PLAIN }),
                Err(400),
                "{byte}"
            );
        } else {
            assert_alike(&Asked { fields, ..PLAIN });
            assert_fields_alike(fields);
        }
    }
    for value in [&b""[..], b"a \t b", b"\"", b"\xff\xfe", b"a, b", b"a: b"] {
        let fields: Fields<'_> = &[(b"x", value)];
        assert_alike(&Asked { fields, ..PLAIN });
        assert_fields_alike(fields);
    }
}

/// Values of `Content-Length`, one field each.
const LENGTHS: [&[&str]; 22] = [
    &["0"],
    &["10"],
    &["010"],
    &["00"],
    &["10", "10"],
    &["10, 10"],
    &["10,10,10", "10"],
    &["010", "010"],
    &["10", "010"],
    &["10", "11"],
    &["10, 11"],
    &["10,"],
    &[""],
    &["+10"],
    &["-10"],
    &["0x10"],
    &["1 0"],
    &["1e1"],
    &["10.0"],
    &["9223372036854775807"],
    &["9223372036854775808"],
    &["18446744073709551626"],
];

#[test]
fn a_length_is_judged_alike_and_passed_on_as_it_was_understood() {
    for values in LENGTHS {
        let fields: Vec<(&[u8], &[u8])> = values
            .iter()
            .map(|value| (&b"content-length"[..], value.as_bytes()))
            .collect();
        let asked = Asked {
            method: b"POST",
            fields: &fields,
            ..PLAIN
        };
        assert_alike(&asked);
        assert_alike(&Asked {
            method: b"CONNECT",
            target: b"a:1",
            host: b"a:1",
            ..asked
        });
        let one = response_of_http1(b"200", &fields);
        assert_eq!(one, response_of_http2(b"200", &fields), "{values:?}");
        if let Ok(sent) = one {
            let lengths = sent.matches("content-length: ").count();
            assert_eq!(lengths, 1, "{sent}");
            assert!(
                !sent.contains("length: 0") || sent.contains("length: 0\\r"),
                "{sent}"
            );
        }
    }
}

#[test]
fn a_status_is_judged_alike() {
    for code in [
        "200", "204", "304", "404", "599", "600", "999", "099", "20", "2000", "", "abc", "2 0",
    ] {
        let fields: Fields<'_> = &[(b"x", b"1")];
        let one = response_of_http1(code.as_bytes(), fields);
        let two = response_of_http2(code.as_bytes(), fields);
        assert_eq!(one, two, "{code}");
    }
}

fn response_of_http1(status: &[u8], fields: Fields<'_>) -> Verdict {
    let mut head = [b"HTTP/1.1 ", status, b" \r\n"].concat();
    put_fields(&mut head, fields);
    let mut response = ResponseHeader::empty();
    let limits = HeadLimits::default();
    parse_response(
        &head.into(),
        &limits,
        ResponseContext::default(),
        &mut response,
    )
    .map_err(|fault| fault.status())?;
    Ok(answered(&response))
}

fn answered(response: &ResponseHeader) -> String {
    let mut response = response.clone();
    // HTTP/2 has neither.
    response.set_version(http::Version::HTTP_11);
    response.set_reason_phrase(Some("")).unwrap();
    let mut out = Vec::new();
    encode_response(&response, &mut out);
    text(&out)
}

fn response_of_http2(status: &[u8], fields: Fields<'_>) -> Verdict {
    let lines: Vec<_> = [(&b":status"[..], status)]
        .into_iter()
        .chain(fields.iter().copied())
        .collect();
    let judged = judge(Section::Response, &lines).map_err(|_| 502_u16);
    let status = StatusCode::from_bytes(status).ok();
    let (Some(status), Some(map)) = (status, map_of(fields)) else {
        assert!(judged.is_err(), "{fields:?}");
        return Err(502);
    };
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = map;
    let found = incoming_response(response.into_parts().0, false, false);
    if judged.is_err() {
        assert!(found.is_err(), "{fields:?}");
    }
    found
        .map(|response| answered(&response.header))
        .map_err(|fault| fault.status())
}

/// Responses and trailer sections with these fields get the same verdict.
fn assert_fields_alike(fields: Fields<'_>) {
    let one = response_of_http1(b"200", fields);
    assert_eq!(one, response_of_http2(b"200", fields), "{fields:?}");
    let one = trailers_of_http1(fields);
    assert_eq!(one, trailers_of_http2(fields), "{fields:?}");
}

fn trailers_of_http1(fields: Fields<'_>) -> Result<HeaderMap, u16> {
    let mut body = b"0\r\n".to_vec();
    put_fields(&mut body, fields);
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    let mut left = &body[..];
    loop {
        match decoder.step(left).map_err(|fault| fault.status())? {
            Step::More { consumed: 0 } => return Err(400),
            Step::More { consumed } => left = &left[consumed..],
            Step::Data { .. } => return Err(0),
            Step::End { .. } => break,
        }
    }
    Ok(decoder
        .take_trailers()
        .map_or_else(HeaderMap::new, |trailers| *trailers))
}

fn trailers_of_http2(fields: Fields<'_>) -> Result<HeaderMap, u16> {
    let judged = judge(Section::Trailers, fields);
    let Some(mut map) = map_of(fields) else {
        assert!(judged.is_err(), "{fields:?}");
        return Err(400);
    };
    let found = incoming_trailers(&mut map).map_err(|fault| fault.status());
    assert_eq!(found.is_err(), judged.is_err(), "{fields:?}");
    found.map(|()| map)
}

/// Fields that a program, or the other version, put into a map.
#[test]
fn trailers_leave_alike() {
    let fields = [
        ("x-sum", "1"),
        ("x\"y", "1"),
        ("x-spaces", " \ta b "),
        ("content-length", "5"),
        ("connection", "close"),
        ("host", "b.test"),
        ("grpc-status", "0"),
    ];
    let mut trailers = HeaderMap::new();
    for (name, value) in fields {
        trailers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    let mut one = Vec::new();
    let mut encoder = BodyEncoder::new(BodyLength::Chunked);
    encoder.finish(Some(&trailers), &mut one).unwrap();
    outgoing_trailers(&mut trailers);
    let mut two: Vec<_> = trailers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    let one = String::from_utf8(one).unwrap();
    let one = one.strip_prefix("0\r\n").unwrap().trim_end();
    let mut one: Vec<_> = one.split("\r\n").collect();
    one.sort_unstable();
    two.sort_unstable();
    assert_eq!(one, two);
    assert_eq!(one, ["grpc-status: 0", "x-spaces: a b", "x-sum: 1"]);
}

/// A program's declarations about its own message.
#[test]
fn a_length_of_our_own_is_judged_alike() {
    for values in LENGTHS {
        let mut request = RequestHeader::build("POST", b"/", None).unwrap();
        let mut response = ResponseHeader::build(200, None).unwrap();
        request.insert_header("Host", "a.test").unwrap();
        for value in values {
            request.append_header("Content-Length", *value).unwrap();
            response.append_header("Content-Length", *value).unwrap();
        }
        let one = outgoing_request_length(&request).ok();
        let two = outgoing_request(&request, false).ok();
        let two = two.map(|out| out.length.map_or(BodyLength::Empty, BodyLength::Exact));
        assert_eq!(one, two, "{values:?}");
        let one = outgoing_response_length(&response, false, false);
        let two = outgoing_response(&response, &Method::GET, || {
            http::HeaderValue::from_static("")
        });
        let told = two.as_ref().map(|out| out.length.is_empty());
        let empty = one.map(|length| length == BodyLength::Exact(0));
        assert_eq!(empty, told.map_err(|fault| *fault), "{values:?}");
        // A number that another reader may interpret differently is never sent.
        if values
            .iter()
            .any(|value| value.starts_with('0') && value.len() > 1)
        {
            assert!(one.is_err(), "{values:?}");
        }
    }
}
