//! Feeds the same bytes to our server and to a server of the `h2` crate, frame by frame, and compares
//! their verdicts. The fuzz target `http2_oracle` and the test `oracle` use it.

use bytes::{Bytes, BytesMut};
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, Response, StatusCode};
use pingora_h2::frame::{Frame, PREFACE, Reader, ReaderLimits, Role};
use pingora_h2::machine::{Config, Key, Machine, Received};
use pingora_h2::{Head, Reason};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The concurrent streams and the header list size, in bytes, that both announce.
const STREAMS: u32 = 100;
const LIST: u32 = 65_536;

/// A server's reaction to a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The frame is valid, or ignored.
    Nothing,
    /// RST_STREAM: the stream, and the code.
    Stream(u32, u32),
    /// GOAWAY with this code, and the end of the connection.
    Connection(u32),
}

/// The part of a request that the program received.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    method: String,
    path: Option<String>,
    fields: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
    ended: bool,
}

/// All reactions of one server to one frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// Acknowledgements of SETTINGS and PING.
    answers: Vec<String>,
    /// By stream; streams that were reset are left out.
    requests: BTreeMap<u32, Seen>,
}

/// Whether a request is answered at once; the others are left open.
fn is_answered(stream: u32) -> bool {
    (stream / 2).is_multiple_of(2)
}

/// The output of a server, as frames.
struct Log {
    reader: Reader,
    buffer: BytesMut,
    reset: Vec<u32>,
    /// In an orderly way.
    ended: bool,
}

impl Log {
    fn new() -> Self {
        Log {
            reader: Reader::new(Role::Client, ReaderLimits::default()),
            buffer: BytesMut::new(),
            reset: vec![],
            ended: false,
        }
    }

    fn outcome(&mut self, written: &[u8], all: &BTreeMap<u32, Seen>) -> Outcome {
        self.buffer.extend_from_slice(written);
        let mut verdict = Verdict::Nothing;
        let mut answers = vec![];
        while let Some(frame) = self.reader.next(&mut self.buffer).expect("a sound frame") {
            let found = match frame {
                Frame::Reset { stream, reason } => {
                    self.reset.push(stream.get());
                    Verdict::Stream(stream.get(), reason.into())
                }
                Frame::GoAway(go_away) if go_away.reason == Reason::NO_ERROR => {
                    self.ended = true;
                    continue;
                }
                Frame::GoAway(go_away) => Verdict::Connection(go_away.reason.into()),
                Frame::SettingsAck => {
                    answers.push("SETTINGS".to_owned());
                    continue;
                }
                Frame::Ping { ack: true, payload } => {
                    answers.push(format!("{payload:?}"));
                    continue;
                }
                _ => continue,
            };
            if verdict == Verdict::Nothing || matches!(found, Verdict::Connection(_)) {
                verdict = found;
            }
        }
        let mut requests = all.clone();
        requests.retain(|stream, _| !self.reset.contains(stream));
        Outcome {
            verdict,
            answers,
            requests,
        }
    }
}

/// The machine as a server.
struct Ours {
    machine: Machine,
    input: BytesMut,
    now: Instant,
    keys: Vec<Key>,
    seen: BTreeMap<u32, Seen>,
    log: Log,
}

impl Ours {
    fn new() -> Self {
        let now = Instant::now();
        let mut config = Config::new(Role::Server);
        config.settings.max_concurrent_streams = Some(STREAMS);
        config.settings.max_header_list_size = Some(LIST);
        Ours {
            machine: Machine::new(config, now),
            input: BytesMut::new(),
            now,
            keys: vec![],
            seen: BTreeMap::new(),
            log: Log::new(),
        }
    }

    fn accept(&mut self, key: Key, head: Head) {
        if head.fault.is_some() || is_answered(key.id()) {
            let response = Head::response(StatusCode::OK, HeaderMap::new());
            self.machine.respond(key, response, true);
        }
        if head.fault.is_some() {
            return;
        }
        let text = |text: &Bytes| String::from_utf8_lossy(text).into_owned();
        let seen = Seen {
            method: head
                .pseudo
                .method
                .map(|m| m.to_string())
                .unwrap_or_default(),
            path: head.pseudo.path.as_ref().map(text),
            fields: head.fields,
            body: vec![],
            trailers: HeaderMap::new(),
            ended: false,
        };
        self.keys.push(key);
        self.seen.insert(key.id(), seen);
    }

    fn step(&mut self, bytes: &[u8]) -> Outcome {
        let now = self.now;
        self.input.extend_from_slice(bytes);
        self.machine.handle_input(&mut self.input, &|| now);
        while let Some((key, head)) = self.machine.poll_request() {
            self.accept(key, *head);
        }
        for key in &self.keys {
            let Some(seen) = self.seen.get_mut(&key.id()) else {
                continue;
            };
            loop {
                match self.machine.receive(*key) {
                    Received::Data(data) => {
                        self.machine.release(*key, data.len());
                        seen.body.extend_from_slice(&data);
                    }
                    Received::Trailers(trailers) => seen.trailers = *trailers,
                    Received::End => {
                        seen.ended = true;
                        break;
                    }
                    _ => break,
                }
            }
        }
        while self.machine.poll_woken().is_some() {}
        let mut written = vec![];
        while self.machine.wants_output() && !self.machine.is_over() {
            self.machine.poll_output(&mut written, usize::MAX, &|| now);
        }
        self.log.outcome(&written, &self.seen)
    }
}

/// A connection in memory.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<(BytesMut, Vec<u8>)>>);

impl Pipe {
    /// Changes with every byte that moves.
    fn state(&self) -> (usize, usize) {
        let pipe = self.0.borrow();
        (pipe.0.len(), pipe.1.len())
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let incoming = &mut self.0.borrow_mut().0;
        if incoming.is_empty() {
            return Poll::Pending;
        }
        let length = incoming.len().min(buffer.remaining());
        buffer.put_slice(&incoming.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().1.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

type Handshake = Pin<Box<dyn Future<Output = Result<Connection<Pipe, Bytes>, h2::Error>>>>;

enum Stage {
    Handshake(Handshake),
    Open(Box<Connection<Pipe, Bytes>>),
    Over,
}

/// The library as a server.
struct Theirs {
    pipe: Pipe,
    stage: Stage,
    /// Held, so that the library resets nothing by itself.
    streams: Vec<(u32, h2::RecvStream, SendResponse<Bytes>)>,
    seen: BTreeMap<u32, Seen>,
    log: Log,
}

impl Theirs {
    fn new() -> Self {
        let pipe = Pipe::default();
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(LIST);
        let handshake = builder.handshake(pipe.clone());
        Theirs {
            stage: Stage::Handshake(Box::pin(handshake)),
            pipe,
            streams: vec![],
            seen: BTreeMap::new(),
            log: Log::new(),
        }
    }

    fn accept(&mut self, request: http::Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
        let stream = respond.stream_id().as_u32();
        let (head, body) = request.into_parts();
        if is_answered(stream) {
            let _ = respond.send_response(Response::new(()), true);
        }
        let path = head.uri.path_and_query().map(|path| path.to_string());
        let seen = Seen {
            method: head.method.to_string(),
            path,
            fields: head.headers,
            body: vec![],
            trailers: HeaderMap::new(),
            ended: false,
        };
        self.seen.insert(stream, seen);
        self.streams.push((stream, body, respond));
    }

    /// Polls the connection once; returns whether that produced a request.
    fn look(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.stage {
            Stage::Handshake(handshake) => match handshake.as_mut().poll(cx) {
                Poll::Ready(Ok(connection)) => self.stage = Stage::Open(Box::new(connection)),
                Poll::Ready(Err(_)) => self.stage = Stage::Over,
                Poll::Pending => return false,
            },
            Stage::Open(connection) => match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.accept(request, respond),
                Poll::Ready(_) => self.stage = Stage::Over,
                Poll::Pending => return false,
            },
            Stage::Over => return false,
        }
        true
    }

    fn read(&mut self, cx: &mut Context<'_>) {
        for (stream, body, _) in &mut self.streams {
            let Some(seen) = self.seen.get_mut(stream) else {
                continue;
            };
            while let Poll::Ready(Some(Ok(data))) = body.poll_data(cx) {
                let _ = body.flow_control().release_capacity(data.len());
                seen.body.extend_from_slice(&data);
            }
            if let Poll::Ready(Ok(trailers)) = body.poll_trailers(cx) {
                seen.trailers.extend(trailers.unwrap_or_default());
                seen.ended = true;
            }
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Outcome {
        self.pipe.0.borrow_mut().0.extend_from_slice(bytes);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let before = self.pipe.state();
            let moved = self.look(&mut cx);
            self.read(&mut cx);
            if !moved && self.pipe.state() == before {
                break;
            }
        }
        let written = std::mem::take(&mut self.pipe.0.borrow_mut().1);
        self.log.outcome(&written, &self.seen)
    }
}

/// The first difference.
#[derive(Debug)]
pub(crate) struct Difference {
    /// How many frames came before.
    pub(crate) place: usize,
    pub(crate) frame: Vec<u8>,
    /// A field block has begun but not ended.
    pub(crate) in_block: bool,
    /// We had reset the frame's stream before.
    pub(crate) was_reset: bool,
    pub(crate) ours: Outcome,
    pub(crate) theirs: Outcome,
}

/// The last five bytes of a frame's head: flags, and the stream.
fn flags_and_stream(frame: &[u8]) -> (u8, u32) {
    match *frame {
        [_, _, _, _, flags, a, b, c, d, ..] => (flags, u32::from_be_bytes([a, b, c, d])),
        _ => (0, 0),
    }
}

/// Feeds the frames to both, after a valid beginning. `Ok`: the number of frames on which they
/// agreed before the connection ended.
pub(crate) fn compare(frames: &[Vec<u8>]) -> Result<usize, Box<Difference>> {
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
    let (mut ours, mut theirs) = (Ours::new(), Theirs::new());
    let begin = [PREFACE, settings].concat();
    assert_eq!(ours.step(&begin), theirs.step(&begin), "the beginning");
    let mut in_block = false;
    for (place, frame) in frames.iter().enumerate() {
        let (flags, stream) = flags_and_stream(frame);
        let was_reset = ours.log.reset.contains(&stream);
        let outcomes = (ours.step(frame), theirs.step(frame));
        let ended = ours.log.ended || theirs.log.ended;
        let (ours, theirs) = outcomes;
        let ends = ended || matches!(ours.verdict, Verdict::Connection(_));
        if ours.verdict != theirs.verdict || !ends && ours != theirs {
            return Err(Box::new(Difference {
                place,
                frame: frame.clone(),
                in_block,
                was_reset,
                ours,
                theirs,
            }));
        }
        if ends {
            return Ok(place);
        }
        if matches!(frame.get(3), Some(1 | 9)) {
            in_block = flags & 4 == 0;
        }
    }
    Ok(frames.len())
}
