//! What is stale: validated, refreshed in the background, or served because the upstream fails.

use super::support::{Caching, Scripted, VERSIONS, leak, ok};
use http::StatusCode;
use pingora::cache::{CacheMetaDefaults, CachePhase};
use pingora_tests::{Ask, Version, eventually, h2c_proxy};
use std::time::Duration;

fn stale_at_once(status: StatusCode) -> Option<Duration> {
    (status == StatusCode::OK).then_some(Duration::ZERO)
}

const DATED: &str = "ETag: \"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Old: 1\r\n";

fn not_modified(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n").into_bytes()
}

/// A proxy for which what was stored is stale at once, for the windows given.
fn staling(origin: &Scripted, while_revalidate: u32, if_error: u32) -> Caching {
    let mut caching = Caching::of(origin.address());
    let defaults = CacheMetaDefaults::new(stale_at_once, while_revalidate, if_error);
    caching.defaults = leak(defaults);
    caching.serves_stale = while_revalidate > 0;
    caching
}

#[tokio::test]
async fn what_is_stale_is_validated_and_served() {
    let origin = Scripted::new(|request, number| match number {
        0 => ok(DATED, "body"),
        1 => not_modified(
            "ETag: \"a\"\r\nX-New: 1\r\nContent-Length: 9\r\nCache-Control: max-age=60\r\n",
        ),
        _ => panic!("it is fresh by now: {request:?}"),
    })
    .await;
    let caching = staling(&origin, 0, 0);
    let seen = caching.seen.clone();
    let server = h2c_proxy(caching).await;
    let ask = Ask::get("/")
        .with("If-None-Match", "\"other\"")
        .with("Range", "bytes=1-2");
    for (turn, phase) in ["miss", "revalidated", "hit"].into_iter().enumerate() {
        let answer = ask.answered_over(Version::H1, server.address()).await;
        assert_eq!((answer.status(), answer.text()), (206, "od"), "{turn}");
        assert_eq!(answer.header("x-cache"), Some(phase));
        assert_eq!(answer.header("x-new").is_some(), turn > 0);
        if turn == 0 {
            assert!(
                origin.last().header("if-none-match").is_none(),
                "the client's is not the cache's"
            );
        }
    }
    let asked = origin.last();
    assert_eq!(asked.header("if-none-match"), Some("\"a\""));
    assert_eq!(
        asked.header("if-modified-since"),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );
    assert!(asked.header("range").is_none());
    eventually("all are logged", || seen.logged() == 3).await;
    assert_eq!(
        seen.phases(),
        [CachePhase::Miss, CachePhase::Revalidated, CachePhase::Hit]
    );
}

#[tokio::test]
async fn a_confirmation_of_something_else_is_none() {
    let origin = Scripted::new(|request, number| match number {
        0 => ok(DATED, "old"),
        1 => not_modified("ETag: \"b\"\r\n"),
        _ => {
            assert!(request.header("if-none-match").is_none());
            ok("ETag: \"b\"\r\nCache-Control: max-age=60\r\n", "new")
        }
    })
    .await;
    let server = h2c_proxy(staling(&origin, 0, 0)).await;
    for body in ["old", "new", "new"] {
        let answer = Ask::get("/")
            .answered_over(Version::H1, server.address())
            .await;
        assert_eq!((answer.status(), answer.text()), (200, body));
    }
    assert_eq!(origin.asked(), 3);
}

#[tokio::test]
async fn what_is_confirmed_but_not_storable_any_more_is_served_this_once() {
    let origin = Scripted::new(|_, number| match number {
        0 => ok(DATED, "body"),
        _ => not_modified("ETag: \"a\"\r\nCache-Control: no-store\r\n"),
    })
    .await;
    let server = h2c_proxy(staling(&origin, 0, 0)).await;
    Ask::get("/")
        .answered_over(Version::H1, server.address())
        .await;
    let answer = Ask::get("/")
        .answered_over(Version::H1, server.address())
        .await;
    assert_eq!((answer.status(), answer.text()), (200, "body"));
    assert_eq!(answer.header("x-cache"), Some("revalidated-nocache"));
}

#[tokio::test]
async fn what_has_changed_replaces_what_is_stale() {
    let origin = Scripted::new(|_, number| ok(DATED, &format!("body {number}"))).await;
    let server = h2c_proxy(staling(&origin, 0, 0)).await;
    for (turn, phase) in ["miss", "expired", "expired"].into_iter().enumerate() {
        let answer = Ask::get("/")
            .answered_over(Version::H1, server.address())
            .await;
        assert_eq!(answer.text(), format!("body {turn}"));
        assert_eq!(answer.header("x-cache"), Some(phase));
    }
}

#[tokio::test]
async fn one_refreshes_in_the_background_while_all_are_served() {
    let origin = Scripted::gated(1, |_, number| match number {
        0 => ok(DATED, "old"),
        _ => ok("Cache-Control: max-age=60\r\n", "new"),
    })
    .await;
    let caching = staling(&origin, 60, 0);
    let seen = caching.seen.clone();
    let server = h2c_proxy(caching).await;
    Ask::get("/")
        .answered_over(Version::H1, server.address())
        .await;
    for version in VERSIONS.into_iter().cycle().take(8) {
        let answer = Ask::get("/").answered_over(version, server.address()).await;
        assert_eq!((answer.status(), answer.text()), (200, "old"));
        assert_eq!(answer.header("x-cache"), Some("stale-updating"));
    }
    eventually("one refreshes", || origin.asked() == 2).await;
    origin.gate.add_permits(1);
    // The first, eight that were served, and the one in the background.
    eventually("it is done", || seen.logged() == 10).await;
    let answer = Ask::get("/")
        .answered_over(Version::H1, server.address())
        .await;
    assert_eq!(
        (answer.text(), answer.header("x-cache")),
        ("new", Some("hit"))
    );
    assert_eq!(origin.asked(), 2);
}

#[tokio::test]
async fn what_is_stale_stands_in_for_an_upstream_that_fails() {
    let origin = Scripted::new(|request, number| {
        let fails = b"HTTP/1.1 503 Out\r\nContent-Length: 4\r\n\r\nfail".to_vec();
        match (number % 2, request.target()) {
            (0, _) => ok(DATED, "old"),
            (_, "/status") => fails,
            // No response at all.
            _ => b"HTTP/1.1 garbage\r\n\r\n".to_vec(),
        }
    })
    .await;
    for (window, path, expected) in [
        (60, "/status", (200, "old")),
        (60, "/broken", (200, "old")),
        (0, "/status", (503, "fail")),
        (0, "/broken", (502, "")),
    ] {
        let caching = staling(&origin, 0, window);
        let seen = caching.seen.clone();
        let server = h2c_proxy(caching).await;
        Ask::get(path)
            .answered_over(Version::H1, server.address())
            .await;
        let answer = Ask::get(path)
            .answered_over(Version::H1, server.address())
            .await;
        assert_eq!(
            (answer.status(), answer.text()),
            expected,
            "{path} {window}"
        );
        eventually("both are logged", || seen.logged() == 2).await;
    }
}

#[tokio::test]
async fn what_is_stale_stands_in_for_an_upstream_that_is_gone() {
    let origin = Scripted::new(|_, _| ok(DATED, "old")).await;
    let caching = staling(&origin, 0, 60);
    let server = h2c_proxy(caching).await;
    let close = Ask::get("/").with("Connection", "close");
    close.answered_over(Version::H1, server.address()).await;
    drop(origin);
    for version in VERSIONS {
        let answer = Ask::get("/").answered_over(version, server.address()).await;
        assert_eq!((answer.status(), answer.text()), (200, "old"));
        assert_eq!(answer.header("x-cache"), Some("stale"));
    }
}
