//! Ranges of what is not stored, where the proxy passes them on.

use super::ready::Ready;
use super::support::{Scripted, VERSIONS, leak, ok};
use pingora::cache::MemCache;
use pingora::proxy::ReadyCache;
use pingora_tests::{Ask, Message, Version, h2c_proxy};
use std::net::SocketAddr;
use std::sync::Arc;

const BODY: &str = "0123456789";

/// Honours ranges of the form `bytes=N-`.
async fn origin() -> Scripted {
    Scripted::new(|request, _| {
        let fields = "Cache-Control: max-age=60\r\nAccept-Ranges: bytes\r\n";
        let range = request.header("range");
        let Some(first) = range.and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-')) else {
            return ok(fields, BODY);
        };
        let first: usize = first.parse().unwrap();
        let part = &BODY[first..];
        format!(
            "HTTP/1.1 206 Partial Content\r\n{fields}Content-Range: bytes {first}-9/10\r\n\
             Content-Length: {}\r\n\r\n{part}",
            part.len()
        )
        .into_bytes()
    })
    .await
}

fn ready(origin: &Scripted, from: Option<u64>) -> Ready {
    let mut cache = ReadyCache::new(leak(MemCache::new())).cache_status("test");
    if let Some(from) = from {
        cache = cache.pass_on_ranges_from(from);
    }
    Ready {
        origin: origin.address(),
        cache: Arc::new(cache),
    }
}

async fn get(version: Version, server: SocketAddr, range: &str) -> Message {
    let mut ask = Ask::get("/");
    if !range.is_empty() {
        ask = ask.with("Range", range);
    }
    ask.answered_over(version, server).await
}

#[tokio::test]
async fn by_default_the_whole_is_fetched_for_a_part() {
    for version in VERSIONS {
        let origin = origin().await;
        let server = h2c_proxy(ready(&origin, None)).await;
        for range in ["bytes=5-", "bytes=7-", "bytes=-2"] {
            let answer = get(version, server.address(), range).await;
            assert_eq!(answer.status(), 206);
        }
        assert_eq!(origin.asked(), 1);
        assert_eq!(origin.last().header("range"), None);
    }
}

#[tokio::test]
async fn a_range_that_begins_late_is_passed_on() {
    for version in VERSIONS {
        let origin = origin().await;
        let server = h2c_proxy(ready(&origin, Some(5))).await;
        for asked in 1..=2 {
            let answer = get(version, server.address(), "bytes=5-").await;
            assert_eq!((answer.status(), answer.text()), (206, "56789"));
            assert_eq!(origin.asked(), asked);
            assert_eq!(origin.last().header("range"), Some("bytes=5-"));
        }
        // An early one brings the whole, of which the late one is served then.
        for (range, part) in [("bytes=4-", "456789"), ("bytes=5-", "56789"), ("", BODY)] {
            let answer = get(version, server.address(), range).await;
            assert_eq!(answer.text(), part);
            assert_eq!(origin.asked(), 3);
            assert_eq!(origin.last().header("range"), None);
        }
    }
}

#[tokio::test]
async fn with_zero_no_range_brings_the_whole() {
    let origin = origin().await;
    let server = h2c_proxy(ready(&origin, Some(0))).await;
    let answer = get(Version::H1, server.address(), "bytes=0-").await;
    assert_eq!((answer.status(), answer.text()), (206, BODY));
    assert_eq!(origin.last().header("range"), Some("bytes=0-"));
    // A range that can't be read is none.
    let answer = get(Version::H1, server.address(), "bytes=x").await;
    assert_eq!(answer.status(), 200);
    let answer = get(Version::H1, server.address(), "bytes=8-").await;
    assert_eq!((answer.status(), answer.text()), (206, "89"));
    assert_eq!(origin.asked(), 2);
}
