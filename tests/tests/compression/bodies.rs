//! Bodies that come slowly, and such as are not what they say.

use crate::{Compressing, coded, origin_of, plain_text};
use pingora::protocols::http::compression::{Algorithm, CompressionSettings};
use pingora_tests::{Ask, Connection, Origin, Version, h2c_proxy, proxy};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Reads until the chunk that came begins with `head` and can be decompressed to `wanted`.
async fn read_event(client: &mut TcpStream, algorithm: Algorithm, wanted: &str) -> Vec<u8> {
    let mut received = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = client.read(&mut piece).await.unwrap();
        assert!(count > 0, "the end came first");
        received.extend_from_slice(&piece[..count]);
        let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let body = &received[at + 4..];
        let Some(line) = body.windows(2).position(|two| two == b"\r\n") else {
            continue;
        };
        let size = std::str::from_utf8(&body[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if let Some(chunk) = body.get(line + 2..line + 2 + size) {
            let mut decoder = algorithm.decompressor(true).unwrap();
            let event = decoder.encode(chunk, false).unwrap();
            assert_eq!(event, wanted, "{algorithm:?}");
            return received;
        }
    }
}

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_sent() {
    let arrived = Arc::new(Notify::new());
    let seen = arrived.clone();
    let origin = Origin::scripted(move |mut connection: Connection, _| {
        let seen = seen.clone();
        async move {
            while connection.request_head().await.is_some() {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                            Transfer-Encoding: chunked\r\n\r\n";
                connection.send(head).await;
                connection.send("9\r\ndata: 1\n\n\r\n").await;
                seen.notified().await;
                connection.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n").await;
            }
        }
    })
    .await;
    let server = proxy(Compressing {
        upstream: origin.address(),
        settings: CompressionSettings::new(6),
    })
    .await;
    for (name, algorithm) in [
        ("gzip", Algorithm::Gzip),
        ("br", Algorithm::Brotli),
        ("zstd", Algorithm::Zstd),
    ] {
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {name}\r\nConnection: close\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let read = read_event(&mut client, algorithm, "data: 1\n\n");
        let mut received = tokio::time::timeout(Duration::from_secs(10), read)
            .await
            .expect("the first event is not held back");
        arrived.notify_one();
        client.read_to_end(&mut received).await.unwrap();
        assert!(received.ends_with(b"\r\n0\r\n\r\n"), "{name}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_it_says_does_not_end_well() {
    let good = coded(Algorithm::Gzip, plain_text().as_bytes());
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    let cut = good[..good.len() - 9].to_vec();
    for body in [cut, broken, b"this is not gzip".to_vec()] {
        let fields = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n";
        let origin = origin_of(fields, body).await;
        let server = h2c_proxy(Compressing {
            upstream: origin.address(),
            settings: CompressionSettings::new(0).decompression(true),
        })
        .await;
        for version in [Version::H1, Version::H2] {
            let answer = Ask::get("/").answered_over(version, server.address()).await;
            let refused = answer.status() == 502;
            assert!(refused || !answer.is_complete(), "{version:?} {answer:?}");
        }
        // With those who accept it, it is none of the proxy's business.
        let ask = Ask::get("/").with("accept-encoding", "gzip");
        let answer = ask.answered_over(Version::H1, server.address()).await;
        assert!(answer.is_complete() && answer.status() == 200);
    }
}

#[tokio::test]
async fn what_has_a_digest_or_is_partial_or_fixed_stays_as_it_is() {
    for (field, compressed) in [
        ("X-Nothing: 1", true),
        ("Digest: sha-256=AA==", false),
        ("Repr-Digest: sha-256=:AA==:", false),
        ("Content-Digest: sha-256=:AA==:", false),
        ("Content-MD5: AA==", false),
        ("Cache-Control: max-age=1, no-transform", false),
        ("Content-Encoding: br", false),
        ("Content-Range: bytes 0-1/2", false),
    ] {
        let fields = format!("Content-Type: text/plain\r\nETag: \"a\"\r\n{field}\r\n");
        let origin = origin_of(&fields, plain_text().into()).await;
        let server = proxy(Compressing {
            upstream: origin.address(),
            settings: CompressionSettings::new(6),
        })
        .await;
        let ask = Ask::get("/").with("accept-encoding", "gzip");
        let answer = ask.answered_over(Version::H1, server.address()).await;
        let tag = if compressed { "W/\"a\"" } else { "\"a\"" };
        assert_eq!(answer.header("etag"), Some(tag), "{field}");
        assert_eq!(
            answer.body == plain_text().as_bytes(),
            !compressed,
            "{field}"
        );
        let (name, value) = field.split_once(": ").unwrap();
        assert_eq!(answer.header(name), Some(value));
    }
}
