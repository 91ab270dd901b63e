//! Bodies whose length is known, or is invalid.

use super::{OK, VERSIONS, answering, behind_a_proxy};
use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::modules::http::HttpModules;
use pingora::modules::http::compression::ResponseCompressionBuilder;
use pingora::prelude::*;
use pingora_tests::http2::RawHttp2;
use pingora_tests::http2::frames::{self, Frame};
use pingora_tests::{
    Ask, Connection, FixedUpstream, Origin, Version, VersionedUpstream, h2c_proxy, proxy,
};

/// RFC 9110 section 8.6: where content is expected, its absence is declared.
#[tokio::test]
async fn a_request_without_a_body_says_so_where_one_is_expected() {
    let (origin, proxy) = behind_a_proxy(Version::H1).await;
    for down in VERSIONS {
        for (method, told) in [
            ("POST", true),
            ("PUT", true),
            ("PATCH", true),
            ("GET", false),
            ("DELETE", false),
            ("OPTIONS", false),
        ] {
            let answer = Ask::by(method, "/x")
                .answered_over(down, proxy.address())
                .await;
            assert_eq!(answer.status(), 200);
            let seen = origin.last_request();
            let expected: &[&str] = if told { &["0"] } else { &[] };
            assert_eq!(
                seen.headers("content-length"),
                expected,
                "{down:?} {method}"
            );
            assert_eq!(seen.header("transfer-encoding"), None);
        }
    }
}

/// An upload over HTTP/2 that ends with an empty DATA frame: one last chunk, and the origin keeps
/// its connection.
#[tokio::test]
async fn an_upload_that_ends_with_an_empty_frame_has_one_last_chunk() {
    let origin = Origin::scripted(|mut connection: Connection, _| async move {
        for _ in 0..3 {
            let head = connection.request_head().await.expect("on one connection");
            assert_eq!(head.header("transfer-encoding"), Some("chunked"));
            let upload = connection.bytes(13).await;
            assert_eq!(upload, b"3\r\nabc\r\n0\r\n\r\n");
            // A second last chunk would precede the next request.
            connection.send(OK).await;
        }
        assert_eq!(connection.rest().await, b"");
    })
    .await;
    let upstream = VersionedUpstream {
        address: origin.address(),
        version: Version::H1,
    };
    let server = h2c_proxy(upstream).await;
    let mut client = RawHttp2::client(server.address(), &[]).await;
    for stream in [1, 3, 5] {
        client
            .send([
                Frame::headers(stream, frames::request("POST", "/"), false),
                Frame::data(stream, "abc", false),
                Frame::data(stream, "", true),
            ])
            .await;
        let answer = client.answer(stream).await;
        assert_eq!((answer.statuses, answer.body), (vec![200], b"ok".to_vec()));
    }
    assert_eq!(origin.connections(), 1);
}

/// RFC 9110 section 8.6: a length that is declared twice alike goes on once.
#[tokio::test]
async fn equal_lengths_become_one() {
    for twice in ["5\r\nContent-Length: 5", "5, 5"] {
        let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {twice}\r\n\r\n");
        for up in VERSIONS {
            let (origin, proxy) = behind_a_proxy(up).await;
            let answer = proxy.connect().await.ask(format!("{head}hello")).await;
            assert_eq!(answer.text(), "hello", "{twice} to {up:?}");
            let seen = origin.last_request();
            assert_eq!(seen.headers("content-length"), ["5"], "{twice} to {up:?}");
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {twice}\r\n\r\nhello");
        let origin = Origin::answering(answer).await;
        let proxy = h2c_proxy(FixedUpstream(origin.address())).await;
        for down in VERSIONS {
            let answer = Ask::get("/").answered_over(down, proxy.address()).await;
            assert_eq!(answer.text(), "hello", "{twice} over {down:?}");
            assert_eq!(
                answer.headers("content-length"),
                ["5"],
                "{twice} over {down:?}"
            );
        }
    }
}

/// RFC 9112 section 6.3: a request that declares no body has none: its end is not waited for.
#[tokio::test]
async fn the_close_of_a_connection_never_delimits_a_request() {
    let heads = [
        ("POST /echo HTTP/1.1\r\nHost: a\r\n\r\n", true),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n",
            true,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            false,
        ),
        ("POST /echo HTTP/1.0\r\n\r\n", false),
    ];
    for up in VERSIONS {
        for (head, goes_on) in heads {
            let (origin, proxy) = behind_a_proxy(up).await;
            let mut client = proxy.connect().await;
            client.send(format!("{head}hello\r\n\r\n")).await;
            let answer = client.response().await;
            assert_eq!((answer.status(), answer.text()), (200, ""), "{head}");
            let rest = client.rest().await;
            // What follows is another request, and none that could be read.
            assert_eq!(rest.starts_with(b"HTTP/1.1 400 "), goes_on, "{head}");
            assert!(goes_on || rest.is_empty(), "{head}");
            let seen = origin.requests();
            assert_eq!(seen.len(), 1, "{head} to {up:?}");
            assert!(seen[0].is_complete() && seen[0].body.is_empty());
        }
    }
}

/// An invalid declaration by an upstream is its fault, not ours.
#[tokio::test]
async fn nonsense_lengths_of_an_upstream_are_502() {
    for length in ["", "x", "-1", "5, 6"] {
        for up in VERSIONS {
            let (_origin, proxy) = match up {
                Version::H1 => {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    let origin = Origin::answering(answer).await;
                    let address = origin.address();
                    (
                        origin,
                        h2c_proxy(VersionedUpstream {
                            address,
                            version: up,
                        })
                        .await,
                    )
                }
                Version::H2 => answering(up, 200, &[("content-length", length)]).await,
            };
            for down in VERSIONS {
                let answer = Ask::get("/").answered_over(down, proxy.address()).await;
                assert_eq!(answer.status(), 502, "{length:?} {down:?} to {up:?}");
            }
        }
    }
}

/// RFC 9112 section 7.1.1: white space before and within extensions is accepted, and dropped.
#[tokio::test]
async fn white_space_in_a_chunk_line_is_read_in_both_directions() {
    for line in ["2;a=b", "2 ;a=b", "2\t;a", "2 ; a = b", "2;a =b", "2  "] {
        let chunks = format!(
            "{line}\r\nhi\r\n0{}\r\n\r\n",
            line.strip_prefix('2').unwrap()
        );
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let origin = Origin::answering(answer).await;
        let server = proxy(FixedUpstream(origin.address())).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = server.connect().await;
        client.send(head.to_string() + "2\r\nhi\r\n0\r\n\r\n").await;
        let answer = client.response().await;
        assert_eq!(
            (answer.text(), answer.is_complete()),
            ("hi", true),
            "{line:?}"
        );

        let (origin, server) = behind_a_proxy(Version::H1).await;
        let mut client = server.connect().await;
        let answer = client.ask(head.replace("/ ", "/echo ") + &chunks).await;
        assert_eq!((answer.status(), answer.text()), (200, "hi"), "{line:?}");
        assert_eq!(origin.last_request().chunks, [2]);
    }
    // Two numbers: a reader may take either for the size.
    let (origin, server) = behind_a_proxy(Version::H1).await;
    for line in ["2 2", "2 a", "2 0", "0 2"] {
        let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = server.connect().await;
        let answer = client.ask(format!("{head}{line}\r\nhi\r\n0\r\n\r\n")).await;
        assert_eq!(answer.status(), 400, "{line:?}");
        client.closed().await;
    }
    let seen = origin.requests();
    assert!(
        seen.iter().all(|request| !request.is_complete()),
        "{seen:?}"
    );
}

/// Answers from a phase, with a custom header and body.
struct Pages;

#[async_trait]
impl ProxyHttp for Pages {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(ResponseCompressionBuilder::enable(5));
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let page = Bytes::from("page ".repeat(100));
        let mut header = ResponseHeader::build(503, None)?;
        header.insert_header("content-type", "text/plain")?;
        match session.req_header().uri.path() {
            "/core" => {
                session.set_keepalive(None);
                let session = session.as_downstream_mut();
                session.write_error_response(header, page).await?;
            }
            "/lie" => {
                header.insert_header("content-length", 5)?;
                let session = session.as_downstream_mut();
                session.write_error_response(header, page).await?;
            }
            "/proxy" => session.respond_error_with_body(503, page).await?,
            _ => session.write_response(Box::new(header), page).await?,
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::InternalError, "no request comes so far")
    }
}

#[tokio::test]
async fn a_body_that_is_all_known_has_a_length() {
    let server = h2c_proxy(Pages).await;
    for down in VERSIONS {
        for path in ["/core", "/lie", "/proxy", "/whole"] {
            let answer = Ask::get(path).answered_over(down, server.address()).await;
            let what = format!("{down:?} {path}: {answer:?}");
            assert_eq!((answer.status(), answer.body.len()), (503, 500), "{what}");
            assert_eq!(answer.headers("content-length"), ["500"], "{what}");
            assert_eq!(answer.header("transfer-encoding"), None, "{what}");
            assert_eq!(answer.headers("date").len(), 1, "{what}");
        }
        // A module that changes the body doesn't make its length unknown.
        for path in ["/proxy", "/whole"] {
            let ask = Ask::get(path).with("accept-encoding", "gzip");
            let answer = ask.answered_over(down, server.address()).await;
            let length = answer.body.len().to_string();
            assert_eq!(
                answer.headers("content-length"),
                [length],
                "{down:?} {path}"
            );
            let coding = answer.header("content-encoding");
            assert_eq!(coding, (path == "/whole").then_some("gzip"), "{path}");
        }
        let answer = Ask::by("HEAD", "/core")
            .answered_over(down, server.address())
            .await;
        assert_eq!(answer.headers("content-length"), ["500"], "{down:?}");
    }
}
