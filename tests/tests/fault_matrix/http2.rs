//! The origin over HTTP/2.

use super::cases::{Case, Fault, Point};
use super::{Told, reply};
use pingora_tests::http2::RawHttp2;
use pingora_tests::http2::frames::{self, Frame, kind};
use pingora_tests::{Origin, PATIENCE};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const DRIP: Duration = Duration::from_millis(20);
const WINDOW: u32 = 1 << 20;
const INITIAL_WINDOW_SIZE: u16 = 4;
const INTERNAL_ERROR: u32 = 2;

pub(super) async fn origin(case: Option<Case>, told: Arc<Told>) -> Origin {
    if let Some(case) = case.filter(|case| case.point == Point::Accepted) {
        // Only the first connection has the fault; the others are scripted, too.
        let index = Arc::new(AtomicUsize::new(0));
        return Origin::scripted(move |connection, _| {
            let (told, index) = (told.clone(), index.clone());
            async move {
                match index.fetch_add(1, Ordering::SeqCst) {
                    0 => super::http1::serve(connection, Some(case), told).await,
                    _ => {
                        let stream = connection.into_stream();
                        let raw = RawHttp2::server(stream, &[(INITIAL_WINDOW_SIZE, WINDOW)]);
                        if let Some(raw) = raw.await {
                            Serving::new(raw, None, told).run().await;
                        }
                    }
                }
            }
        })
        .await;
    }
    Origin::http2_scripted(&[(INITIAL_WINDOW_SIZE, WINDOW)], move |raw, index| {
        let case = case.filter(|_| index == 0);
        let told = told.clone();
        async move {
            Serving::new(raw, case, told.clone()).run().await;
            if case.is_some() {
                told.let_go.store(true, Ordering::SeqCst);
            }
        }
    })
    .await
}

/// A connection. The fault occurs on the first stream.
struct Serving {
    raw: RawHttp2,
    case: Option<Case>,
    told: Arc<Told>,
    bodies: HashMap<u32, Vec<u8>>,
    /// The stream with the fault.
    chosen: Option<u32>,
    has_failed: bool,
}

/// How to continue with a connection.
enum Left {
    Open(RawHttp2),
    Nothing,
}

impl Serving {
    fn new(raw: RawHttp2, case: Option<Case>, told: Arc<Told>) -> Self {
        Serving {
            raw,
            case,
            told,
            bodies: HashMap::new(),
            chosen: None,
            has_failed: false,
        }
    }

    async fn run(mut self) {
        let _ = self.raw.try_send([Frame::window_update(0, WINDOW)]).await;
        loop {
            let frame = match self.drips() {
                None => self.raw.frame_within(PATIENCE).await,
                Some(drip) => match self.raw.frame_within(DRIP).await {
                    Err(_) if self.raw.try_send([drip]).await.is_err() => return,
                    Err(_) => continue,
                    next => next,
                },
            };
            let Ok(Some(frame)) = frame else {
                return;
            };
            let number = frame.stream;
            match frame.kind {
                kind::HEADERS => {
                    if let (Some(_), None) = (self.case, self.chosen) {
                        self.chosen = Some(number);
                    }
                    self.bodies.insert(number, Vec::new());
                }
                kind::DATA => {
                    let body = self.bodies.entry(number).or_default();
                    body.extend_from_slice(&frame.payload);
                }
                kind::RST_STREAM if self.chosen == Some(number) => {
                    self.chosen = Some(0);
                    self.told.let_go.store(true, Ordering::SeqCst);
                }
                _ => continue,
            }
            let ended = frame.kind != kind::RST_STREAM && frame.ends_stream();
            let is_chosen = self.chosen == Some(number) && !self.has_failed;
            match self.case {
                Some(case) if is_chosen => {
                    let reached =
                        case.point == Point::Request && self.bodies[&number].len() >= 5000;
                    if reached || ended {
                        self.has_failed = true;
                        match fail(self.raw, number, case, &self.told).await {
                            Left::Open(raw) => self.raw = raw,
                            Left::Nothing => return,
                        }
                    }
                }
                _ if ended && self.chosen != Some(number) => self.echo(number).await,
                _ => {}
            }
        }
    }

    /// The frame that is sent repeatedly, if any.
    fn drips(&self) -> Option<Frame> {
        let case = self.case.filter(|case| case.fault == Fault::Trickle)?;
        let stream = self.chosen.filter(|it| *it != 0 && self.has_failed)?;
        Some(if case.is_begun() {
            Frame::data(stream, "x", false)
        } else {
            Frame::ping(7)
        })
    }

    async fn echo(&mut self, stream: u32) {
        let body = self.bodies.remove(&stream).unwrap_or_default();
        let head = Frame::headers(stream, frames::block(&[(":status", "200")]), false);
        let frames = [head, Frame::data(stream, reply(&body), true)];
        let _ = self.raw.try_send(frames).await;
    }
}

fn head(stream: u32, fields: &[(&str, &str)]) -> Frame {
    Frame::headers(stream, frames::block(fields), false)
}

fn beginning(stream: u32, case: Case) -> Vec<Frame> {
    let lengthy = head(stream, &[(":status", "200"), ("content-length", "100000")]);
    match case.point {
        Point::Request => {
            let early = |status| {
                vec![
                    head(stream, &[(":status", status), ("content-length", "5")]),
                    Frame::data(stream, "early", true),
                ]
            };
            match case.fault {
                Fault::Early | Fault::EarlyClose => early("413"),
                Fault::Busy => early("503"),
                _ => Vec::new(),
            }
        }
        // A field block that never ends.
        Point::Head => vec![Frame::new(kind::HEADERS, 0, stream, [0x88])],
        Point::Interim => vec![head(stream, &[(":status", "103"), ("link", "</a>")])],
        Point::Begun => vec![lengthy],
        Point::Body if case.fault == Fault::Long => vec![
            head(stream, &[(":status", "200"), ("content-length", "5")]),
            Frame::data(stream, "1234", false),
        ],
        Point::Body => vec![lengthy, Frame::data(stream, "12345", false)],
        Point::End => vec![
            head(stream, &[(":status", "200")]),
            Frame::data(stream, "12345", false),
        ],
        Point::After => vec![
            head(stream, &[(":status", "200"), ("content-length", "5")]),
            Frame::data(stream, "12345", true),
        ],
        Point::Accepted | Point::Asked => Vec::new(),
    }
}

async fn fail(mut raw: RawHttp2, stream: u32, case: Case, told: &Told) -> Left {
    let _ = raw.try_send(beginning(stream, case)).await;
    told.reached.notify_one();
    if case.is_begun() {
        told.head_seen.notified().await;
    }
    let last = match case.fault {
        Fault::Reset => {
            raw.reset();
            return Left::Nothing;
        }
        Fault::Close | Fault::EarlyClose => return Left::Nothing,
        Fault::ResetStream => vec![Frame::reset(stream, INTERNAL_ERROR)],
        Fault::Short => vec![Frame::data(stream, "", true)],
        Fault::Long => vec![Frame::data(stream, "poison", true)],
        Fault::Stall | Fault::Trickle | Fault::Early | Fault::Busy => Vec::new(),
    };
    let _ = raw.try_send(last).await;
    Left::Open(raw)
}
