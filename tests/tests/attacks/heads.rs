//! Heads that never end, are larger than they look, or arrive byte by byte.

use crate::victim::{Outcome, Victim, stream};
use pingora_tests::http2::frames::{self, END_STREAM, Frame, kind};
use std::time::Duration;

pub(crate) async fn all(victim: &Victim) {
    continuations(victim).await;
    bombs(victim).await;
    crowds_of_tables(victim).await;
}

/// A head that continues in one CONTINUATION after another.
async fn continuations(victim: &Victim) {
    let request = frames::request("GET", "/stall");
    let field = frames::literal("x", "y".repeat(16_000));
    let begin = |payload: &[u8]| Frame::new(kind::HEADERS, END_STREAM, 1, payload);
    let ways: [(&str, Vec<u8>); 3] = [
        ("large CONTINUATION frames", field),
        ("small CONTINUATION frames", frames::literal("x", "y")),
        ("CONTINUATION frames without payload", Vec::new()),
    ];
    for (what, payload) in ways {
        let attack = |number| match number {
            0 => vec![begin(&request)],
            _ => vec![Frame::continuation(1, payload.clone(), false); 50],
        };
        victim.ends(what, 100, attack).await;
    }
    // A literal that is longer than all the data that follows.
    let endless = [
        &[0x00, 1, b'x', 0x7f, 0xff, 0xff, 0xff, 0x7f][..],
        &[b'y'; 8000],
    ]
    .concat();
    let attack = |number| match number {
        0 => vec![begin(&[&request[..], &endless].concat())],
        _ => vec![Frame::continuation(1, vec![b'y'; 16_000], false); 10],
    };
    victim.ends("an endless value", 400, attack).await;
}

/// A few kilobytes that expand to many megabytes: references to a large table entry.
async fn bombs(victim: &Victim) {
    let refused = victim.suffers("a header bomb", async {
        let mut refused = 0;
        for _ in 0..20 * victim.scale {
            let mut attacker = victim.attacker(&[]).await;
            let bomb = [
                frames::request("GET", "/bomb"),
                frames::literal_to_index("x", "y".repeat(4000)),
                frames::indexed(62).repeat(12_000),
            ];
            let first = Frame::headers(1, bomb.concat(), true);
            let more = [
                frames::request("GET", "/bomb"),
                frames::indexed(62).repeat(12_000),
            ];
            let next = (1..20).map(|n| Frame::headers(stream(n), more.concat(), true));
            let sent = attacker.try_send(std::iter::once(first).chain(next)).await;
            let answer = attacker.answer(1).await;
            let denied = answer.statuses == [431] || answer.reset.is_some() || answer.closed;
            refused += usize::from(sent.is_err() || denied);
        }
        refused
    });
    assert_eq!(refused.await, 20 * victim.scale);
    assert_eq!(victim.asked("/bomb"), 0);
}

/// Many connections, each with a full table.
async fn crowds_of_tables(victim: &Victim) {
    victim
        .suffers("full tables", async {
            let mut crowd = Vec::new();
            for _ in 0..200 {
                let mut attacker = victim.attacker(&[]).await;
                let head = [
                    frames::request("GET", "/x"),
                    frames::literal_to_index("x", "y".repeat(4000)),
                ];
                attacker
                    .send([Frame::headers(1, head.concat(), true)])
                    .await;
                crowd.push(attacker);
            }
            for attacker in &mut crowd {
                assert_eq!(attacker.answer(1).await.statuses, [200]);
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_end_ends_the_connection() {
    continuations(&Victim::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_grows_by_being_read_is_refused() {
    bombs(&Victim::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_tables_have_a_bound() {
    crowds_of_tables(&Victim::new().await).await;
}

/// Just below the limit it is a normal request; above it, this stream is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_kilobytes_of_fields_are_the_limit() {
    let victim = Victim::new().await;
    for (count, passes) in [(7, true), (9, false)] {
        let mut attacker = victim.attacker(&[]).await;
        let field = frames::literal("x", "y".repeat(8000));
        let block = [frames::request("GET", "/x"), field.repeat(count)].concat();
        let mut pieces = block.chunks(16_000);
        let first = pieces.next().unwrap();
        let mut head = vec![Frame::new(kind::HEADERS, END_STREAM, 1, first)];
        head.extend(pieces.map(|piece| Frame::continuation(1, piece, false)));
        if let Some(last) = head.last_mut() {
            last.flags |= frames::END_HEADERS;
        }
        let _ = attacker.try_send(head).await;
        let answer = attacker.answer(1).await;
        if passes {
            assert_eq!(answer.statuses, [200], "{answer:?}")
        } else {
            let refused = answer.statuses == [431] || answer.reset.is_some();
            assert!(refused, "{answer:?}");
        }
    }
}

/// Frames that stop in the middle: they cost their connection and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_never_whole_cost_little() {
    let victim = Victim::new().await;
    victim
        .suffers("half frames", async {
            let mut crowd = Vec::new();
            for number in 0..200 {
                let mut attacker = victim.attacker(&[]).await;
                // 16,384 bytes are announced.
                let kinds = [kind::DATA, kind::HEADERS, kind::SETTINGS, kind::PING, 0xee];
                let head = [0, 0x40, 0, kinds[number % 5], 0, 0, 0, 0, 1];
                let sent = attacker
                    .try_send_bytes([&head[..], &[0; 16_383]].concat())
                    .await;
                drop(sent);
                crowd.push(attacker);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        })
        .await;
}

/// Frames longer than allowed are an error before they are read (RFC 9113 section 4.2).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_too_long_end_the_connection() {
    let victim = Victim::new().await;
    for kind in [kind::DATA, kind::HEADERS, kind::SETTINGS, 0xee] {
        let outcome = victim.suffers("too long", async {
            let mut attacker = victim.attacker(&[]).await;
            let head = [0xff, 0xff, 0xff, kind, 0, 0, 0, 0, 1];
            let _ = attacker.try_send_bytes(head).await;
            if attacker.ended_within(Duration::from_secs(5)).await {
                Outcome::Ended
            } else {
                Outcome::Blocked
            }
        });
        assert_eq!(outcome.await, Outcome::Ended, "kind {kind}");
    }
}
