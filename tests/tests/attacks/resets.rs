//! Streams that are opened only to be reset, by either side.

use crate::victim::{OnStream, Row, Victim, get, post, stream};
use pingora_tests::http2::frames::{Frame, kind};

/// Streams in one batch.
const BATCH: usize = 50;
/// Batches.
const COUNT: usize = 200;

pub(crate) async fn all(victim: &Victim) {
    rapid_reset(victim).await;
    paced_reset(victim).await;
    made_you_reset(victim).await;
}

fn batch(number: usize, one: impl Fn(u32) -> Vec<Frame>) -> Vec<Frame> {
    let streams = number * BATCH..(number + 1) * BATCH;
    streams.flat_map(|number| one(stream(number))).collect()
}

/// HEADERS and RST_STREAM, repeatedly.
async fn rapid_reset(victim: &Victim) {
    let attack = |number| batch(number, |id| vec![get(id, "/stall"), Frame::reset(id, 8)]);
    victim.ends("rapid reset", COUNT, attack).await;
}

/// The same, with enough time for each batch to be processed.
async fn paced_reset(victim: &Victim) {
    let outcome = victim.suffers("paced reset", async {
        let mut attacker = victim.attacker(&[]).await;
        let time = std::time::Duration::from_millis(5);
        for number in 0..COUNT {
            let begun = (0..BATCH).map(|n| get(stream(number * BATCH + n), "/stall"));
            let reset = (0..BATCH).map(|n| Frame::reset(stream(number * BATCH + n), 8));
            let (begun, reset): (Vec<_>, Vec<_>) = (begun.collect(), reset.collect());
            if attacker.try_send(begun).await.is_err() || attacker.ended_within(time).await {
                return true;
            }
            if attacker.try_send(reset).await.is_err() || attacker.ended_within(time).await {
                return true;
            }
        }
        attacker
            .ended_within(std::time::Duration::from_millis(300))
            .await
    });
    assert!(outcome.await, "the connection goes on");
}

/// Valid requests, each followed by a frame for which the proxy has to reset the stream.
async fn made_you_reset(victim: &Victim) {
    let ways: [Row<OnStream>; 6] = [
        ("an increment of 0", |id| {
            vec![get(id, "/stall"), Frame::window_update(id, 0)]
        }),
        ("an increment beyond 2^31", |id| {
            vec![get(id, "/stall"), Frame::window_update(id, 0x7fff_ffff)]
        }),
        ("DATA behind the end", |id| {
            vec![get(id, "/stall"), Frame::data(id, "x", false)]
        }),
        ("HEADERS behind the end", |id| {
            vec![get(id, "/stall"), get(id, "/stall")]
        }),
        ("a dependency on itself", |id| {
            vec![get(id, "/stall"), Frame::priority(id, id)]
        }),
        ("more than was announced", |id| {
            let mut head = post(id, "/stall");
            let length = pingora_tests::http2::frames::literal("content-length", "1");
            head.payload.extend(length);
            vec![head, Frame::data(id, "more", false)]
        }),
    ];
    let before = victim.asked("/stall");
    for (what, way) in ways {
        let what = format!("made to reset by {what}");
        let outcome = victim
            .one_floods(&what, COUNT, |number| batch(number, way))
            .await;
        // A peer may ignore dependencies, and therefore also invalid ones.
        let heeded = !what.contains("dependency");
        let ended = outcome == crate::victim::Outcome::Ended;
        assert!(ended || !heeded, "{what}: {outcome:?}");
    }
    victim.settles().await;
    let streams = victim.asked("/stall") - before;
    assert!(
        streams < COUNT * BATCH,
        "{streams} requests reach the origin"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_at_once_end_the_connection() {
    rapid_reset(&Victim::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_after_a_while_end_the_connection() {
    paced_reset(&Victim::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_the_proxy_is_made_to_reset_end_the_connection() {
    made_you_reset(&Victim::new().await).await;
}

/// Streams that were already reset cost nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_of_what_is_over_do_no_harm() {
    let victim = Victim::new().await;
    let attack = |number| match number {
        0 => vec![get(1, "/x")],
        _ => vec![Frame::reset(1, 8); 1000],
    };
    victim.one_floods("resets of one stream", 100, attack).await;
    let attack = |_| vec![Frame::new(kind::RST_STREAM, 0, 0, [0; 4])];
    victim.ends("a reset of the connection", 2, attack).await;
}
