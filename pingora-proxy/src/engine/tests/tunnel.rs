//! Tunnels: each direction ends by itself.

use super::super::deadline::*;
use super::super::turn::{Event, Failure, Limits};
use super::fakes::*;
use super::turn::*;
use pingora_core::protocols::http::HttpTask;

/// An exchange that has just become a tunnel.
fn tunnel() -> Rig {
    tunnel_within(every(5))
}

fn tunnel_within(limits: Limits) -> Rig {
    let mut rig = Rig::new(limits);
    rig.down.body.give(Ok(None));
    rig.down.out.grant(usize::MAX);
    rig.up.out.grant(usize::MAX);
    assert!(rig.settle_if_woken().is_none());
    rig.up.tasks.give(head(101, false));
    assert!(rig.settle_if_woken().is_none());
    assert!(rig.exchange.tunnel);
    rig
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_ends_in_each_direction_by_itself() {
    let mut rig = tunnel();
    rig.down.body.give(piece("up"));
    rig.down.body.give(Ok(None));
    assert!(rig.settle_if_woken().is_none(), "half of it is still open");
    assert_eq!(
        (&rig.up.out.delivered[..], rig.up.out.ended),
        (&b"up"[..], true)
    );
    rig.up.tasks.give(raw("down"));
    assert!(rig.settle_if_woken().is_none());
    rig.up.tasks.give(Ok(HttpTask::UpgradedBody(None, true)));
    assert!(matches!(rig.settle_if_woken(), Some(Event::Complete)));
    assert_eq!(rig.down.out.delivered, b"headdown");

    let mut rig = tunnel();
    rig.up.tasks.give(Ok(HttpTask::UpgradedBody(None, true)));
    assert!(rig.settle_if_woken().is_none());
    rig.down.body.give(piece("late"));
    assert!(rig.settle_if_woken().is_none());
    assert_eq!(rig.up.out.delivered, b"late");
    rig.down.body.give(Ok(None));
    assert!(matches!(rig.settle_if_woken(), Some(Event::Complete)));
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_in_a_tunnel_leaves_before_it_ends() {
    let mut rig = Rig::new(Limits::default());
    rig.down.body.give(Ok(None));
    assert!(rig.settle_if_woken().is_none());
    rig.up.tasks.give(head(101, false));
    assert!(rig.settle_if_woken().is_none());
    rig.down.body.give(piece("up"));
    rig.down.body.give(Ok(None));
    rig.up.tasks.give(raw("down"));
    rig.up.tasks.give(Ok(HttpTask::UpgradedBody(None, true)));
    assert!(rig.settle_if_woken().is_none());
    rig.down.out.grant(usize::MAX);
    assert!(
        rig.settle_if_woken().is_none(),
        "the server has not got it all"
    );
    rig.up.out.grant(usize::MAX);
    assert!(matches!(rig.settle_if_woken(), Some(Event::Complete)));
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_is_closed_late_and_a_half_closed_one_sooner() {
    let mut rig = Rig::new(Limits::default());
    rig.down.body.give(Ok(None));
    assert!(rig.settle_if_woken().is_none());
    rig.up.tasks.give(head(101, false));
    rig.down.out.grant(usize::MAX);
    assert_eq!(expires(&mut rig, 4000).await, Some((TUNNEL_IDLE, 3600)));
    let ends: [fn(&mut Rig); 2] = [
        |rig| rig.up.tasks.give(Ok(HttpTask::UpgradedBody(None, true))),
        |rig| rig.down.body.give(Ok(None)),
    ];
    for end in ends {
        let mut rig = tunnel_within(Limits::default());
        end(&mut rig);
        let expired = expires(&mut rig, 4000).await;
        assert!(
            matches!(expired, Some((TUNNEL_IDLE, 60..=61))),
            "{expired:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_a_tunnel_ends_it() {
    let mut rig = Rig::new(Limits::default());
    rig.down.body.give(Ok(None));
    assert!(rig.settle_if_woken().is_none());
    rig.up.tasks.give(head(101, false));
    rig.down.body.give(piece("x"));
    assert!(rig.settle_if_woken().is_none());
    rig.up.out.break_down();
    assert!(matches!(
        rig.settle_if_woken(),
        Some(Event::Failed(Failure::UpstreamUnwritable(_)))
    ));
}
