//! Misses, and hits after them.

use super::support::{Caching, Scripted, VERSIONS, disabled, ok};
use pingora::cache::{CachePhase, NoCacheReason};
use pingora::metrics::{Format, gather, write_families};
use pingora_tests::{Ask, Connection, Origin, Version, eventually, h2c_proxy, pattern};

async fn good(version: Version) -> Origin {
    match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    }
}

#[tokio::test]
async fn the_origin_is_asked_once_for_any_body_over_any_version() {
    for upstream in VERSIONS {
        let origin = good(upstream).await;
        for client in VERSIONS {
            let mut caching = Caching::of(origin.address());
            caching.upstream_version = upstream;
            let seen = caching.seen.clone();
            let server = h2c_proxy(caching).await;
            for path in [
                "/length/0",
                "/length/1",
                "/length/70000",
                "/length/3000000",
                "/chunked/5000",
            ] {
                origin.forget_requests();
                let size: usize = path.rsplit('/').next().unwrap().parse().unwrap();
                for turn in 0..3 {
                    let what = format!("{path} over {client:?} from {upstream:?}, turn {turn}");
                    let answer = Ask::get(path).answered_over(client, server.address()).await;
                    assert!(
                        answer.is_complete() && answer.status() == 200,
                        "{what}: {answer:?}"
                    );
                    assert!(answer.body == pattern(size), "{what}");
                    let expected = if turn == 0 { "miss" } else { "hit" };
                    assert_eq!(answer.header("x-cache"), Some(expected), "{what}");
                    assert_eq!(answer.header("age").is_some(), turn > 0, "{what}");
                    if turn > 0 {
                        let length = size.to_string();
                        assert_eq!(
                            answer.header("content-length"),
                            Some(length.as_str()),
                            "{what}"
                        );
                    }
                }
                assert_eq!(origin.requests().len(), 1, "{path}");
            }
            eventually("each is logged once", || seen.logged() == 15).await;
        }
    }
}

#[tokio::test]
async fn what_may_not_be_stored_is_not() {
    let origin = Scripted::new(|request, number| {
        let field = match request.target() {
            "/no-store" => "Cache-Control: no-store\r\n",
            "/private" => "Cache-Control: private\r\n",
            "/star" => "Vary: *\r\n",
            _ => return b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\nCache-Control: max-age=9\r\n\r\nx".to_vec(),
        };
        ok(field, &number.to_string())
    })
    .await;
    let caching = Caching::of(origin.address());
    let seen = caching.seen.clone();
    let server = h2c_proxy(caching).await;
    for (at, path) in ["/no-store", "/private", "/star", "/part"]
        .iter()
        .enumerate()
    {
        for turn in 0..2 {
            let answer = Ask::get(path)
                .answered_over(Version::H1, server.address())
                .await;
            assert!(matches!(answer.status(), 200 | 206));
            assert_eq!(origin.asked(), 2 * at + turn + 1, "{path}");
        }
    }
    // The predictor remembers the first of each.
    eventually("each is logged", || seen.logged() == 8).await;
    let uncacheable = disabled(NoCacheReason::OriginNotCache);
    assert_eq!(seen.phases(), [uncacheable, CachePhase::Bypass].repeat(4));
}

#[tokio::test]
async fn what_was_cut_short_is_not_there() {
    for upstream in VERSIONS {
        let origin = good(upstream).await;
        let mut caching = Caching::of(origin.address());
        caching.upstream_version = upstream;
        let server = h2c_proxy(caching).await;
        for client in VERSIONS {
            for path in [
                "/cut/1000",
                "/reset/1000",
                "/reset-body/1000",
                "/reset-trailers/1000",
            ] {
                origin.forget_requests();
                for _ in 0..2 {
                    let answer = Ask::get(path).answered_over(client, server.address()).await;
                    let what = format!("{path} over {client:?} from {upstream:?}: {answer:?}");
                    assert!(!answer.is_complete() || answer.status() == 502, "{what}");
                }
                assert!(origin.requests().len() >= 2, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn too_large_a_response_is_passed_and_not_stored() {
    let origin = Origin::well_behaved().await;
    let mut caching = Caching::of(origin.address());
    caching.most = Some(10_000);
    let seen = caching.seen.clone();
    let server = h2c_proxy(caching).await;
    for path in ["/length/20000", "/chunked/20000"] {
        for _ in 0..2 {
            let answer = Ask::get(path)
                .answered_over(Version::H1, server.address())
                .await;
            assert!(answer.is_complete() && answer.body == pattern(20_000));
        }
    }
    assert_eq!(origin.requests().len(), 4);
    eventually("each is logged", || seen.logged() == 4).await;
    let large = disabled(NoCacheReason::ResponseTooLarge);
    assert_eq!(seen.phases(), [large, CachePhase::Bypass].repeat(2));
}

/// CVE-2025-4366: the body of a request that the cache answered is read as the next request.
#[tokio::test]
async fn a_body_of_a_hit_is_no_request() {
    let origin = Origin::well_behaved().await;
    let server = h2c_proxy(Caching::of(origin.address())).await;
    let ask = Ask::get("/length/5");
    ask.answered_over(Version::H1, server.address()).await;
    let host = &ask.authority;
    let inner = "GET /inner HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = inner.len();
    let mut client = Connection::to(server.address()).await;
    let head =
        format!("GET /length/5 HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
    client.send(format!("{head}{inner}")).await;
    let answer = client.response().await;
    assert_eq!(answer.header("x-cache"), Some("hit"));
    assert_eq!(answer.body, pattern(5));
    // Either the body is drained, or the connection ends; what it holds is never asked.
    if client
        .try_send(format!(
            "GET /length/5 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
        .await
        .is_ok()
    {
        let rest = client.rest().await;
        assert!(!String::from_utf8_lossy(&rest).contains("/inner"));
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn what_came_of_requests_is_counted() {
    let count = |result: &str| {
        let mut text = String::new();
        write_families(&gather(), Format::Prometheus, &mut text);
        let name = format!("pingora_cache_requests_total{{result=\"{result}\"}} ");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&name).map(str::to_string));
        line.map_or(0, |count| count.parse().unwrap())
    };
    let origin = Origin::well_behaved().await;
    let caching = Caching::of(origin.address());
    let seen = caching.seen.clone();
    let server = h2c_proxy(caching).await;
    let before: [u64; 2] = ["hit", "miss"].map(count);
    for _ in 0..3 {
        Ask::get("/length/5")
            .answered_over(Version::H1, server.address())
            .await;
    }
    eventually("all are logged", || seen.logged() == 3).await;
    // Other tests count, too.
    eventually("they are counted", || {
        let now = ["hit", "miss"].map(count);
        now[0] >= before[0] + 2 && now[1] > before[1]
    })
    .await;
}

/// CVE-2026-2836: a cache key without the host.
#[tokio::test]
async fn hosts_do_not_share_and_connection_fields_are_not_stored() {
    let origin = Scripted::new(|request, _| {
        let host = request.header("host").unwrap();
        ok(
            "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 1\r\n",
            host,
        )
    })
    .await;
    let server = h2c_proxy(Caching::of(origin.address())).await;
    for _ in 0..2 {
        for host in ["one.example", "two.example"] {
            let mut ask = Ask::get("/");
            ask.authority = host.into();
            for client in VERSIONS {
                let answer = ask.answered_over(client, server.address()).await;
                assert_eq!(answer.text(), host);
                assert!(answer.header("x-hop").is_none() && answer.header("keep-alive").is_none());
                assert_eq!(answer.header("x-kept"), Some("1"));
            }
        }
    }
    assert_eq!(origin.asked(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_during_a_hit_harms_nobody() {
    let origin = Origin::well_behaved().await;
    let caching = Caching::of(origin.address());
    let seen = caching.seen.clone();
    let server = h2c_proxy(caching).await;
    for client in VERSIONS {
        Ask::get("/length/3000000")
            .answered_over(client, server.address())
            .await;
        let mut running =
            pingora_tests::Running::begin(client, server.address(), &Ask::get("/length/3000000"))
                .await;
        assert_eq!(running.head().await.status(), 200);
        running.abort().await;
        let logged = seen.logged();
        eventually("it is logged", || seen.logged() >= logged).await;
        let answer = Ask::get("/length/3000000")
            .answered_over(client, server.address())
            .await;
        assert!(answer.body == pattern(3_000_000));
    }
    eventually("all are logged once", || seen.logged() == 6).await;
    assert_eq!(origin.requests().len(), 1);
}
