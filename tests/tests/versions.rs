//! The same message, sent by HTTP/1 and by HTTP/2 over real sockets: a proxy reaches the same verdict
//! and forwards the same. Requests, responses and trailers. In `pingora-core`, every byte of every
//! element is tested without sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use pingora_tests::http2::RawHttp2;
use pingora_tests::http2::frames::{self, Frame, kind};
use pingora_tests::{Ask, Connection, Origin, TestServer, Version, VersionedUpstream, h2c_proxy};
use std::net::SocketAddr;

type Fields = &'static [(&'static str, &'static str)];

/// A request with a body of ten bytes and trailers.
#[derive(Clone, Copy)]
struct Asked {
    target: &'static str,
    fields: Fields,
    trailers: Fields,
}

/// The request that the origin saw; or nothing, if the client was refused.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed {
        target: String,
        fields: Vec<String>,
        trailers: Vec<String>,
    },
    Refused,
}

async fn in_front_of(address: SocketAddr, version: Version) -> TestServer {
    h2c_proxy(VersionedUpstream { address, version }).await
}

/// Sends it over HTTP/1; returns the status.
async fn over_http1(proxy: SocketAddr, asked: &Asked) -> u16 {
    let has_length = asked
        .fields
        .iter()
        .any(|(name, _)| *name == "content-length");
    let mut request = format!("POST {} HTTP/1.1\r\nhost: test.example\r\n", asked.target);
    for (name, value) in asked.fields {
        request += &format!("{name}: {value}\r\n");
    }
    if has_length {
        request += "\r\n0123456789";
    } else {
        request += "transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n";
        for (name, value) in asked.trailers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
    }
    Connection::to(proxy).await.ask(request).await.status()
}

/// Sends it over HTTP/2; returns the status, or 0 if the stream or the connection ends instead.
async fn over_http2(proxy: SocketAddr, asked: &Asked) -> u16 {
    let mut client = RawHttp2::client(proxy, &[]).await;
    let mut block = frames::request("POST", asked.target);
    block.extend(frames::block(asked.fields));
    let end = asked.trailers.is_empty();
    let head = Frame::headers(1, block, false);
    let body = Frame::data(1, "0123456789", end);
    let mut sent = vec![head, body];
    if !end {
        let trailers = frames::block(asked.trailers);
        sent.push(Frame::headers(1, trailers, true));
    }
    client.send(sent).await;
    let answer = client.answer(1).await;
    answer.statuses.last().copied().unwrap_or_default()
}

async fn outcome(origin: &Origin, status: u16, asked: &Asked) -> Outcome {
    if !(200..300).contains(&status) {
        return Outcome::Refused;
    }
    let request = origin.last_request();
    let named = |all: &[(String, String)], wanted: Fields| {
        let mut lines: Vec<_> = all
            .iter()
            .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
            .filter(|line| {
                wanted
                    .iter()
                    .any(|(name, _)| line.starts_with(&format!("{name}:")))
            })
            .collect();
        lines.sort_unstable();
        lines
    };
    Outcome::Passed {
        target: request.target().to_string(),
        fields: named(&request.fields, asked.fields),
        trailers: named(&request.trailers, asked.trailers),
    }
}

const NOTHING: Asked = Asked {
    target: "/",
    fields: &[],
    trailers: &[],
};

/// Sends each with both versions, to origins of both; `passes` is the expected result.
async fn are_judged_alike(rows: &[(Asked, bool)]) {
    are_judged_alike_before(&[Version::H1, Version::H2], rows).await;
}

/// The same, with origins of these versions.
async fn are_judged_alike_before(origins: &[Version], rows: &[(Asked, bool)]) {
    for &version in origins {
        let origin = match version {
            Version::H1 => Origin::well_behaved().await,
            Version::H2 => Origin::http2().await,
        };
        let proxy = in_front_of(origin.address(), version).await;
        for (asked, passes) in rows {
            let row = format!("{} {:?} {:?}", asked.target, asked.fields, asked.trailers);
            let status = over_http1(proxy.address(), asked).await;
            let one = outcome(&origin, status, asked).await;
            let status = over_http2(proxy.address(), asked).await;
            let two = outcome(&origin, status, asked).await;
            assert_eq!(one, two, "to {version:?}: {row}");
            assert_eq!(one != Outcome::Refused, *passes, "to {version:?}: {row}");
        }
    }
}

#[tokio::test]
async fn a_request_is_judged_alike() {
    let fields = |fields, passes| (Asked { fields, ..NOTHING }, passes);
    let target = |target, passes| (Asked { target, ..NOTHING }, passes);
    are_judged_alike(&[
        fields(&[("x-a", "1")], true),
        fields(&[("x!#$%&'*+.^_`|~", "a \"b\" \u{e9}")], true),
        fields(&[("x\"y", "1")], false),
        fields(&[("\"", "1")], false),
        fields(&[("x(y", "1")], false),
        fields(&[("x", "a\u{7f}")], false),
        fields(&[("content-length", "10")], true),
        fields(&[("content-length", "010")], true),
        fields(&[("content-length", "10"), ("content-length", "10")], true),
        fields(
            &[("content-length", "10"), ("content-length", "010")],
            false,
        ),
        fields(&[("content-length", "10"), ("content-length", "11")], false),
        fields(&[("content-length", "+10")], false),
        fields(&[("content-length", "")], false),
        fields(&[("host", "other.example")], false),
        target("/fine?q=1", true),
        target("/a{b}", true),
        target("/\u{e9}", true),
        target("a", false),
        target("*", false),
    ])
    .await;
}

/// Bytes that a URI may not have, but that clients such as curl send: they pass unchanged. Only an HTTP/1
/// origin can be tested, because the `h2` crate, on which the HTTP/2 one is built, refuses them.
#[tokio::test]
async fn a_raw_target_is_judged_alike() {
    let target = |target, passes| (Asked { target, ..NOTHING }, passes);
    let list = Asked {
        fields: &[("content-length", "10, 10")],
        ..NOTHING
    };
    let rows = [
        target("/?q=\"a\"", true),
        target("/?q=<a>", true),
        target("/a`b", true),
        target("/a<b>", true),
        target("/a|b\\c^d", true),
        target("/a#b", false),
        target("/#", false),
        (list, true),
    ];
    are_judged_alike_before(&[Version::H1], &rows).await;
}

#[tokio::test]
async fn trailers_of_a_request_are_judged_alike() {
    let trailers = |trailers, passes| {
        (
            Asked {
                trailers,
                ..NOTHING
            },
            passes,
        )
    };
    are_judged_alike(&[
        trailers(&[("x-sum", "42")], true),
        trailers(&[("x-sum", "42"), ("content-length", "3")], true),
        trailers(&[("x\"y", "1")], false),
        trailers(&[("x-sum", "42"), ("x(y", "1")], false),
    ])
    .await;
}

/// RFC 9113 section 8.1.
#[tokio::test]
async fn pseudo_fields_in_trailers_are_no_clean_end() {
    let origin = Origin::well_behaved().await;
    let proxy = in_front_of(origin.address(), Version::H1).await;
    for name in [":path", ":status", ":method", ":foo"] {
        let trailers: [(&str, &str); 2] = [(name, "/"), ("x-sum", "42")];
        let mut client = RawHttp2::client(proxy.address(), &[]).await;
        client
            .send([
                Frame::headers(1, frames::request("POST", "/"), false),
                Frame::data(1, "0123456789", false),
                Frame::headers(1, frames::block(&trailers), true),
            ])
            .await;
        let answer = client.answer(1).await;
        assert_ne!(answer.statuses, [200], "{name}");
    }
}

/// The answer that an HTTP/1 client gets from an origin with these fields and trailers: the status,
/// and whether the end was clean.
async fn answered(version: Version, fields: Fields, trailers: Fields) -> (u16, bool, Vec<String>) {
    let origin = match version {
        Version::H1 => {
            let mut answer = "HTTP/1.1 200 OK\r\n".to_string();
            for (name, value) in fields {
                answer += &format!("{name}: {value}\r\n");
            }
            if fields.iter().any(|(name, _)| *name == "content-length") {
                answer += "\r\n0123456789";
            } else {
                answer += "transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n";
                for (name, value) in trailers {
                    answer += &format!("{name}: {value}\r\n");
                }
                answer += "\r\n";
            }
            Origin::answering(answer).await
        }
        Version::H2 => {
            Origin::http2_scripted(&[], move |mut origin, _| async move {
                let Some(request) = origin.frame_of(kind::HEADERS).await else {
                    return;
                };
                let mut block = frames::block(&[(":status", "200")]);
                block.extend(frames::block(fields));
                let end = trailers.is_empty();
                let head = Frame::headers(request.stream, block, false);
                let data = Frame::data(request.stream, "0123456789", end);
                let mut sent = vec![head, data];
                if !end {
                    let block = frames::block(trailers);
                    sent.push(Frame::headers(request.stream, block, true));
                }
                // The proxy may have closed.
                let _ = origin.try_send(sent).await;
                origin.rest().await;
            })
            .await
        }
    };
    let proxy = in_front_of(origin.address(), version).await;
    let answer = Ask::get("/")
        .answered_over(Version::H1, proxy.address())
        .await;
    let wanted = fields.iter().chain(trailers);
    let wanted: Vec<_> = wanted.map(|(name, _)| *name).collect();
    let lines = answer.fields.iter().chain(&answer.trailers);
    let mut lines: Vec<_> = lines
        .map(|(name, value)| (name.to_lowercase(), value))
        .filter(|(name, _)| wanted.contains(&&**name))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    lines.sort_unstable();
    let lines = if answer.status() == 200 {
        lines
    } else {
        Vec::new()
    };
    (answer.status(), answer.is_complete(), lines)
}

#[tokio::test]
async fn a_response_is_judged_alike() {
    let rows: [(Fields, u16); 9] = [
        (&[("x-a", "1")], 200),
        (&[("x!#$%&'*+.^_`|~", "a \"b\" \u{e9}")], 200),
        (&[("x\"y", "1")], 502),
        (&[("content-length", "10")], 200),
        (&[("content-length", "010")], 200),
        (&[("content-length", "10"), ("content-length", "10")], 200),
        (&[("content-length", "10"), ("content-length", "11")], 502),
        (&[("content-length", "+10")], 502),
        (&[("content-length", "")], 502),
    ];
    for (fields, status) in rows {
        let one = answered(Version::H1, fields, &[]).await;
        let two = answered(Version::H2, fields, &[]).await;
        assert_eq!(one, two, "{fields:?}");
        assert_eq!(one.0, status, "{fields:?}");
    }
}

#[tokio::test]
async fn trailers_of_a_response_are_judged_alike() {
    let rows: [(Fields, bool); 3] = [
        (&[("x-sum", "42")], true),
        (&[("x-sum", "42"), ("content-length", "3")], true),
        (&[("x-sum", "42"), ("x\"y", "1")], false),
    ];
    for (trailers, complete) in rows {
        let one = answered(Version::H1, &[], trailers).await;
        let two = answered(Version::H2, &[], trailers).await;
        assert_eq!((one.0, one.1), (two.0, two.1), "{trailers:?}");
        assert_eq!(one.1, complete, "{trailers:?}");
        if complete {
            assert_eq!(one.2, two.2, "{trailers:?}");
        }
    }
}
