//! Fields that are for one hop, and those that look like it.

use super::{PAIRS, VERSIONS, answering, behind_a_proxy, good_origin};
use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::prelude::*;
use pingora_tests::{Ask, Version, VersionedUpstream, h2c_proxy};

/// RFC 9110 section 11.7: they are for the next proxy that wants them, which may be behind this
/// one.
#[tokio::test]
async fn proxy_authentication_passes() {
    for (down, up) in PAIRS {
        let (origin, proxy) = behind_a_proxy(up).await;
        let ask = Ask::get("/").with("proxy-authorization", "Basic dTpw");
        ask.answered_over(down, proxy.address()).await;
        let seen = origin.last_request();
        let got = seen.headers("proxy-authorization");
        assert_eq!(got, ["Basic dTpw"], "{down:?} to {up:?}");

        let fields = [
            ("proxy-authenticate", "Basic realm=\"x\""),
            ("proxy-authentication-info", "nextnonce=1"),
            ("proxy-connection", "close"),
        ];
        let fields = if up == Version::H1 {
            &fields
        } else {
            &fields[..2]
        };
        let (_origin, proxy) = answering(up, 407, fields).await;
        let answer = Ask::get("/").answered_over(down, proxy.address()).await;
        assert_eq!(answer.status(), 407);
        for (name, value) in &fields[..2] {
            assert_eq!(answer.headers(name), [*value], "{down:?} to {up:?}");
        }
        assert_eq!(answer.header("proxy-connection"), None);
    }
}

/// RFC 9110 section 15.5.22 and RFC 9113 section 8.2.2.
#[tokio::test]
async fn a_426_says_to_what_and_other_answers_do_not() {
    for status in [426, 200, 404] {
        for down in VERSIONS {
            let fields = [
                ("Upgrade", "TLS/1.3, HTTP/3"),
                ("Connection", "upgrade, x-a"),
                ("X-A", "1"),
            ];
            let (_origin, proxy) = answering(Version::H1, status, &fields).await;
            let answer = Ask::get("/").answered_over(down, proxy.address()).await;
            let stays = status == 426 && down == Version::H1;
            let expected = stays.then_some("TLS/1.3, HTTP/3");
            assert_eq!(answer.header("upgrade"), expected, "{status} {down:?}");
            let names = |option: &&str| option.eq_ignore_ascii_case("upgrade");
            let named = answer.headers("connection").iter().any(names);
            assert_eq!(named, stays, "{status} {down:?}");
            assert_eq!(answer.header("x-a"), None);
        }
    }
}

/// RFC 9110 section 10.1.4: a sender of TE names it in Connection, where that exists.
#[tokio::test]
async fn te_is_named_by_connection() {
    type Row = (Version, &'static [(&'static str, &'static str)], bool);
    let rows: [Row; 5] = [
        (Version::H2, &[("te", "trailers")], true),
        (
            Version::H1,
            &[("te", "trailers"), ("connection", "te")],
            true,
        ),
        (
            Version::H1,
            &[("te", "trailers"), ("connection", "close")],
            false,
        ),
        (Version::H1, &[("te", "trailers")], false),
        (Version::H1, &[("te", "gzip"), ("connection", "te")], false),
    ];
    for up in VERSIONS {
        let (origin, proxy) = behind_a_proxy(up).await;
        for (down, fields, goes_on) in rows {
            let mut ask = Ask::get("/");
            for (name, value) in fields {
                ask = ask.with(name, value);
            }
            ask.answered_over(down, proxy.address()).await;
            let seen = origin.last_request();
            let what = format!("{down:?} {fields:?} to {up:?}");
            assert_eq!(seen.header("te"), goes_on.then_some("trailers"), "{what}");
            let named = (goes_on && up == Version::H1).then_some("TE");
            assert_eq!(seen.header("connection"), named, "{what}");
        }
    }
}

/// RFC 9110 section 10.1.1.
#[tokio::test]
async fn an_expectation_goes_on_where_it_means_something() {
    let expect = "Expect: 100-continue\r\n";
    let rows = [
        (
            format!("POST /x HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 2\r\n\r\nhi"),
            true,
        ),
        (
            format!("POST /x HTTP/1.0\r\nHost: a\r\n{expect}Content-Length: 2\r\n\r\nhi"),
            false,
        ),
        (
            format!("POST /x HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 0\r\n\r\n"),
            false,
        ),
        (format!("GET /x HTTP/1.1\r\nHost: a\r\n{expect}\r\n"), false),
    ];
    for up in VERSIONS {
        let (origin, proxy) = behind_a_proxy(up).await;
        for (request, goes_on) in &rows {
            let answer = proxy.connect().await.ask(request).await;
            assert_eq!(answer.status(), 200, "{request}");
            let seen = origin.last_request();
            assert_eq!(
                seen.header("expect").is_some(),
                *goes_on,
                "{request} to {up:?}"
            );
        }
        let ask = Ask::get("/x").with("expect", "100-continue");
        ask.answered_over(Version::H2, proxy.address()).await;
        assert_eq!(origin.last_request().header("expect"), None);
    }
}

/// Hosts pass byte for byte, in any version.
#[tokio::test]
async fn a_host_is_said_alike_by_each_version() {
    for up in VERSIONS {
        let (_origin, proxy) = behind_a_proxy(up).await;
        for host in ["a%41", "%41:80", "a!$&'()*+;=b", "[::1]:80", "a:"] {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = proxy.connect().await.ask(request).await;
            // A percent sign is forwarded unchanged; the origin's HTTP/2 library refuses it.
            let says = up == Version::H1 || !host.contains('%');
            let expected = if says { 200 } else { 502 };
            assert_eq!(answer.status(), expected, "{host} {up:?}");
        }
    }
}

/// Adds a field of one hop and another one, unless it sees any of the client's.
struct Adds(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Adds {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.peer()))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        for name in ["connection", "keep-alive", "te", "x-tenant"] {
            if request.headers.contains_key(name) {
                return Error::e_explain(ErrorType::HTTPStatus(418), "it is the client's");
            }
        }
        request.insert_header("X-Tenant", "good")?;
        request.insert_header("Connection", "close")
    }
}

/// RFC 9110 section 7.6.1: the client's fields are gone before the program adds its own, so that the client's
/// `Connection` names none of those.
#[tokio::test]
async fn what_a_program_adds_is_not_taken_for_the_clients() {
    for up in VERSIONS {
        let origin = good_origin(up).await;
        let address = origin.address();
        let upstream = VersionedUpstream {
            address,
            version: up,
        };
        let proxy = h2c_proxy(Adds(upstream)).await;
        let ask = Ask::get("/x")
            .with("Connection", "keep-alive, X-Tenant")
            .with("X-Tenant", "evil")
            .with("Keep-Alive", "timeout=5")
            .with("TE", "gzip");
        let answer = ask.answered_over(Version::H1, proxy.address()).await;
        assert_eq!(answer.status(), 200, "to {up:?}");
        let seen = origin.last_request();
        assert_eq!(seen.headers("x-tenant"), ["good"], "to {up:?}");
        // HTTP/2 has no such field, whoever adds it.
        let closes = (up == Version::H1).then_some("close");
        assert_eq!(seen.header("connection"), closes);
    }
}
