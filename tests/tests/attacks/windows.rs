//! Clients that make others work and read none of the results.

use crate::victim::{Victim, get, post, stream};
use pingora_tests::http2::frames::{Frame, kind};
use pingora_tests::pattern;
use std::time::Duration;

/// SETTINGS_INITIAL_WINDOW_SIZE.
const WINDOW: u16 = 4;
/// With a hundred streams each. A stalled stream may hold one read (128 KiB) beyond the mark of its
/// queue (64 KiB), so a connection can cost 19 MB.
const CONNECTIONS: usize = 3;

pub(crate) async fn all(victim: &Victim) {
    zero_windows(victim).await;
    windows_of_one_byte(victim).await;
    unread_bodies(victim).await;
}

/// As many streams as allowed, each with an answer that is larger than the buffers and no window to send it in.
async fn zero_windows(victim: &Victim) {
    victim
        .suffers("zero windows", async {
            let mut crowd = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut attacker = victim.attacker(&[(WINDOW, 0)]).await;
                let asks = (0..100).map(|n| get(stream(n), "/length/300000"));
                attacker.send(asks).await;
                crowd.push(attacker);
            }
            // After that, all buffers are full.
            for attacker in &mut crowd {
                for _ in 0..100 {
                    let head = attacker
                        .frame_of(kind::HEADERS)
                        .await
                        .expect("a head comes");
                    assert_eq!(head.status(), Some(200));
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        })
        .await;
}

/// Windows that open one byte at a time.
async fn windows_of_one_byte(victim: &Victim) {
    victim
        .suffers("windows of one byte", async {
            let mut attacker = victim.attacker(&[(WINDOW, 1)]).await;
            let asks = (0..50).map(|n| get(stream(n), "/length/300000"));
            attacker.send(asks).await;
            for _ in 0..50 * victim.scale {
                let updates = (0..50).map(|n| Frame::window_update(stream(n), 1));
                if attacker.try_send(updates).await.is_err() {
                    return;
                }
            }
        })
        .await;
}

/// Unlimited windows, and a socket that is not read.
async fn unread_bodies(victim: &Victim) {
    victim
        .suffers("a socket that nobody reads", async {
            let mut crowd = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut attacker = victim.attacker(&[(WINDOW, 0x7fff_ffff)]).await;
                let more = Frame::window_update(0, 0x7fff_0000);
                let asks = (0..100).map(|n| get(stream(n), "/length/300000"));
                attacker.send(std::iter::once(more).chain(asks)).await;
                crowd.push(attacker);
            }
            tokio::time::sleep(Duration::from_millis(1000)).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_never_open_hold_little_memory() {
    zero_windows(&Victim::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_open_by_a_byte_do_no_harm() {
    windows_of_one_byte(&Victim::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_nobody_reads_hold_little_memory() {
    unread_bodies(&Victim::new().await).await;
}

/// Uploads that the origin doesn't read: the amount that is kept is what the windows allow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_the_origin_does_not_read_hold_little_memory() {
    let origin =
        pingora_tests::Origin::http2_scripted(&[(WINDOW, 0)], |mut origin, _| async move {
            origin.rest().await;
        });
    let victim = Victim::of(origin.await).await;
    let body = pattern(16_000);
    let mut crowd = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut attacker = victim.attacker(&[]).await;
        let begun = (0..100).map(|n| post(stream(n), "/upload"));
        attacker.send(begun).await;
        for round in 0..8 {
            let pieces = (0..100).map(|n| Frame::data(stream(n), body.clone(), false));
            // A client that ignores the windows may be disconnected.
            if attacker.try_send(pieces).await.is_err() || round == 7 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        crowd.push(attacker);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let cost = victim.over_base();
    println!("{cost} bytes over the base");
    assert!(cost < 64 * 1024 * 1024, "{cost} bytes");
}

/// Streams beyond the limit are refused, and the allowed ones continue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_the_limit_are_refused() {
    let victim = Victim::new().await;
    victim
        .suffers("too many streams", async {
            let mut attacker = victim.attacker(&[]).await;
            attacker
                .send((0..150).map(|n| get(stream(n), "/stall")))
                .await;
            let mut refused = 0;
            while refused < 50 {
                match attacker.frame().await {
                    Some(frame) if frame.kind == kind::RST_STREAM => {
                        assert_eq!(frame.code(), Some(7), "{frame:?}");
                        refused += 1;
                    }
                    Some(_) => {}
                    // A client that doesn't respect the limit may also be disconnected.
                    None => return,
                }
            }
        })
        .await;
    let most = victim.asked("/stall");
    assert!(most <= 100, "{most} streams at once");
}
