//! Events in any order: the bytes that come out are those that went in, and every waiting side is woken.

use super::super::turn::{Event, Limits, QUEUE_MARK};
use super::fakes::*;
use pingora_core::protocols::http::HttpTask;
use std::time::Duration;
use tokio::time::advance;

struct Script {
    random: fastrand::Rng,
    tunnel: bool,
    /// The pieces of the body that are still to come.
    upload: Vec<Vec<u8>>,
    download: Vec<Vec<u8>>,
    head_sent: bool,
    request_ended: bool,
    response_ended: bool,
}

fn pieces(random: &mut fastrand::Rng, marker: u8) -> Vec<Vec<u8>> {
    let largest = *random.choice(&[3, 500, 20_000, 90_000]).unwrap();
    (0..random.usize(0..12))
        .map(|n| vec![marker + n as u8; random.usize(1..=largest)])
        .collect()
}

impl Script {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (upload, download) = (pieces(&mut random, b'A'), pieces(&mut random, b'a'));
        Script {
            tunnel: random.u8(0..4) == 0,
            random,
            upload,
            download,
            head_sent: false,
            request_ended: false,
            response_ended: false,
        }
    }

    fn client_sends(&mut self, rig: &mut Rig) {
        if self.request_ended || self.tunnel && !self.head_sent {
            return;
        }
        if self.upload.is_empty() {
            self.request_ended = true;
            rig.down.body.give(Ok(None));
        } else {
            rig.down.body.give(piece(self.upload.remove(0)));
        }
    }

    fn server_sends(&mut self, rig: &mut Rig) {
        if self.response_ended {
            return;
        }
        if !self.head_sent {
            self.head_sent = true;
            if self.tunnel {
                rig.down.body.give(Ok(None));
                rig.settle_if_woken();
            }
            rig.up
                .tasks
                .give(head(if self.tunnel { 101 } else { 200 }, false));
        } else if self.download.is_empty() {
            // A plain exchange would be over with the response: the request comes first.
            if self.request_ended && rig.up.out.ended {
                self.response_ended = true;
                rig.up.tasks.give(if self.tunnel {
                    Ok(HttpTask::UpgradedBody(None, true))
                } else {
                    Ok(HttpTask::Done)
                });
            }
        } else {
            let data = self.download.remove(0);
            rig.up.tasks.give(if self.tunnel {
                raw(data)
            } else {
                body(data, false)
            });
        }
    }

    async fn step(&mut self, rig: &mut Rig) {
        match self.random.u8(0..7) {
            0 => self.client_sends(rig),
            1 => self.server_sends(rig),
            2 => rig.down.out.grant(self.random.usize(1..30_000)),
            3 => rig.up.out.grant(self.random.usize(1..30_000)),
            4 => {
                rig.down.out.grant(1);
                rig.up.out.grant(1);
            }
            5 if self.random.u8(0..4) == 0 => {
                rig.turn
                    .delay_response(Duration::from_millis(self.random.u64(0..20)));
                rig.delayed = true;
            }
            5 => {}
            _ => advance(Duration::from_millis(self.random.u64(0..30))).await,
        }
    }
}

async fn play(seed: u64) {
    let mut script = Script::new(seed);
    let mut rig = Rig::new(Limits::default());
    rig.up.announces = script.random.bool();
    let sent = (script.upload.concat(), script.download.concat());
    let mut ended = None;
    for _ in 0..200 {
        script.step(&mut rig).await;
        ended = ended.or(rig.settle_if_woken());
    }
    rig.down.out.grant(usize::MAX);
    rig.up.out.grant(usize::MAX);
    for _ in 0..2000 {
        script.client_sends(&mut rig);
        script.server_sends(&mut rig);
        advance(Duration::from_millis(5)).await;
        ended = ended.or(rig.settle_if_woken());
        if ended.is_some() {
            break;
        }
    }
    assert!(
        matches!(ended, Some(Event::Complete)),
        "seed {seed}: {ended:?}"
    );
    assert!(
        rig.up.out.delivered == sent.0,
        "seed {seed}: the upload changed"
    );
    assert_eq!(&rig.down.out.delivered[..4], b"head");
    assert!(
        rig.down.out.delivered[4..] == sent.1,
        "seed {seed}: the download changed"
    );
    for pipe in [&rig.up.out, &rig.down.out] {
        assert!(
            pipe.most_waiting < QUEUE_MARK + pipe.largest_piece.max(1),
            "seed {seed}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn any_order_of_events_carries_the_same_bytes() {
    for seed in 0..400 {
        play(seed).await;
    }
}
