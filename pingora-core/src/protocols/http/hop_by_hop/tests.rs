//! Heads before and after.

use super::rules::{RULES, is_hop_by_hop};
use super::*;
use http::{HeaderMap, HeaderName};
use pingora_error::ErrorType;
use pingora_http::ControlField;

const H1: Version = Version::HTTP_11;

/// `Name: value` lines, joined by `|`.
fn fields_of(headers: &HeaderMap) -> String {
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines.join("|")
}

fn request(head: &str, fields: &str) -> RequestHeader {
    let (method, version) = head.split_once(' ').unwrap();
    let mut request = RequestHeader::build(method, b"/", None).unwrap();
    request.set_version(match version {
        "1.0" => Version::HTTP_10,
        "2" => Version::HTTP_2,
        _ => Version::HTTP_11,
    });
    for line in fields.split('|').filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        request.append_header(name.to_string(), value).unwrap();
    }
    request
}

#[test]
#[rustfmt::skip]
fn requests_by_the_standard_policy() {
    let websocket = "connection: Upgrade|upgrade: websocket";
    // Before, and after; `None` for a refusal.
    let rows: &[(&str, &str, &str, Option<&str>)] = &[
        ("nothing to do", "GET 1.1", "host: a|x: y", Some("host: a|x: y")),
        ("keep-alive", "GET 1.1", "host: a|connection: keep-alive", Some("host: a")),
        ("close", "GET 1.1", "host: a|connection: close", Some("host: a")),
        ("all of them", "GET 1.1",
            "a: b|connection: x|keep-alive: 5|proxy-connection: x|te: gzip|transfer-encoding: chunked|upgrade: h2c|http2-settings: x|proxy-authenticate: x|proxy-authorization: x",
            Some("a: b|proxy-authenticate: x|proxy-authorization: x")),
        ("for the next proxy", "GET 1.1", "proxy-authorization: x|proxy-authenticate: y|proxy-authentication-info: z",
            Some("proxy-authenticate: y|proxy-authentication-info: z|proxy-authorization: x")),
        ("for this proxy alone", "GET 1.1", "proxy-authorization: x|connection: proxy-authorization", Some("")),
        ("trailer stays", "GET 1.1", "trailer: x-sum|connection: trailer", Some("trailer: x-sum")),
        ("length stays", "POST 1.1", "content-length: 5|connection: close", Some("content-length: 5")),
        ("nominated", "GET 1.1", "a: 1|b: 2|connection: a, C", Some("b: 2")),
        ("nominated on two lines", "GET 1.1", "a: 1|b: 2|c: 3|connection: a|connection: close, b", Some("c: 3")),
        ("nominated, all values", "GET 1.1", "a: 1|a: 2|connection: A", Some("")),
        ("nominated but absent", "GET 1.1", "a: 1|connection: b", Some("a: 1")),
        ("holes in the list", "GET 1.1", "a: 1|connection: ,, close,", Some("a: 1")),
        ("connection nominates itself", "GET 1.1", "a: 1|connection: connection", Some("a: 1")),
        ("nominates host", "GET 1.1", "host: a|connection: Host", None),
        ("nominates content-length", "GET 1.1", "host: a|connection: content-length", None),
        ("nominates x-forwarded-for", "GET 1.1", "connection: close, X-Forwarded-For", None),
        ("nominates x-forwarded-proto", "GET 1.1", "connection: x-forwarded-proto", None),
        ("nominates forwarded", "GET 1.1", "connection: forwarded", None),
        ("nominates x-real-ip", "GET 1.1", "connection: x-real-ip", None),
        ("nominates via", "GET 1.1", "connection: via", None),
        ("nominates a pseudo field", "GET 1.1", "connection: :authority", None),
        ("two words", "GET 1.1", "connection: keep alive", None),
        ("quoted", "GET 1.1", "connection: \"close\"", None),
        ("websocket", "GET 1.1", "connection: upgrade|upgrade: websocket", Some(websocket)),
        ("websocket, spelt at will", "GET 1.1", "connection: keep-alive, UPGRADE|upgrade: WebSocket", Some(websocket)),
        ("websocket among others", "GET 1.1", "connection: upgrade|upgrade: h2c, websocket", Some(websocket)),
        ("websocket on two lines", "GET 1.1", "connection: upgrade|upgrade: h2c|upgrade: websocket", Some(websocket)),
        ("websocket and nominated", "GET 1.1", "a: 1|connection: upgrade, a|upgrade: websocket", Some(websocket)),
        ("websocket, empty body", "GET 1.1", "connection: upgrade|upgrade: websocket|content-length: 0",
            Some("connection: Upgrade|content-length: 0|upgrade: websocket")),
        ("websocket with a version", "GET 1.1", "connection: upgrade|upgrade: websocket/13", Some("")),
        ("websocket, not in Connection", "GET 1.1", "upgrade: websocket", Some("")),
        ("websocket by POST", "POST 1.1", "connection: upgrade|upgrade: websocket", Some("")),
        ("websocket over 1.0", "GET 1.0", "connection: upgrade|upgrade: websocket", Some("")),
        ("websocket over 2", "GET 2", "connection: upgrade|upgrade: websocket", Some("")),
        ("websocket with a body", "GET 1.1", "connection: upgrade|upgrade: websocket|content-length: 5", Some("content-length: 5")),
        ("websocket, chunked", "GET 1.1", "connection: upgrade|upgrade: websocket|transfer-encoding: chunked", Some("")),
        ("another protocol", "GET 1.1", "connection: upgrade, http2-settings|upgrade: h2c|http2-settings: x", Some("")),
        ("no protocol", "GET 1.1", "connection: upgrade", Some("")),
        ("te of 1.1", "GET 1.1", "te: trailers|connection: te", Some("connection: TE|te: trailers")),
        ("te of 1.1 in lists", "GET 1.1", "te: gzip;q=1, TRAILERS|connection: close, Te", Some("connection: TE|te: trailers")),
        ("te of 1.1 without its option", "GET 1.1", "te: trailers|connection: close", Some("")),
        ("te of 1.1 without trailers", "GET 1.1", "te: gzip|connection: te", Some("")),
        ("te of 1.0", "GET 1.0", "te: trailers|connection: te", Some("")),
        ("te and an upgrade", "GET 1.1", "te: trailers|connection: te, upgrade|upgrade: websocket",
            Some("connection: Upgrade, TE|te: trailers|upgrade: websocket")),
        (
            "te of 1.1 that was translated to gRPC",
            "POST 1.1",
            "content-type: application/grpc+proto|te: trailers",
            Some("connection: TE|content-type: application/grpc+proto|te: trailers"),
        ),
        ("te of 2", "GET 2", "te: trailers", Some("connection: TE|te: trailers")),
        ("te of 2 in a list", "GET 2", "te: gzip, Trailers", Some("connection: TE|te: trailers")),
        ("te of 2 without trailers", "GET 2", "te: gzip", Some("")),
    ];
    for (name, head, before, after) in rows {
        let mut request = request(head, before);
        let result = prepare_upstream_request(&mut request, &HttpUpstreamRequestPolicy::default(), H1);
        let found = result.as_ref().ok().map(|()| fields_of(&request.headers));
        assert_eq!(found.as_deref(), *after, "{name}");
        if let Err(error) = result {
            assert_eq!(error.esource(), &pingora_error::ErrorSource::Downstream);
            assert_eq!(error.etype(), &ErrorType::InvalidHTTPHeader);
        }
    }
}

#[test]
#[rustfmt::skip]
fn requests_by_other_policies() {
    let preserve = HttpUpstreamRequestPolicy::preserve();
    let deny = HttpUpstreamRequestPolicy::deny_upgrades();
    let standard = HttpUpstreamRequestPolicy::standard();
    let forgiving = HttpUpstreamRequestPolicy {
        reject_malformed_connection_nominations: false,
        ..standard
    };
    let only_own = HttpUpstreamRequestPolicy {
        strip_connection_nominated: false,
        ..standard
    };
    let any_upgrade = HttpUpstreamRequestPolicy {
        h1_upgrade: H1UpgradePolicy::Preserve,
        ..standard
    };
    let only_deny = HttpUpstreamRequestPolicy {
        h1_upgrade: H1UpgradePolicy::Deny,
        ..preserve
    };
    let everything = "connection: upgrade, host, a b, x|host: a|te: gzip|upgrade: h2c|x: y";
    let rows: &[(&str, HttpUpstreamRequestPolicy, &str, &str)] = &[
        ("preserve", preserve, everything, everything),
        ("deny", deny, "connection: upgrade|upgrade: websocket|a: b", "a: b"),
        ("only deny", only_deny, "connection: upgrade, x|upgrade: websocket|x: b", "connection: x|x: b"),
        ("only deny, nothing else", only_deny, "connection: upgrade|upgrade: websocket", ""),
        ("forgiving", forgiving, everything, "host: a"),
        ("only our own", only_own, "connection: x|x: y|te: a", "x: y"),
        ("any upgrade", any_upgrade, "connection: keep-alive, upgrade|upgrade: a, b/2", "connection: Upgrade|upgrade: a, b/2"),
        ("any upgrade but h2c", any_upgrade, "connection: upgrade, http2-settings|upgrade: a, H2C|http2-settings: x", ""),
        ("any upgrade, malformed", any_upgrade, "connection: upgrade|upgrade: a b", ""),
        ("any upgrade, not asked for", any_upgrade, "connection: keep-alive|upgrade: a", ""),
        ("only our own still refuses nothing sound", only_own, "connection: x", ""),
    ];
    for (name, policy, before, after) in rows {
        let mut request = request("GET 1.1", before);
        prepare_upstream_request(&mut request, policy, H1).expect(name);
        assert_eq!(fields_of(&request.headers), *after, "{name}");
    }
    let mut request = request("GET 1.1", "connection: host");
    assert!(prepare_upstream_request(&mut request, &only_own, H1).is_err());
}

/// RFC 9113 section 8.2.2: HTTP/2 has `TE: trailers`, and no `Connection` to name it.
#[test]
fn what_goes_over_http2_has_no_options() {
    for (head, before) in [
        ("GET 2", "te: trailers"),
        ("GET 1.1", "te: trailers|connection: te"),
    ] {
        let mut request = request(head, before);
        let policy = HttpUpstreamRequestPolicy::standard();
        prepare_upstream_request(&mut request, &policy, Version::HTTP_2).unwrap();
        assert_eq!(fields_of(&request.headers), "te: trailers", "{head}");
    }
}

/// RFC 9110 section 10.1.1.
#[test]
#[rustfmt::skip]
fn expectations_stay_where_they_mean_something() {
    let length = "content-length: 5";
    let rows: &[(&str, &str, String, bool)] = &[
        ("with a length", "POST 1.1", format!("expect: 100-continue|{length}"), true),
        ("chunked", "POST 1.1", "expect: 100-continue|transfer-encoding: chunked".into(), true),
        ("over 2", "POST 2 with a body", "expect: 100-continue".into(), true),
        ("without content", "GET 1.1", "expect: 100-continue".into(), false),
        ("with empty content", "POST 1.1", "expect: 100-Continue|content-length: 0".into(), false),
        ("over 2 without content", "POST 2", "expect: 100-continue".into(), false),
        ("of 1.0", "POST 1.0", format!("expect: 100-continue|{length}"), false),
        ("of 1.0, unknown", "POST 1.0", format!("expect: more|{length}"), false),
        ("unknown", "GET 1.1", "expect: more".into(), true),
    ];
    let (standard, preserve) = (HttpUpstreamRequestPolicy::standard(), HttpUpstreamRequestPolicy::preserve());
    for (name, head, fields, stays) in rows {
        for policy in [standard, preserve] {
            let (head, body) = match head.strip_suffix(" with a body") {
                Some(head) => (head, true),
                None => (*head, false),
            };
            let mut request = request(head, fields);
            request.set_send_end_stream(!body);
            prepare_upstream_request(&mut request, &policy, H1).unwrap();
            assert_eq!(request.headers.contains_key("expect"), *stays, "{name}");
        }
    }
}

/// RFC 9110 section 7.8: the upstream's answer may grant whatever upgrade was requested of it.
#[test]
fn an_upgrade_that_goes_on_is_one_for_both_sides() {
    let any_upgrade = HttpUpstreamRequestPolicy {
        h1_upgrade: H1UpgradePolicy::Preserve,
        ..HttpUpstreamRequestPolicy::standard()
    };
    for method in ["GET", "POST", "OPTIONS", "CONNECT"] {
        for version in ["1.1", "1.0"] {
            for upgrade in ["tcp", "a/1, b", "a b", "h2c", ""] {
                for rest in ["", "|content-length: 5", "|transfer-encoding: chunked"] {
                    let fields = format!("connection: upgrade|upgrade: {upgrade}{rest}");
                    let mut request = request(&format!("{method} {version}"), &fields);
                    let asks = asks_for_upgrade(&request);
                    prepare_upstream_request(&mut request, &any_upgrade, H1).unwrap();
                    let goes_on = request.headers.contains_key("upgrade");
                    assert_eq!(goes_on, asks && upgrade != "h2c", "{method} {fields}");
                    assert!(!goes_on || method != "CONNECT" && version == "1.1");
                }
            }
        }
    }
}

#[test]
fn many_nominations_are_refused() {
    let names = |n: usize| vec!["a"; n].join(",");
    for (n, fits) in [(64, true), (65, false)] {
        let mut request = request("GET 1.1", &format!("connection: {}", names(n)));
        let result =
            prepare_upstream_request(&mut request, &HttpUpstreamRequestPolicy::standard(), H1);
        assert_eq!(result.is_ok(), fits, "{n}");
    }
}

#[test]
#[rustfmt::skip]
fn responses() {
    let rows: &[(&str, u16, &str, &str)] = &[
        ("nothing to do", 200, "a: b", "a: b"),
        ("plain", 200, "connection: close|keep-alive: 5|a: b", "a: b"),
        ("chunked", 200, "transfer-encoding: chunked|trailer: x", "trailer: x"),
        ("length", 200, "content-length: 5|connection: keep-alive", "content-length: 5"),
        ("nominated", 200, "connection: a|a: 1|b: 2", "b: 2"),
        ("nominates what frames it", 200, "connection: content-length, host|content-length: 5", "content-length: 5"),
        ("nonsense", 200, "connection: a b, \"c\"|a: 1", "a: 1"),
        ("upgrade offered", 200, "upgrade: h2c|connection: upgrade|a: b", "a: b"),
        ("proxy authentication", 407, "proxy-authenticate: basic|proxy-connection: x|a: b", "a: b|proxy-authenticate: basic"),
        ("proxy authenticated", 200, "proxy-authentication-info: nextnonce=1", "proxy-authentication-info: nextnonce=1"),
        ("te", 200, "te: trailers|a: b", "a: b"),
        ("upgrade demanded", 426, "upgrade: HTTP/3, TLS/1.3|connection: upgrade, x|x: y|a: b", "a: b|connection: Upgrade|upgrade: HTTP/3, TLS/1.3"),
        ("upgrade demanded without its option", 426, "upgrade: a|keep-alive: 5", "connection: Upgrade|upgrade: a"),
        ("upgrade demanded without a protocol", 426, "connection: close|a: b", "a: b"),
        ("expectation", 200, "expect: 100-continue|connection: upgrade", "expect: 100-continue"),
        ("101", 101, "connection: upgrade, x|upgrade: websocket|x: y|sec-websocket-accept: z", "connection: Upgrade|sec-websocket-accept: z|upgrade: websocket"),
        ("101 without Connection", 101, "upgrade: a", "connection: Upgrade|upgrade: a"),
    ];
    for (name, status, before, after) in rows {
        let mut response = ResponseHeader::build(*status, None).unwrap();
        for line in before.split('|') {
            let (field, value) = line.split_once(": ").unwrap();
            response.append_header(field.to_string(), value).unwrap();
        }
        prepare_downstream_response(&mut response);
        assert_eq!(fields_of(&response.headers), *after, "{name}");
    }
}

#[test]
fn every_field_with_a_rule_has_its_bit() {
    for (place, rule) in RULES.iter().enumerate() {
        let name = &rule.name;
        assert_eq!(Present::bit(rule.field), 1 << place, "{name}");
        let field = ControlField::of(name.as_str().as_bytes());
        assert_eq!(field, Some(rule.field));
        let names = Present(1 << place).rules().map(|rule| &rule.name);
        assert!(names.eq([name]));
        assert_eq!(is_hop_by_hop(name), name != "expect", "{name}");
    }
    for other in [
        "host",
        "date",
        "content-length",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-authentication-info",
        "to",
        "cookies",
        "user-agent",
    ] {
        assert!(!is_hop_by_hop(&HeaderName::from_static(other)), "{other}");
    }
}
