//! One rule at a time.

use super::super::deadline::*;
use super::super::turn::{Event, Failure, Limits, QUEUE_MARK};
use super::fakes::*;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use pingora_core::timeout::Deadline;
use pingora_error::{Error, ErrorType};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, advance};

pub(super) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn every(limit: u64) -> Limits {
    let limit = Some(seconds(limit));
    Limits {
        downstream_read: limit,
        downstream_write: limit,
        upstream_read: limit,
        upstream_write: limit,
    }
}

/// Advances the clock until the engine tells something, or for so long.
pub(super) async fn wait(rig: &mut Rig, most: u64) -> Option<(Event, u64)> {
    let start = Instant::now();
    for _ in 0..most * 2 {
        if let Some(event) = rig.settle_if_woken() {
            return Some((event, start.elapsed().as_secs()));
        }
        advance(Duration::from_millis(500)).await;
    }
    None
}

pub(super) async fn expires(rig: &mut Rig, most: u64) -> Option<(Deadline, u64)> {
    match wait(rig, most).await? {
        (Event::Failed(Failure::Expired(kind)), at) => Some((kind, at)),
        (other, at) => panic!("{other:?} after {at} s"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_exchange_passes_through() {
    for announces in [true, false] {
        let mut rig = Rig::new(every(60));
        rig.up.announces = announces;
        assert!(rig.settle_if_woken().is_none());
        rig.down.body.give(piece("ask"));
        rig.down.body.give(Ok(None));
        rig.up.out.grant(100);
        assert!(rig.settle_if_woken().is_none());
        assert_eq!(
            (&rig.up.out.delivered[..], rig.up.out.ended),
            (&b"ask"[..], true)
        );
        rig.up.tasks.give(head(103, false));
        rig.up.tasks.give(head(200, false));
        rig.up.tasks.give(body("one", false));
        rig.up.tasks.give(body("two", true));
        assert!(
            matches!(rig.settle_if_woken(), Some(Event::Complete)),
            "the last words are for whoever ran the exchange"
        );
        assert_eq!(rig.down.out.delivered, b"");
        rig.down.out.grant(100);
        rig.write_last_words();
        assert_eq!(rig.down.out.delivered, b"headheadonetwo");
        assert_eq!(rig.down.heads, [103, 200]);
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_last_words_are_written_before_the_end() {
    let mut rig = Rig::new(Limits::default());
    rig.down.body.give(Ok(None));
    rig.up.tasks.give(head(200, false));
    rig.up.tasks.give(body(vec![7; 40 * 1024], true));
    assert!(rig.settle().is_none());
    rig.down.out.grant(20 * 1024);
    assert!(rig.settle().is_none());
    rig.down.out.grant(10 * 1024);
    assert!(matches!(rig.settle(), Some(Event::Complete)));
}

#[tokio::test(start_paused = true)]
async fn what_arrived_together_leaves_together() {
    let mut rig = Rig::new(Limits::default());
    rig.down.out.grant(1000);
    for task in [head(200, false), body("x", false), body("y", true)] {
        rig.up.tasks.give(task);
    }
    for expected in 0..3 {
        let Poll::Ready(event) = rig.poll() else {
            panic!("piece {expected}")
        };
        assert!(
            rig.down.out.delivered.is_empty(),
            "nothing leaves before piece {expected} is there"
        );
        rig.apply(event);
    }
    assert!(matches!(rig.settle(), Some(Event::Complete)));
    assert_eq!(rig.down.out.delivered, b"headxy");
}

#[tokio::test(start_paused = true)]
async fn a_queue_holds_the_mark_and_one_piece_at_most() {
    for announces in [true, false] {
        let mut rig = Rig::new(Limits::default());
        rig.up.announces = announces;
        rig.up.tasks.give(head(200, false));
        for _ in 0..100 {
            rig.down.body.give(piece(vec![b'u'; 10_000]));
            rig.up.tasks.give(body(vec![b'd'; 7_000], false));
        }
        assert!(rig.settle_if_woken().is_none());
        for pipe in [&rig.up.out, &rig.down.out] {
            assert!(pipe.most_waiting >= QUEUE_MARK, "{}", pipe.most_waiting);
            assert!(pipe.most_waiting < QUEUE_MARK + pipe.largest_piece);
        }
        assert!(
            rig.down.body.len() > 90 && rig.up.tasks.len() > 80,
            "the rest waits where it is"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_for_a_client_that_forbids_to_send() {
    for announces in [true, false] {
        let mut rig = Rig::new(Limits::default());
        rig.up.announces = announces;
        rig.up.tasks.give(head(200, false));
        for _ in 0..100 {
            rig.up.tasks.give(body(vec![b'd'; 100], false));
        }
        rig.down.stalled = true;
        assert!(rig.settle_if_woken().is_none());
        assert_eq!(rig.up.tasks.len(), 101, "all of it waits where it is");
        rig.down.stalled = false;
        assert!(rig.settle().is_none());
        assert_eq!(rig.up.tasks.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_stalled_direction_does_not_hold_the_other() {
    let mut rig = Rig::new(Limits::default());
    rig.up.tasks.give(head(200, false));
    rig.down.out.grant(usize::MAX);
    for _ in 0..100 {
        rig.down.body.give(piece(vec![b'u'; 10_000]));
        rig.up.tasks.give(body(vec![b'd'; 10_000], false));
    }
    assert!(rig.settle_if_woken().is_none());
    assert_eq!(
        rig.down.out.delivered.len(),
        1_000_004,
        "the download went on"
    );
    rig.up.out.grant(usize::MAX);
    assert!(rig.settle_if_woken().is_none());
    assert_eq!(rig.up.out.delivered.len(), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn others_get_their_turn_after_so_many_events() {
    for (size, most) in [(1, 32), (32 * 1024, 8), (300 * 1024, 1)] {
        let mut rig = Rig::new(Limits::default());
        rig.down.out.grant(usize::MAX);
        rig.up.tasks.give(head(200, false));
        for _ in 0..200 {
            rig.up.tasks.give(body(vec![b'x'; size], false));
        }
        assert!(rig.woken());
        let mut events = 0;
        while let Poll::Ready(event) = rig.poll() {
            rig.apply(event);
            events += 1;
            assert!(events <= most + 1, "{size}");
        }
        assert!(events >= most.min(8), "{events} events of {size} bytes");
        assert!(rig.woken(), "it comes back by itself");
        assert!(rig.settle().is_none());
        assert_eq!(rig.up.tasks.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn neither_side_starves_the_other() {
    let mut rig = Rig::new(Limits::default());
    rig.up.announces = false;
    rig.down.out.grant(usize::MAX);
    rig.up.out.grant(usize::MAX);
    rig.up.tasks.give(head(200, false));
    for _ in 0..100 {
        rig.down.body.give(piece("u"));
        rig.up.tasks.give(body("d", false));
    }
    for _ in 0..40 {
        if let Poll::Ready(event) = rig.poll() {
            rig.apply(event);
        }
    }
    let (up, down) = (100 - rig.down.body.len(), 100 - rig.up.tasks.len());
    assert!(up > 10 && down > 10, "{up} pieces up, {down} down");
}

#[tokio::test(start_paused = true)]
async fn a_piece_announced_in_error_keeps_nobody_waiting() {
    let mut rig = Rig::new(every(5));
    rig.up.lies = true;
    rig.down.body.give(piece("ask"));
    rig.up.out.grant(3);
    assert!(rig.settle_if_woken().is_none());
    assert_eq!(rig.up.out.delivered, b"ask");
    assert!(expires(&mut rig, 60).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_while_the_server_thinks() {
    let mut rig = Rig::new(Limits::default());
    rig.down.body.give(Ok(None));
    assert!(rig.settle_if_woken().is_none());
    rig.down.gone.give(());
    assert!(matches!(
        rig.settle_if_woken(),
        Some(Event::Failed(Failure::DownstreamFailed(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_in_the_middle_of_its_body() {
    let mut rig = Rig::new(Limits::default());
    rig.up.tasks.give(head(200, false));
    assert!(rig.settle_if_woken().is_none());
    rig.down
        .body
        .give(Error::err_down(ErrorType::ConnectionClosed));
    assert!(matches!(
        rig.settle_if_woken(),
        Some(Event::Failed(Failure::DownstreamFailed(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_server_is_told() {
    let mut rig = Rig::new(Limits::default());
    rig.up
        .tasks
        .give(Error::err_up(ErrorType::ConnectionClosed));
    assert!(matches!(
        rig.settle_if_woken(),
        Some(Event::Failed(Failure::UpstreamFailed(_)))
    ));
    let mut rig = Rig::new(Limits::default());
    rig.up.tasks.give(Ok(HttpTask::Failed(Error::new_up(
        ErrorType::ConnectionClosed,
    ))));
    assert!(matches!(
        rig.settle_if_woken(),
        Some(Event::Failed(Failure::UpstreamFailed(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_is_delivered_although_the_request_cannot_be() {
    let mut rig = Rig::new(every(60));
    rig.down.out.grant(100);
    rig.down.body.give(piece(vec![b'x'; 100_000]));
    assert!(rig.settle_if_woken().is_none());
    rig.up.out.break_down();
    rig.down.body.give(piece("more"));
    assert!(rig.settle_if_woken().is_none(), "not the end");
    assert_eq!(rig.down.body.len(), 1, "no more of the body is read");
    rig.up.tasks.give(head(413, true));
    assert!(matches!(rig.settle_if_woken(), Some(Event::Complete)));
    assert_eq!(rig.down.heads, [413]);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_ends_early_ends_the_upload() {
    let mut rig = Rig::new(every(60));
    rig.down.body.give(piece(vec![b'x'; 100_000]));
    rig.up.tasks.give(head(200, true));
    rig.down.out.grant(100);
    assert!(matches!(rig.settle_if_woken(), Some(Event::Complete)));
}

#[tokio::test(start_paused = true)]
async fn two_sides_that_wait_for_each_other_are_parted() {
    let mut rig = Rig::new(Limits::default());
    rig.up.tasks.give(head(200, false));
    for _ in 0..20 {
        rig.down.body.give(piece(vec![b'u'; 10_000]));
        rig.up.tasks.give(body(vec![b'd'; 10_000], false));
    }
    assert_eq!(expires(&mut rig, 200).await, Some((PROGRESS, 60)));
}

#[tokio::test(start_paused = true)]
async fn a_fair_amount_in_any_direction_is_progress_and_a_byte_is_none() {
    let mut rig = Rig::new(Limits::default());
    rig.up.tasks.give(head(200, false));
    for _ in 0..20 {
        rig.down.body.give(piece(vec![b'u'; 10_000]));
        rig.up.tasks.give(body(vec![b'd'; 10_000], false));
    }
    assert!(wait(&mut rig, 50).await.is_none());
    rig.down.out.grant(4096);
    assert!(wait(&mut rig, 50).await.is_none());
    rig.up.out.grant(4096);
    assert!(wait(&mut rig, 50).await.is_none());
    rig.up.out.grant(1);
    rig.down.out.grant(1);
    assert!(matches!(expires(&mut rig, 20).await, Some((PROGRESS, _))));
}

/// CVE-2026-49975: a window that opens by a byte now and then.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_drops_has_stalled_and_one_that_takes_little_has_not() {
    let slow = |amount| async move {
        let mut rig = Rig::new(Limits {
            downstream_write: Some(seconds(10)),
            ..Limits::default()
        });
        rig.up.tasks.give(head(200, false));
        rig.up.tasks.give(body(vec![b'd'; 60_000], true));
        for n in 0..20 {
            if wait(&mut rig, 2).await.is_some() {
                return Some(2 * (n + 1));
            }
            rig.down.out.grant(amount);
        }
        None
    };
    for drops in [1, 500] {
        let ended = slow(drops).await;
        assert!(matches!(ended, Some(10..=12)), "{drops}: {ended:?}");
    }
    assert_eq!(slow(2000).await, None);
}

/// A peer that takes all that waits has taken enough, even if that is one byte.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_everything_is_never_late() {
    let mut rig = Rig::new(Limits {
        downstream_write: Some(seconds(10)),
        ..Limits::default()
    });
    rig.down.out.grant(4);
    rig.up.tasks.give(head(200, false));
    for _ in 0..10 {
        assert!(wait(&mut rig, 4).await.is_none());
        rig.up.tasks.give(body("d", false));
        assert!(wait(&mut rig, 4).await.is_none());
        rig.down.out.grant(1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_is_read_as_far_as_the_client_may_be_read_ahead_of() {
    let mut rig = Rig::new(Limits::default());
    for limit in [usize::MAX, 4096] {
        rig.down.read_ahead = limit;
        rig.up.tasks.give(head(100, false));
        assert!(wait(&mut rig, 1).await.is_none());
        assert_eq!(rig.up.limit, limit);
    }
}

/// As for clients: see `is_stalled` of both halves.
#[tokio::test(start_paused = true)]
async fn nothing_is_read_for_a_server_that_has_stalled() {
    let mut rig = Rig::new(Limits::default());
    rig.up.stalled = true;
    rig.down.body.give(piece("u"));
    assert!(wait(&mut rig, 1).await.is_none());
    assert_eq!(rig.down.body.len(), 1);
    rig.up.stalled = false;
    rig.up.out.grant(1);
    rig.down.body.give(piece("v"));
    rig.up.tasks.give(head(100, false));
    assert!(wait(&mut rig, 1).await.is_none());
    assert_eq!(rig.down.body.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_anything_to_write_an_exchange_may_wait_for_ever() {
    let mut rig = Rig::new(Limits::default());
    rig.down.body.give(Ok(None));
    rig.up.out.grant(100);
    assert!(wait(&mut rig, 10_000).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn each_direction_has_its_own_limit() {
    let only = |kind| {
        let limit = Some(seconds(5));
        let mut limits = Limits::default();
        match kind {
            DOWNSTREAM_READ => limits.downstream_read = limit,
            DOWNSTREAM_WRITE => limits.downstream_write = limit,
            UPSTREAM_READ => limits.upstream_read = limit,
            _ => limits.upstream_write = limit,
        }
        limits
    };
    for kind in [
        DOWNSTREAM_READ,
        DOWNSTREAM_WRITE,
        UPSTREAM_READ,
        UPSTREAM_WRITE,
    ] {
        let mut rig = Rig::new(only(kind));
        rig.down.body.give(piece("u"));
        rig.up.tasks.give(head(200, false));
        assert_eq!(expires(&mut rig, 50).await, Some((kind, 5)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_counts_from_the_last_byte() {
    let mut rig = Rig::new(every(10));
    rig.down.out.grant(1000);
    rig.up.out.grant(1000);
    rig.up.tasks.give(head(200, false));
    for _ in 0..10 {
        assert!(wait(&mut rig, 8).await.is_none());
        rig.down.body.give(piece("u"));
        rig.up.tasks.give(body("d", false));
    }
    assert!(wait(&mut rig, 8).await.is_none());
    rig.down.body.give(piece("u"));
    assert!(wait(&mut rig, 1).await.is_none());
    assert!(matches!(
        expires(&mut rig, 5).await,
        Some((UPSTREAM_READ, _))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_server_is_not_late_while_it_is_still_being_asked() {
    let mut rig = Rig::new(Limits {
        upstream_read: Some(seconds(10)),
        ..Limits::default()
    });
    rig.up.out.grant(usize::MAX);
    for _ in 0..10 {
        rig.down.body.give(piece("more"));
        assert!(wait(&mut rig, 8).await.is_none(), "the upload is under way");
    }
    rig.down.body.give(Ok(None));
    assert!(matches!(
        expires(&mut rig, 30).await,
        Some((UPSTREAM_READ, _))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_permission_is_not_late_but_the_server_may_be() {
    let mut rig = Rig::new(Limits {
        upstream_read: None,
        ..every(10)
    });
    rig.down.permission = true;
    assert!(wait(&mut rig, 100).await.is_none());
    let mut rig = Rig::new(every(10));
    rig.down.permission = true;
    assert_eq!(expires(&mut rig, 50).await, Some((UPSTREAM_READ, 10)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_not_the_servers_fault() {
    let mut rig = Rig::new(Limits {
        downstream_read: Some(seconds(30)),
        ..every(10)
    });
    rig.up.out.grant(usize::MAX);
    rig.down.body.give(piece("begun"));
    assert_eq!(expires(&mut rig, 50).await, Some((DOWNSTREAM_READ, 30)));
}

#[tokio::test(start_paused = true)]
async fn a_delay_holds_the_response_and_nothing_else() {
    let mut rig = Rig::new(every(60));
    rig.down.out.grant(1000);
    rig.up.out.grant(1000);
    rig.up.tasks.give(head(200, false));
    assert!(rig.settle_if_woken().is_none());
    rig.turn.delay_response(seconds(30));
    rig.delayed = true;
    rig.up.tasks.give(body("late", true));
    rig.down.body.give(piece("up"));
    assert!(wait(&mut rig, 29).await.is_none());
    assert_eq!(
        (&rig.up.out.delivered[..], rig.up.tasks.len()),
        (&b"up"[..], 1)
    );
    assert!(matches!(
        wait(&mut rig, 3).await,
        Some((Event::Complete, _))
    ));
    assert_eq!(rig.down.out.delivered, b"headlate");
    rig.turn.delay_response(Duration::MAX);
}

#[tokio::test(start_paused = true)]
async fn a_delay_longer_than_the_limits_is_nobodys_fault() {
    let mut rig = Rig::new(Limits {
        downstream_read: None,
        ..every(5)
    });
    rig.down.out.grant(1000);
    rig.up.tasks.give(head(200, false));
    assert!(rig.settle_if_woken().is_none());
    rig.turn.delay_response(seconds(100));
    rig.delayed = true;
    rig.up.tasks.give(body("late", true));
    assert!(wait(&mut rig, 99).await.is_none());
    assert!(matches!(
        wait(&mut rig, 3).await,
        Some((Event::Complete, _))
    ));
}

#[tokio::test(start_paused = true)]
async fn the_time_that_the_server_kept_bytes_waiting_is_counted() {
    let mut rig = Rig::new(Limits::default());
    rig.down.body.give(piece("up"));
    assert!(wait(&mut rig, 10).await.is_none());
    rig.up.out.grant(2);
    assert!(rig.settle_if_woken().is_none());
    assert_eq!(rig.turn.take_write_pending().as_secs(), 10);
    assert!(wait(&mut rig, 10).await.is_none());
    assert_eq!(rig.turn.take_write_pending().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_more_is_told() {
    let mut rig = Rig::new(Limits::default());
    rig.up.tasks.give(head(200, false));
    assert!(rig.settle_if_woken().is_none());
    rig.down.out.break_down();
    assert!(matches!(
        rig.settle_if_woken(),
        Some(Event::Failed(Failure::DownstreamUnwritable(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_leaves_with_what_comes_next_or_at_once() {
    let mut rig = Rig::new(Limits::default());
    rig.down.out.grant(1000);
    rig.up.out.grant(1000);
    rig.down.body.give(Ok(None));
    rig.up.announces = false;
    rig.up.tasks.give(head(200, false));
    assert!(matches!(rig.poll(), Poll::Ready(Event::Body(None))));
    rig.up.queue_end(None).unwrap();
    rig.exchange.request_ended();
    assert!(matches!(
        rig.poll(),
        Poll::Ready(Event::Task(HttpTask::Header(..)))
    ));
    rig.down.queue(head(200, false).unwrap()).unwrap();
    rig.turn.hold_back();
    rig.up.tasks.give(body("a", false));
    assert!(matches!(
        rig.poll(),
        Poll::Ready(Event::Task(HttpTask::Body(..)))
    ));
    assert!(rig.down.out.delivered.is_empty(), "nothing was written");
    rig.turn.hold_back();
    assert!(matches!(rig.poll(), Poll::Ready(Event::Held)));
    assert!(rig.down.out.delivered.is_empty(), "the flow comes first");
    assert!(rig.poll().is_pending());
    assert_eq!(rig.down.out.delivered, b"head");
}

#[tokio::test(start_paused = true)]
async fn a_response_is_read_on_for_others_after_its_client_has_left() {
    let mut rig = Rig::new(every(10));
    rig.up.out.grant(1000);
    rig.down.body.give(Ok(None));
    rig.up.tasks.give(head(200, false));
    rig.up.tasks.give(body(vec![b'x'; QUEUE_MARK], false));
    assert!(rig.settle().is_none(), "the client takes nothing");
    assert!(rig.down.queued() >= QUEUE_MARK);
    rig.exchange.client_left();
    rig.up.tasks.give(body("more", false));
    assert!(rig.settle().is_none());
    assert_eq!(rig.up.tasks.len(), 0, "it was read");
    assert!(
        wait(&mut rig, 9).await.is_none(),
        "the client's limits do not count any more"
    );
    assert!(matches!(
        expires(&mut rig, 5).await,
        Some((UPSTREAM_READ, _))
    ));
    rig.exchange.response_ended();
    assert!(matches!(rig.poll(), Poll::Ready(Event::Complete)));
}

#[tokio::test(start_paused = true)]
async fn a_half_that_keeps_what_it_could_not_write_is_not_asked_for_ever() {
    let mut rig = Rig::new(Limits::default());
    rig.up.out.keeps = true;
    rig.up.out.break_down();
    rig.down.body.give(piece("u"));
    assert!(rig.settle().is_none(), "it waits for the response");
    assert!(rig.up.wants_flush());
    rig.up.tasks.give(head(413, true));
    rig.down.out.grant(1000);
    assert!(matches!(rig.settle(), Some(Event::Complete)));
}
