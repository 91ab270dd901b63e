//! Which fields are believed, which are dropped, and what upstreams are told.

use super::*;
use crate::Session;
use field::{Element, elements_of};
use pingora_core::modules::http::HttpModules;

fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    request.insert_header("Host", "front.example").unwrap();
    for (name, value) in fields {
        request.append_header(*name, *value).unwrap();
    }
    request
}

fn trusting() -> ForwardedFields {
    ForwardedFields::trusting("10.0.0.0/8, 2001:db8::/32".parse().unwrap())
}

fn client(fields: &ForwardedFields, peer: &str, request: &RequestHeader) -> Client {
    fields.rules.client(request, peer.parse().ok(), false)
}

fn xff(fields: &ForwardedFields, peer: &str, lines: &[&str]) -> (String, String) {
    let lines: Vec<_> = lines.iter().map(|l| ("X-Forwarded-For", *l)).collect();
    let mut request = request(&lines);
    let client = client(fields, peer, &request);
    fields.rules.rewrite(&mut request, &client).unwrap();
    let address = client.address().map_or("?".into(), |a| a.to_string());
    let written = request
        .headers
        .get("x-forwarded-for")
        .map(|v| v.to_str().unwrap());
    (address, written.unwrap_or("").to_string())
}

#[test]
fn the_client_is_the_first_from_the_right_that_is_no_trusted_proxy() {
    let rows: [(&str, &[&str], &str, &str); 18] = [
        // An untrusted peer's fields are ignored.
        ("1.1.1.1", &["2.2.2.2"], "1.1.1.1", "1.1.1.1"),
        ("1.1.1.1", &["10.0.0.1"], "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", &[], "10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", &["1.1.1.1"], "1.1.1.1", "1.1.1.1, 10.0.0.1"),
        (
            "10.0.0.1",
            &["6.6.6.6, 1.1.1.1"],
            "1.1.1.1",
            "1.1.1.1, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            &["6.6.6.6, 1.1.1.1, 10.0.0.2"],
            "1.1.1.1",
            "1.1.1.1, 10.0.0.2, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            &["6.6.6.6", "1.1.1.1"],
            "1.1.1.1",
            "1.1.1.1, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            &["1.1.1.1", "10.0.0.2"],
            "1.1.1.1",
            "1.1.1.1, 10.0.0.2, 10.0.0.1",
        ),
        ("10.0.0.1", &["10.0.0.3"], "10.0.0.3", "10.0.0.3, 10.0.0.1"),
        // An unreadable address is an unknown client, and never the proxy that wrote it.
        ("10.0.0.1", &["1.1.1.1, nonsense"], "?", "unknown, 10.0.0.1"),
        (
            "10.0.0.1",
            &["1.1.1.1, nonsense, 10.0.0.2"],
            "?",
            "unknown, 10.0.0.2, 10.0.0.1",
        ),
        ("10.0.0.1", &["1.1.1.1,"], "?", "unknown, 10.0.0.1"),
        (
            "10.0.0.1",
            &["\u{ff}, 1.1.1.1"],
            "1.1.1.1",
            "1.1.1.1, 10.0.0.1",
        ),
        ("10.0.0.1", &[""], "10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", &["1.1.1.1, unknown"], "?", "unknown, 10.0.0.1"),
        ("10.0.0.1", &["1.1.1.1:80"], "1.1.1.1", "1.1.1.1, 10.0.0.1"),
        (
            "10.0.0.1",
            &["[2001:db9::1]:80"],
            "2001:db9::1",
            "2001:db9::1, 10.0.0.1",
        ),
        (
            "2001:db8::1",
            &["::ffff:1.1.1.1"],
            "1.1.1.1",
            "1.1.1.1, 2001:db8::1",
        ),
    ];
    for (peer, lines, address, written) in rows {
        let found = xff(&trusting(), peer, lines);
        assert_eq!(found, (address.into(), written.into()), "{peer} {lines:?}");
    }
    let endless = vec!["10.0.0.9"; 100].join(", ");
    let (_, written) = xff(&trusting(), "10.0.0.1", &[&endless]);
    assert_eq!(written.split(", ").count(), 17, "bounded");
}

#[test]
fn a_unix_socket_has_no_address_and_may_be_trusted() {
    let lines = ["1.1.1.1"];
    assert_eq!(xff(&trusting(), "", &lines), ("?".into(), String::new()));
    let trusted = trusting().trust_unix();
    let (address, written) = xff(&trusted, "", &lines);
    assert_eq!((&*address, &*written), ("1.1.1.1", "1.1.1.1, unknown"));
}

/// Aliases of every field that names the client are removed, no matter who sent them.
#[test]
fn no_other_field_says_who_the_client_is() {
    let names = [
        "X_Forwarded_For",
        "x-forwarded_for",
        "X-Forwarded-Port",
        "X-Forwarded-User",
        "x_forwarded_prefix",
        "Forwarded",
        "X-Real-IP",
        "X_Real_IP",
        "True-Client-IP",
        "True_Client-IP",
        "X-Client-IP",
        "CF-Connecting-IP",
        "Client_IP",
    ];
    for peer in ["1.1.1.1", "10.0.0.1"] {
        for name in names {
            let mut request = request(&[(name, "6.6.6.6"), ("X-Other", "kept")]);
            let client = client(&trusting(), peer, &request);
            assert_eq!(client.address().unwrap().to_string(), peer, "{name}");
            trusting().rules.rewrite(&mut request, &client).unwrap();
            let all = format!("{:?}", request.headers);
            assert!(
                !all.contains("6.6.6.6") && all.contains("kept"),
                "{name}: {all}"
            );
        }
    }
}

#[test]
fn scheme_and_host_are_what_the_client_asked_for() {
    // Trusted or not; what is said; whether that is https, and the host.
    type Said = [(&'static str, &'static str)];
    let rows: [(&str, &Said, bool, &str); 8] = [
        (
            "1.1.1.1",
            &[("proto", "https"), ("host", "evil.example")],
            false,
            "front.example",
        ),
        (
            "10.0.0.1",
            &[("proto", "https"), ("host", "a.example")],
            true,
            "a.example",
        ),
        ("10.0.0.1", &[("proto", "HTTPS")], true, "front.example"),
        (
            "10.0.0.1",
            &[("proto", "http, https")],
            true,
            "front.example",
        ),
        (
            "10.0.0.1",
            &[("proto", "https, http")],
            false,
            "front.example",
        ),
        (
            "10.0.0.1",
            &[("host", "evil.example, a.example:81")],
            false,
            "a.example:81",
        ),
        ("10.0.0.1", &[("host", "a b")], false, "front.example"),
        ("10.0.0.1", &[("proto", "")], false, "front.example"),
    ];
    for (peer, said, https, host) in rows {
        let fields: Vec<_> = said
            .iter()
            .map(|(name, value)| match *name {
                "proto" => ("X-Forwarded-Proto", *value),
                _ => ("X-Forwarded-Host", *value),
            })
            .collect();
        let mut request = request(&fields);
        let client = client(&trusting(), peer, &request);
        assert_eq!(client.is_https(), https, "{said:?}");
        assert_eq!(client.host().unwrap(), host, "{said:?}");
        trusting().rules.rewrite(&mut request, &client).unwrap();
        let proto = if https { "https" } else { "http" };
        assert_eq!(request.headers["x-forwarded-proto"], proto);
        assert_eq!(request.headers["x-forwarded-host"], host);
        assert_eq!(request.headers["host"], "front.example", "stays");
    }
}

#[test]
fn forwarded_is_read_where_the_proxies_write_that() {
    let rows = [
        (
            "for=1.1.1.1;proto=https;host=a.example",
            "1.1.1.1",
            true,
            "a.example",
        ),
        (
            "For=\"[2001:db9::1]:80\"; proto=http",
            "2001:db9::1",
            false,
            "front.example",
        ),
        (
            "for=6.6.6.6;proto=https, for=1.1.1.1",
            "1.1.1.1",
            false,
            "front.example",
        ),
        (
            "for=6.6.6.6, for=1.1.1.1;host=\"a.example:81\";by=_x, for=10.0.0.2;host=b.example",
            "1.1.1.1",
            false,
            "a.example:81",
        ),
        ("for=_hidden;proto=https", "?", true, "front.example"),
        (
            "for=\"_hidden:80\", for=10.0.0.2",
            "?",
            false,
            "front.example",
        ),
        ("proto=https", "?", true, "front.example"),
        ("for=1.1.1.1;for=6.6.6.6", "?", false, "front.example"),
        (
            "for=1.1.1.1;proto=https, nonsense",
            "?",
            false,
            "front.example",
        ),
        ("for=\"1.1.1.1", "?", false, "front.example"),
    ];
    for (line, address, https, host) in rows {
        let request = request(&[("Forwarded", line), ("X-Forwarded-For", "6.6.6.6")]);
        let client = client(&trusting().read_forwarded(), "10.0.0.1", &request);
        let found = client.address().map_or("?".into(), |a| a.to_string());
        assert_eq!(found, address, "{line}");
        assert_eq!(client.is_https(), https, "{line}");
        assert_eq!(client.host().unwrap(), host, "{line}");
    }
}

#[test]
fn lines_of_forwarded_are_cut_into_elements() {
    let text = |text: &str| Some(text.to_string());
    let elements = elements_of("for=\"a,\\\"b;\" ;proto=x ,\tby=c,host=\"\"").unwrap();
    let [one, two, three] = &elements[..] else {
        panic!("{elements:?}")
    };
    assert_eq!((&one.node, &one.proto), (&text("a,\"b;"), &text("x")));
    assert_eq!(two, &Element::default());
    assert_eq!(three.host, text(""));
    for line in [
        "",
        ",",
        "for",
        "for=",
        "for=a b",
        "for=a;;proto=b",
        "for=a,,for=b",
        "for =a",
        "=a",
        "for=\"a",
        "for=\"a\"b",
        "for=\"a\\",
        "for=[::1]",
        "for=a;",
        "f(r=a",
        "for=caf\u{e9}",
    ] {
        assert!(elements_of(line).is_err(), "{line:?}");
    }
}

#[test]
fn forwarded_is_written_where_that_is_wanted() {
    let fields = trusting().write_forwarded(true).write_x_forwarded(false);
    let mut request = request(&[("X-Forwarded-For", "6.6.6.6, 2001:db9::1, 10.0.0.2")]);
    request.insert_header("Host", "a.example:81").unwrap();
    let client = client(&fields, "10.0.0.1", &request);
    fields.rules.rewrite(&mut request, &client).unwrap();
    assert_eq!(
        request.headers["forwarded"],
        "for=\"[2001:db9::1]\";proto=http;host=\"a.example:81\", for=10.0.0.2, for=10.0.0.1"
    );
    assert!(!request.headers.contains_key("x-forwarded-for"));
    // The written fields are read again.
    let reading = trusting().read_forwarded();
    let again = super::tests::client(&reading, "10.0.0.3", &request);
    assert_eq!(again.address(), client.address());
    assert_eq!(again.host(), client.host());
}

#[test]
fn via_names_the_version_and_the_proxy_behind_those_before() {
    let fields = ForwardedFields::new().with_via("ed ge\r\n");
    let mut request = request(&[("Via", "1.0 other")]);
    request.set_version(Version::HTTP_2);
    let client = client(&fields, "1.1.1.1", &request);
    fields.rules.rewrite(&mut request, &client).unwrap();
    let via: Vec<_> = request.headers.get_all("via").iter().collect();
    assert_eq!(via, ["1.0 other", "2 edge"]);
    assert!(ForwardedFields::new().with_via(" ").rules.via.is_none());
}

#[tokio::test]
async fn the_module_sees_the_session_and_rewrites_the_request() {
    let mut modules = HttpModules::new();
    modules.add_module(Box::new(ForwardedFields::new().with_via("edge")));
    let (mut client, server) = tokio::io::duplex(1024);
    let mut session = Session::new_h1_with_modules(Box::new(server), &modules);
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut client, head)
        .await
        .unwrap();
    assert!(session.read_request().await.unwrap());
    let mut ctx = ();
    let modules = &mut session.downstream_modules_ctx;
    assert!(modules.get::<Forwarded>().unwrap().client().is_none());
    let mut around = Surroundings::new(&session.downstream_session, &mut ctx);
    modules.request_begins(&mut around).unwrap();
    let request = session.downstream_session.req_header_mut();
    modules.request_header_filter(request).await.unwrap();
    assert!(
        !request.headers.contains_key("x-forwarded-for"),
        "it has no address"
    );
    assert_eq!(request.headers["via"], "1.1 edge");
    let found = modules.get::<Forwarded>().unwrap().client().unwrap();
    assert_eq!((found.address(), found.is_https()), (None, false));
}
