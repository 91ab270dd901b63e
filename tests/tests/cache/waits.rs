//! Requests for one key at a time: who asks the origin, and who waits.

use super::support::{Caching, Scripted, VERSIONS, disabled, leak, ok};
use pingora::cache::lock::CacheLock;
use pingora::cache::{CachePhase, NoCacheReason};
use pingora_tests::{Ask, Message, Running, TestServer, Version, eventually, h2c_proxy};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

fn ask_many(server: &TestServer, count: usize, ask: &Ask) -> JoinSet<Message> {
    let mut asking = JoinSet::new();
    for n in 0..count {
        let (ask, address) = (ask.clone(), server.address());
        let version = VERSIONS[n % 2];
        asking.spawn(async move { ask.answered_over(version, address).await });
    }
    asking
}

#[tokio::test]
async fn a_thousand_clients_ask_for_a_cold_key_and_the_origin_is_asked_once() {
    const CLIENTS: usize = 1000;
    let origin = Scripted::gated(0, |_, _| ok("", "warm")).await;
    let caching = Caching::of(origin.address());
    let seen = caching.seen.clone();
    let server = h2c_proxy(caching).await;
    let asking = ask_many(&server, CLIENTS, &Ask::get("/"));
    eventually("all ask", || seen.asked() == CLIENTS && origin.asked() == 1).await;
    origin.gate.add_permits(1);
    for answer in asking.join_all().await {
        assert_eq!((answer.status(), answer.text()), (200, "warm"));
    }
    assert_eq!(origin.asked(), 1);
    eventually("each is logged once", || seen.logged() == CLIENTS).await;
    let misses = seen
        .phases()
        .iter()
        .filter(|phase| **phase == CachePhase::Miss)
        .count();
    assert_eq!(misses, 1);
}

#[tokio::test]
async fn those_who_wait_for_what_can_not_be_stored_all_go_on() {
    const CLIENTS: usize = 50;
    let origin = Scripted::gated(0, |_, _| ok("Cache-Control: no-store\r\n", "x")).await;
    let caching = Caching::of(origin.address());
    let seen = caching.seen.clone();
    let server = h2c_proxy(caching).await;
    let asking = ask_many(&server, CLIENTS, &Ask::get("/"));
    eventually("all ask", || seen.asked() == CLIENTS && origin.asked() == 1).await;
    origin.gate.add_permits(1);
    // All at once: none of them is answered yet.
    eventually("all go on", || origin.asked() == CLIENTS).await;
    origin.gate.add_permits(CLIENTS);
    for answer in asking.join_all().await {
        assert_eq!((answer.status(), answer.text()), (200, "x"));
    }
    eventually("each is logged once", || seen.logged() == CLIENTS).await;
    let gave_up = disabled(NoCacheReason::CacheLockGiveUp);
    let gave_up = seen
        .phases()
        .iter()
        .filter(|phase| **phase == gave_up)
        .count();
    assert_eq!(gave_up, CLIENTS - 1);
}

#[tokio::test]
async fn a_failed_fetch_is_handed_on_to_one() {
    const CLIENTS: usize = 20;
    let origin = Scripted::gated(0, |_, number| match number {
        0 => b"HTTP/1.1 garbage\r\n\r\n".to_vec(),
        _ => ok("", "second"),
    })
    .await;
    let caching = Caching::of(origin.address());
    let seen = caching.seen.clone();
    let server = h2c_proxy(caching).await;
    let asking = ask_many(&server, CLIENTS, &Ask::get("/"));
    eventually("all ask", || seen.asked() == CLIENTS && origin.asked() == 1).await;
    origin.gate.add_permits(1);
    eventually("the next one fetches", || origin.asked() == 2).await;
    origin.gate.add_permits(1);
    let answers = asking.join_all().await;
    let good = answers
        .iter()
        .filter(|it| it.status() == 200 && it.text() == "second");
    assert_eq!(good.count(), CLIENTS - 1);
    assert_eq!(origin.asked(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_fetches_hands_on() {
    let origin = Scripted::gated(0, |_, _| ok("", "x")).await;
    let caching = Caching::of(origin.address());
    let seen = caching.seen.clone();
    let server = h2c_proxy(caching).await;
    for version in VERSIONS {
        let path = format!("/{version:?}");
        let before = (seen.asked(), origin.asked());
        let first = Running::begin(version, server.address(), &Ask::get(&path)).await;
        eventually("it fetches", || origin.asked() == before.1 + 1).await;
        let asking = ask_many(&server, 4, &Ask::get(&path));
        eventually("all ask", || seen.asked() == before.0 + 5).await;
        first.abort().await;
        eventually("another fetches", || origin.asked() == before.1 + 2).await;
        origin.gate.add_permits(2);
        for answer in asking.join_all().await {
            assert_eq!((answer.status(), answer.text()), (200, "x"));
        }
        assert_eq!(origin.asked(), before.1 + 2);
    }
}

#[tokio::test]
async fn a_wait_is_as_long_as_the_lock_is_young() {
    let origin = Scripted::gated(0, |_, _| ok("", "x")).await;
    let mut caching = Caching::of(origin.address());
    caching.lock = Some(leak(CacheLock::new(Duration::ZERO)));
    let server = h2c_proxy(caching).await;
    let asking = ask_many(&server, 5, &Ask::get("/"));
    eventually("none waits", || origin.asked() == 5).await;
    origin.gate.add_permits(5);
    for answer in asking.join_all().await {
        assert_eq!((answer.status(), answer.text()), (200, "x"));
    }
}

#[tokio::test]
async fn variants_are_fetched_once_each() {
    let origin = Scripted::new(|request, _| {
        let language = request
            .header("accept-language")
            .unwrap_or("none")
            .to_string();
        ok("Vary: Accept-Language\r\n", &language)
    })
    .await;
    let server = h2c_proxy(Caching::of(origin.address())).await;
    for turn in 0..3 {
        for language in ["en", "de", "none", "fr"] {
            let mut ask = Ask::get("/");
            if language != "none" {
                ask = ask.with("Accept-Language", language);
            }
            for version in VERSIONS {
                let answer = ask.answered_over(version, server.address()).await;
                assert_eq!(answer.text(), language, "turn {turn}");
            }
        }
    }
    assert_eq!(origin.asked(), 4);
}

#[tokio::test]
async fn those_who_come_during_a_fill_read_behind_it() {
    let (begin, rest) = ("x".repeat(50_000), "y".repeat(50_000));
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let (opened, whole) = (gate.clone(), format!("{begin}{rest}"));
    let origin = pingora_tests::Origin::scripted(move |mut connection, _| {
        let (gate, begin, rest) = (opened.clone(), begin.clone(), rest.clone());
        async move {
            while connection.request().await.is_some() {
                connection
                    .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await;
                connection
                    .send(format!("{:x}\r\n{begin}\r\n", begin.len()))
                    .await;
                gate.acquire().await.unwrap().forget();
                connection
                    .send(format!("{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len()))
                    .await;
            }
        }
    })
    .await;
    let server = h2c_proxy(Caching::of(origin.address())).await;
    let mut running = Vec::new();
    for version in VERSIONS.into_iter().cycle().take(6) {
        let mut one = Running::begin(version, server.address(), &Ask::get("/")).await;
        let head = one.head().await;
        one.wait_for_body(50_000).await;
        running.push((one, head));
    }
    assert_eq!(origin.connections(), 1);
    gate.add_permits(1);
    for (mut one, head) in running {
        let answer = one.rest_of(head).await;
        assert!(answer.is_complete() && answer.text() == whole);
    }
}

#[tokio::test]
async fn a_fill_goes_on_for_its_readers_when_its_client_has_left() {
    for (version, is_read) in [
        (Version::H1, true),
        (Version::H2, true),
        (Version::H1, false),
    ] {
        let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let opened = gate.clone();
        let origin = pingora_tests::Origin::scripted(move |mut connection, _| {
            let gate = opened.clone();
            async move {
                while connection.request().await.is_some() {
                    connection
                        .send("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
                        .await;
                    connection.send(vec![b'x'; 1_000_000]).await;
                    gate.acquire().await.unwrap().forget();
                    let _ = connection.try_send(vec![b'x'; 9_000_000]).await;
                }
            }
        })
        .await;
        let caching = Caching::of(origin.address());
        let seen = caching.seen.clone();
        let server = h2c_proxy(caching).await;
        let mut first = Running::begin(version, server.address(), &Ask::get("/")).await;
        first.head().await;
        first.wait_for_body(1000).await;
        let reader = if is_read {
            let mut reader = Running::begin(Version::H1, server.address(), &Ask::get("/")).await;
            let head = reader.head().await;
            Some((reader, head))
        } else {
            None
        };
        let _connection = first.abort().await;
        match reader {
            Some((mut reader, head)) => {
                // Whenever the proxy sees that the client has left: there is a reader.
                gate.add_permits(9);
                let answer = reader.rest_of(head).await;
                assert!(answer.is_complete() && answer.body.len() == 10_000_000);
            }
            None => {
                eventually("it is given up", || seen.logged() == 1).await;
                gate.add_permits(9);
                origin.wait_until_unused().await;
            }
        }
        eventually("the first is logged", || seen.logged() >= 1).await;
    }
}

#[tokio::test]
async fn a_fill_that_is_nearly_done_outlives_its_client_s_connection() {
    for version in VERSIONS {
        let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let opened = gate.clone();
        let origin = pingora_tests::Origin::scripted(move |mut connection, _| {
            let gate = opened.clone();
            async move {
                while connection.request().await.is_some() {
                    connection
                        .send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
                        .await;
                    connection.send(vec![b'x'; 100_000]).await;
                    gate.acquire().await.unwrap().forget();
                    let _ = connection.try_send(vec![b'x'; 200_000]).await;
                }
            }
        })
        .await;
        let caching = Caching::of(origin.address());
        let seen = caching.seen.clone();
        let server = h2c_proxy(caching).await;
        let mut first = Running::begin(version, server.address(), &Ask::get("/")).await;
        first.head().await;
        first.wait_for_body(1000).await;
        // Its connection goes with it.
        drop(first);
        let outlived = || seen.outlived.load(Ordering::SeqCst) == 1;
        eventually("the proxy has noticed", outlived).await;
        gate.add_permits(1);
        eventually("the first is logged", || seen.logged() == 1).await;
        let answer = Ask::get("/")
            .answered_over(Version::H1, server.address())
            .await;
        assert_eq!(answer.header("x-cache"), Some("hit"), "{version:?}");
        assert_eq!(answer.body.len(), 300_000);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    const LENGTH: usize = 20_000_000;
    for version in VERSIONS {
        let origin = pingora_tests::Origin::well_behaved().await;
        let caching = Caching::of(origin.address());
        let seen = caching.seen.clone();
        let server = h2c_proxy(caching).await;
        let ask = Ask::get(&format!("/length/{LENGTH}"));
        let mut first = Running::begin(version, server.address(), &ask).await;
        let head = first.head().await;
        // The whole of it arrives at the others while the first reads nothing.
        for other in VERSIONS {
            let answer = ask.answered_over(other, server.address()).await;
            assert!(answer.is_complete() && answer.body == pingora_tests::pattern(LENGTH));
        }
        assert_eq!(origin.requests().len(), 1);
        eventually("the others are logged", || seen.logged() == 2).await;
        let answer = first.rest_of(head).await;
        assert!(
            answer.is_complete() && answer.body == pingora_tests::pattern(LENGTH),
            "{version:?}"
        );
        eventually("the first is logged", || seen.logged() == 3).await;
    }
}

#[tokio::test]
async fn a_slow_client_gets_the_whole_of_what_turns_out_too_large() {
    const LENGTH: usize = 10_000_000;
    for version in VERSIONS {
        for kind in ["length", "chunked"] {
            let origin = pingora_tests::Origin::well_behaved().await;
            let mut caching = Caching::of(origin.address());
            caching.storage = leak(pingora::cache::MemCache::bounded(24_000_000));
            let seen = caching.seen.clone();
            let server = h2c_proxy(caching).await;
            let ask = Ask::get(&format!("/{kind}/{LENGTH}"));
            let mut first = Running::begin(version, server.address(), &ask).await;
            let head = first.head().await;
            // Without a reader, the store gives up at 3 MB, where the client is far behind.
            let answer = first.rest_of(head).await;
            assert!(
                answer.is_complete() && answer.body == pingora_tests::pattern(LENGTH),
                "{version:?}"
            );
            eventually("it is logged", || seen.logged() == 1).await;
            assert_eq!(seen.phases(), [disabled(NoCacheReason::ResponseTooLarge)]);
        }
    }
}

#[tokio::test]
async fn without_a_lock_each_fetches_and_none_is_mixed() {
    let origin = Scripted::gated(0, |_, number| ok("", &number.to_string().repeat(100_000))).await;
    let mut caching = Caching::of(origin.address());
    caching.lock = None;
    let server = h2c_proxy(caching).await;
    let asking = ask_many(&server, 5, &Ask::get("/"));
    eventually("all fetch", || origin.asked() == 5).await;
    origin.gate.add_permits(5);
    let mut bodies = Vec::new();
    for answer in asking.join_all().await {
        assert!(answer.is_complete());
        bodies.push(answer.body);
    }
    bodies.push(
        Ask::get("/")
            .answered_over(Version::H1, server.address())
            .await
            .body,
    );
    for body in bodies {
        assert!(body.len() == 100_000 && body.iter().all(|byte| *byte == body[0]));
    }
    assert_eq!(origin.asked(), 5);
}
