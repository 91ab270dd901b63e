//! Frames that are cheap to send but cost their receiver an answer, or at least some processing.

use crate::victim::{Outcome, Row, Victim, get, post, stream};
use pingora_tests::http2::frames::{Frame, kind};
use std::time::Duration;

/// The frame with this number.
type Numbered = fn(usize) -> Frame;

/// Frames in one batch.
const BATCH: usize = 1000;
/// Batches.
const COUNT: usize = 100;

pub(crate) async fn all(victim: &Victim) {
    unread_answers(victim).await;
    answered(victim).await;
    unanswered(victim).await;
    data_without_payload(victim).await;
}

/// PING and SETTINGS whose answers are read: bounded by the connection's throughput.
async fn answered(victim: &Victim) {
    let ping = |_| vec![Frame::ping(1); BATCH];
    victim.one_floods("pings", COUNT, ping).await;
    let settings = |_| vec![Frame::settings(&[(4, 65_535)]); BATCH];
    victim.one_floods("settings", COUNT, settings).await;
    let moving = |n: usize| vec![Frame::settings(&[(4, 1 + (n as u32 % 2) * 1000)]); BATCH];
    victim.one_floods("moving windows", COUNT, moving).await;
    let tables = |n: usize| vec![Frame::settings(&[(1, (n as u32 % 2) * 4096)]); BATCH];
    victim.one_floods("moving tables", COUNT, tables).await;
}

/// The same, but the answers are not read: they must not accumulate.
async fn unread_answers(victim: &Victim) {
    let floods: [Row<fn() -> Frame>; 2] = [
        ("unread answers to pings", || Frame::ping(1)),
        ("unread answers to settings", || {
            Frame::settings(&[(4, 65_535)])
        }),
    ];
    for (what, frame) in floods {
        let outcome = victim.suffers(what, async {
            let mut attacker = victim.attacker(&[]).await;
            let batch = vec![frame(); BATCH];
            for _ in 0..10 * COUNT * victim.scale {
                let sent = attacker.send_unread(batch.clone(), Duration::from_secs(1));
                match sent.await {
                    Some(true) => {}
                    Some(false) => return Outcome::Ended,
                    None => return Outcome::Blocked,
                }
            }
            Outcome::Finished
        });
        let outcome = outcome.await;
        assert_ne!(
            outcome,
            Outcome::Finished,
            "{what}: somewhere it is all kept"
        );
    }
}

/// Frames that need no answer.
async fn unanswered(victim: &Victim) {
    let floods: [Row<Numbered>; 5] = [
        ("priorities of idle streams", |n| {
            Frame::priority(stream(n % 1_000_000), 0)
        }),
        ("increments for the connection", |_| {
            Frame::window_update(0, 1)
        }),
        ("increments for a stream", |_| Frame::window_update(1, 1)),
        ("frames of no known kind", |n| {
            Frame::new(0xee, 0xff, stream(n), [0; 32])
        }),
        ("answers to no ping", |n| {
            let mut ping = Frame::ping(n as u64);
            ping.flags = 1;
            ping
        }),
    ];
    for (what, frame) in floods {
        let attack = |number: usize| {
            let first = (number == 0).then(|| get(1, "/stall"));
            let frames = (0..BATCH).map(move |n| frame(number * BATCH + n));
            first.into_iter().chain(frames).collect::<Vec<_>>()
        };
        victim.one_floods(what, COUNT, attack).await;
    }
    let acknowledgements = |_| vec![Frame::settings_ack(); BATCH];
    victim
        .ends("answers to no settings", COUNT, acknowledgements)
        .await;
}

/// DATA without payload, and with next to none in much padding.
async fn data_without_payload(victim: &Victim) {
    let floods: [Row<fn() -> Frame>; 3] = [
        ("DATA without payload", || Frame::data(1, "", false)),
        ("DATA of padding", || {
            Frame::new(kind::DATA, 8, 1, [&[254][..], &[0; 254]].concat())
        }),
        ("DATA of one byte", || Frame::data(1, "x", false)),
    ];
    for (what, frame) in floods {
        let attack = |number| match number {
            0 => vec![post(1, "/echo")],
            // Fits into the windows.
            _ => vec![frame(); 100],
        };
        let outcome = victim.one_floods(what, 1000, attack).await;
        let payload = what.contains("without payload");
        assert!(outcome == Outcome::Ended || !payload, "{what}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_not_gathered() {
    unread_answers(&Victim::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_without_end_do_no_harm() {
    answered(&Victim::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_use_do_no_harm() {
    unanswered(&Victim::new().await).await;
}

/// RUSTSEC-2026-0258: frames of DATA without payload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_without_payload_ends_the_connection() {
    data_without_payload(&Victim::new().await).await;
}

/// Frames that a client must never send end the connection at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_server_may_say_ends_the_connection() {
    let victim = Victim::new().await;
    let frames: [(&str, Frame); 6] = [
        ("a push", Frame::new(kind::PUSH_PROMISE, 4, 1, [0, 0, 0, 2])),
        ("an even stream", get(2, "/x")),
        ("DATA for the connection", Frame::data(0, "x", false)),
        ("DATA for an idle stream", Frame::data(5, "x", false)),
        (
            "SETTINGS for a stream",
            Frame::new(kind::SETTINGS, 0, 1, []),
        ),
        ("half a setting", Frame::new(kind::SETTINGS, 0, 0, [0; 5])),
    ];
    for (what, frame) in frames {
        victim.ends(what, 1, |_| [frame.clone()]).await;
    }
}
