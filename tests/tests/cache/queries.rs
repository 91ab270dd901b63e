//! QUERY (RFC 10008), whose body is part of the key.

use super::ready::Ready;
use super::support::{Scripted, VERSIONS, leak, ok};
use pingora::cache::MemCache;
use pingora::cache::policy::CachePolicy;
use pingora::proxy::ReadyCache;
use pingora_tests::{Ask, Message, Version, h2c_proxy};
use std::net::SocketAddr;
use std::sync::Arc;

/// Sends back what it is asked, and the number of the request.
async fn echo() -> Scripted {
    Scripted::new(|request, number| {
        let body = format!("{} {} {number}", request.method(), request.text());
        ok("Cache-Control: max-age=60\r\n", &body)
    })
    .await
}

fn ready(origin: &Scripted, longest: usize, policy: CachePolicy) -> Ready {
    let cache = ReadyCache::new(leak(MemCache::new()))
        .policy(policy)
        .cache_status("test")
        .longest_query(longest);
    Ready {
        origin: origin.address(),
        cache: Arc::new(cache),
    }
}

async fn query(version: Version, server: SocketAddr, body: &str) -> Message {
    let ask = Ask::by("QUERY", "/").with("Content-Type", "text/plain");
    ask.body(body).answered_over(version, server).await
}

fn is_hit(answer: &Message) -> bool {
    let status = answer.header("cache-status");
    status.is_some_and(|status| status.contains("; hit"))
}

#[tokio::test]
async fn the_body_tells_queries_apart() {
    for version in VERSIONS {
        let origin = echo().await;
        let proxy = ready(&origin, 100, CachePolicy::new().query(true));
        let server = h2c_proxy(proxy).await;
        let mut texts = Vec::new();
        for body in ["one", "two", "one", "two", ""] {
            let answer = query(version, server.address(), body).await;
            assert_eq!(answer.status(), 200);
            texts.push(answer.text().to_string());
        }
        assert_eq!(texts[0], "QUERY one 0");
        assert_eq!(texts[1], "QUERY two 1");
        assert_eq!(texts[2..4], texts[..2]);
        assert_eq!(texts[4], "QUERY  2");
        assert_eq!(origin.asked(), 3);

        // Another type is another question, and a GET is none.
        let other = Ask::by("QUERY", "/").with("Content-Type", "text/html");
        let other = other.body("one");
        let answer = other.answered_over(version, server.address()).await;
        assert_eq!(answer.text(), "QUERY one 3");
        let get = Ask::get("/").answered_over(version, server.address()).await;
        assert_eq!(get.text(), "GET  4");
    }
}

#[tokio::test]
async fn a_query_that_is_too_long_or_of_unknown_length_does_without_the_cache() {
    for version in VERSIONS {
        let origin = echo().await;
        let proxy = ready(&origin, 10, CachePolicy::new().query(true));
        let server = h2c_proxy(proxy).await;
        let long = "a".repeat(11);
        for number in 0..2 {
            let answer = query(version, server.address(), &long).await;
            assert_eq!(answer.text(), format!("QUERY {long} {number}"));
            assert!(!is_hit(&answer));
        }
        for number in 2..4 {
            let ask = Ask::by("QUERY", "/").pieces("abc", 1);
            let answer = ask.answered_over(version, server.address()).await;
            let text = answer.text();
            assert_eq!(text, format!("QUERY abc {number}"));
        }
        for number in [4, 4] {
            let answer = query(version, server.address(), "exactly 10").await;
            assert_eq!(answer.text(), format!("QUERY exactly 10 {number}"));
        }
    }
}

#[tokio::test]
async fn without_the_policy_a_query_does_without_the_cache() {
    let origin = echo().await;
    let server = h2c_proxy(ready(&origin, 100, CachePolicy::new())).await;
    for number in 0..2 {
        let answer = query(Version::H1, server.address(), "one").await;
        assert_eq!(answer.text(), format!("QUERY one {number}"));
    }
}
