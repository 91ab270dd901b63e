//! Fields that a message lacks, and that are added.

use super::{OK, PAIRS, VERSIONS, answering};
use async_trait::async_trait;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora_tests::{Ask, FixedUpstream, Origin, Version, VersionedUpstream, h2c_proxy, proxy};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// RFC 9110 section 6.6.1.
#[tokio::test]
async fn final_answers_are_dated_once() {
    for (down, up) in PAIRS {
        for status in [200, 204, 304, 404, 500] {
            for dated in [false, true] {
                let fields: &[_] = if dated { &[("date", THEN)] } else { &[] };
                let (_origin, proxy) = answering(up, status, fields).await;
                let answer = Ask::get("/").answered_over(down, proxy.address()).await;
                assert_eq!(answer.status(), status);
                let dates = answer.headers("date");
                let what = format!("{status} {down:?} to {up:?}: {dates:?}");
                assert_eq!(dates.len(), 1, "{what}");
                assert_eq!(dates[0] == THEN, dated, "{what}");
                assert!(dates[0].ends_with(" GMT"), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn interim_answers_are_not_dated() {
    for (down, up) in PAIRS {
        let (_origin, proxy) = super::behind_a_proxy(up).await;
        let answers = Ask::get("/hints").over(down, proxy.address()).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status()).collect();
        assert_eq!(statuses, [103, 200]);
        let dates: Vec<usize> = answers.iter().map(|a| a.headers("date").len()).collect();
        assert_eq!(dates, [0, 1], "{down:?} to {up:?}");
    }
}

/// Refused and failed requests get a date as well.
#[tokio::test]
async fn our_own_errors_are_dated() {
    let refusing = pingora_tests::Refusing::new();
    let upstream = VersionedUpstream {
        address: refusing.address(),
        version: Version::H1,
    };
    let server = h2c_proxy(upstream).await;
    for down in VERSIONS {
        let answer = Ask::get("/").answered_over(down, server.address()).await;
        assert_eq!((answer.status(), answer.headers("date").len()), (502, 1));
    }
    let answer = server.connect().await.ask("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!((answer.status(), answer.headers("date").len()), (400, 1));
}

/// A proxy to a Unix socket.
struct ToSocket(PathBuf, Version);

#[async_trait]
impl ProxyHttp for ToSocket {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let path = self.0.to_str().expect("it was made of UTF-8");
        let mut peer = HttpPeer::new_uds(path, false, String::new())?;
        if self.1 == Version::H2 {
            peer.options.alpn = ALPN::H2;
        }
        Ok(Box::new(peer))
    }
}

/// RFC 9112 section 3.2: the path of a socket is not a host.
#[tokio::test]
async fn a_unix_socket_is_localhost_to_those_who_name_no_host() {
    for version in VERSIONS {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("origin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            match version {
                Version::H1 => {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        assert!(stream.read_buf(&mut head).await.unwrap() > 0);
                    }
                    stream.write_all(OK.as_bytes()).await.unwrap();
                    let head = String::from_utf8(head).unwrap();
                    let host = head.split_once("\r\nHost: ").unwrap().1;
                    host.split_once("\r\n").unwrap().0.to_string()
                }
                Version::H2 => {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
                    respond
                        .send_response(http::Response::new(()), true)
                        .unwrap();
                    let authority = request.uri().authority().unwrap().to_string();
                    tokio::spawn(async move { while connection.accept().await.is_some() {} });
                    authority
                }
            }
        });
        let server = proxy(ToSocket(path, version)).await;
        let answer = server.connect().await.ask("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(answer.status(), 200, "{version:?}");
        assert_eq!(serving.await.unwrap(), "localhost", "{version:?}");
    }
}

/// A proxy that compresses whatever it may.
struct Compressing(FixedUpstream);

#[async_trait]
impl ProxyHttp for Compressing {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        session.upstream_compression.adjust_level(5);
        self.0.upstream_peer(session, &mut ()).await
    }
}

/// gRPC clients don't decode a coding around their messages.
#[tokio::test]
async fn messages_of_grpc_are_not_compressed_whatever_they_hold() {
    for (media_type, compressed) in [
        ("application/json", true),
        ("application/problem+json", true),
        ("application/grpc", false),
        ("application/grpc+proto", false),
        ("application/grpc+json", false),
        ("application/grpc+xml; charset=utf-8", false),
        ("application/grpc-web+json", false),
        ("APPLICATION/GRPC-WEB-TEXT+JSON", false),
    ] {
        let body = "a".repeat(2000);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: 2000\r\n\r\n{body}"
        );
        let origin = Origin::answering(answer).await;
        let server = proxy(Compressing(FixedUpstream(origin.address()))).await;
        let head = "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
        let answer = server.connect().await.ask(head).await;
        let coding = answer.header("content-encoding");
        assert_eq!(coding, compressed.then_some("gzip"), "{media_type}");
    }
}
