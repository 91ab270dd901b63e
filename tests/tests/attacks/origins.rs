//! HTTP/2 origins that are malicious, or badly broken.

use crate::victim::{OnStream, Row, Victim};
use pingora_tests::http2::frames::{self, END_STREAM, Frame, kind};
use pingora_tests::http2::{Http2Client, RawHttp2};
use pingora_tests::{Ask, Origin, Version};
use std::future::pending;

const BUDGET: usize = 64 * 1024 * 1024;

/// Sends a request to a proxy whose origin answers each request with these frames; returns the
/// answer's status, 0 without one, and whether it was complete.
async fn asked(what: &str, attack: fn(u32) -> Vec<Frame>) -> (u16, bool) {
    let origin = Origin::http2_scripted(&[], move |mut origin, _| async move {
        while let Some(request) = origin.frame_of(kind::HEADERS).await {
            if origin.try_send(attack(request.stream)).await.is_err() {
                return;
            }
        }
    });
    let victim = Victim::of(origin.await).await;
    let mut last = (0, false);
    for version in [Version::H1, Version::H2] {
        let answer = Ask::get("/").answered_over(version, victim.address).await;
        last = (answer.status(), answer.is_complete());
        println!("{what}: {} {:?} over {version:?}", last.0, answer.ending);
    }
    let cost = victim.over_base();
    assert!(cost < BUDGET, "{what} costs {cost} bytes");
    last
}

fn head(status: &str, more: &[u8]) -> Vec<u8> {
    [&frames::block(&[(":status", status)])[..], more].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_without_end_are_an_error() {
    let flood = asked("CONTINUATION frames", |id| {
        let field = frames::literal("x", "y".repeat(16_000));
        let first = Frame::new(kind::HEADERS, END_STREAM, id, head("200", &[]));
        std::iter::once(first)
            .chain((0..2000).map(|_| Frame::continuation(id, field.clone(), false)))
            .collect()
    });
    assert_eq!(flood.await, (502, true));
    let bomb = asked("a header bomb", |id| {
        let entry = frames::literal_to_index("x", "y".repeat(4000));
        let block = head("200", &[entry, frames::indexed(62).repeat(12_000)].concat());
        vec![Frame::headers(id, block, true)]
    });
    assert_eq!(bomb.await, (502, true));
    let many = asked("many short fields", |id| {
        let fields = frames::literal("x", "y").repeat(300);
        vec![Frame::headers(id, head("200", &fields), true)]
    });
    assert_eq!(many.await, (502, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_without_end_are_an_error() {
    let flood = asked("interim answers", |id| {
        let link = frames::literal("link", "x".repeat(1000));
        vec![Frame::headers(id, head("103", &link), false); 5_000]
    });
    let (status, whole) = flood.await;
    assert!(status == 502 || status == 103 || !whole, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_are_an_error() {
    let push = asked("pushes", |id| {
        let mut payload = 2_u32.to_be_bytes().to_vec();
        payload.extend(frames::request("GET", "/pushed"));
        let pushed = Frame::new(kind::PUSH_PROMISE, 4, id, payload);
        vec![pushed, Frame::headers(id, head("200", &[]), true)]
    });
    assert_eq!(push.await, (502, true));
}

/// Answers with fields or statuses that break the rules.
fn malformed() -> [Row<OnStream>; 8] {
    [
        ("no status", |id| {
            vec![Frame::headers(id, frames::literal("x", "y"), true)]
        }),
        ("a bad status", |id| {
            vec![Frame::headers(id, head("2000", &[]), true)]
        }),
        ("101", |id| {
            vec![Frame::headers(id, head("101", &[]), false)]
        }),
        ("a connection field", |id| {
            vec![Frame::headers(
                id,
                head("200", &frames::literal("connection", "close")),
                true,
            )]
        }),
        ("a transfer coding", |id| {
            let coding = frames::literal("transfer-encoding", "chunked");
            vec![Frame::headers(id, head("200", &coding), true)]
        }),
        ("an upper-case name", |id| {
            vec![Frame::headers(
                id,
                head("200", &frames::literal("X-Upper", "y")),
                true,
            )]
        }),
        ("a line in a value", |id| {
            vec![Frame::headers(
                id,
                head("200", &frames::literal("x", "a\r\nb: c")),
                true,
            )]
        }),
        ("DATA ahead of HEADERS", |id| {
            vec![Frame::data(id, "early", true)]
        }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_answers_are_an_error() {
    for (what, attack) in malformed() {
        assert_eq!(asked(what, attack).await, (502, true), "{what}");
    }
}

/// RFC 9113 section 8.1.1: a stream error. The connection is others' as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_answers_leave_their_connection_to_others() {
    for (what, attack) in malformed() {
        let origin = Origin::http2_scripted(&[], move |mut origin, _| async move {
            // Both are under way when the first is answered.
            let mut first = None;
            while let Some(request) = origin.frame_of(kind::HEADERS).await {
                let Some(bad) = first else {
                    first = Some(request.stream);
                    continue;
                };
                let good = Frame::headers(request.stream, head("204", &[]), true);
                let attacked = if bad == 0 { vec![] } else { attack(bad) };
                first = Some(0);
                if origin
                    .try_send(attacked.into_iter().chain([good]))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        let victim = Victim::of(origin.await).await;
        let client = Http2Client::to(victim.address).await;
        let (bad, _) = client.begin(&Ask::get("/bad"), true).await.unwrap();
        victim.origin.wait_for_connections(1).await;
        for _ in 0..3 {
            assert_eq!(client.get("/good").await.status(), 204, "{what}");
        }
        assert_eq!(bad.await.unwrap().status().as_u16(), 502, "{what}");
        assert_eq!(victim.origin.connections(), 1, "{what}");
    }
}

/// An origin that floods its only connection while others want answers over it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_by_an_origin_have_a_bound() {
    let floods: [Row<fn() -> Frame>; 4] = [
        ("pings", || Frame::ping(1)),
        ("settings", || Frame::settings(&[(4, 65_535)])),
        ("increments", || Frame::window_update(0, 1)),
        ("unknown frames", || Frame::new(0xee, 0, 1, [0; 100])),
    ];
    for (what, frame) in floods {
        let origin = Origin::http2_scripted(&[], move |mut origin, _| async move {
            let request = origin.frame_of(kind::HEADERS).await;
            let batch = vec![frame(); 1000];
            for _ in 0..50 {
                if origin.try_send(batch.clone()).await.is_err() {
                    return;
                }
            }
            let stream = request.map_or(0, |request| request.stream);
            let answer = Frame::headers(stream, head("204", &[]), true);
            let _ = origin.try_send([answer]).await;
            pending().await
        });
        let victim = Victim::of(origin.await).await;
        let answer = Http2Client::to(victim.address).await.get("/").await;
        assert!(matches!(answer.status(), 204 | 502), "{what}: {answer:?}");
        let cost = victim.over_base();
        println!("{what}: {cost} bytes over the base, {}", answer.status());
        assert!(cost < BUDGET, "{what} costs {cost} bytes");
    }
}

/// An origin that allows no stream, or accepts them all and answers none, delays only its own
/// requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_does_nothing_holds_its_requests_alone() {
    let origin = Origin::http2_scripted(&[], |mut origin, _| async move {
        origin.rest().await;
    });
    let victim = Victim::of(origin.await).await;
    let mut crowd = Vec::new();
    for number in 0..4 {
        let mut client = RawHttp2::client(victim.address, &[]).await;
        let asks = (0..100).map(|n| crate::victim::get(crate::victim::stream(n), "/"));
        client.send(asks).await;
        crowd.push((number, client));
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    drop(crowd);
    let cost = victim.over_base();
    println!("400 requests: {cost} bytes over the base");
    assert!(cost < BUDGET, "{cost} bytes");
}
