//! Pipes a sub-request's response into the response of its parent.
//!
//! The same engine that stands between a client and an upstream stands between the parent and the
//! sub-request: neither direction is read where the other end has no room, and a client that leaves
//! ends both.

use super::PreparedSubrequest;
use crate::Session;
use crate::engine::state::{Exchange, OnFailure, RequestFlow};
use crate::engine::turn::{Event, Limits, Turn};
use bytes::Bytes;
use http::{Method, StatusCode};
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use pingora_core::protocols::http::subrequest::CallerHalf;
use pingora_core::protocols::http::subrequest::server::SubrequestHandle;
use pingora_core::timeout::Deadline;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use std::fmt;
use std::future::poll_fn;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

/// A request's body, kept to be sent again.
///
/// All or nothing: where the body is longer than allowed, what was kept is dropped.
#[derive(Debug, Clone)]
pub struct SavedBody {
    pieces: Vec<Bytes>,
    bytes: usize,
    most: usize,
    truncated: bool,
    complete: bool,
}

impl SavedBody {
    /// Keeps up to `max_length` bytes.
    pub fn new(max_length: usize) -> Self {
        SavedBody {
            pieces: Vec::new(),
            bytes: 0,
            most: max_length,
            truncated: false,
            complete: false,
        }
    }

    /// Keeps one more piece, without a copy; `false` if the body is too long by now. Nothing is kept
    /// then.
    pub fn save_body_bytes(&mut self, body_bytes: Bytes) -> bool {
        self.bytes = self.bytes.saturating_add(body_bytes.len());
        if self.truncated || self.bytes > self.most {
            self.truncated = true;
            self.pieces = Vec::new();
            return false;
        }
        if !body_bytes.is_empty() {
            self.pieces.push(body_bytes);
        }
        true
    }

    /// Whether the whole body is kept, to its end.
    pub fn is_body_complete(&self) -> bool {
        self.complete && !self.truncated
    }

    /// Says that nothing follows what was kept.
    pub fn set_body_complete(&mut self) {
        self.complete = true;
    }
}

/// A request's body that is there already.
#[derive(Debug, Clone)]
pub enum InputBody {
    /// There is none.
    NoBody,
    /// These pieces, and nothing more.
    Bytes(Vec<Bytes>),
}

impl InputBody {
    /// Whether there is not a byte in it.
    pub fn is_body_empty(&self) -> bool {
        match self {
            InputBody::NoBody => true,
            InputBody::Bytes(pieces) => pieces.iter().all(Bytes::is_empty),
        }
    }
}

/// What is not [complete](SavedBody::is_body_complete) is taken for a body nevertheless: ask first.
impl From<SavedBody> for InputBody {
    fn from(saved: SavedBody) -> Self {
        match saved.pieces.is_empty() {
            true => InputBody::NoBody,
            false => InputBody::Bytes(saved.pieces),
        }
    }
}

/// Where the body of a sub-request comes from.
#[derive(Debug)]
pub enum InputBodyType {
    /// From memory.
    Preset(InputBody),
    /// From the parent's client, as it arrives. Up to so many bytes of it are kept on the way, for
    /// another sub-request; 0 keeps nothing.
    SaveBody(usize),
}

/// How far a pipe has come.
#[derive(Debug, Default)]
pub struct PipeSubrequestState {
    /// The body that was kept, where that was asked for.
    pub saved_body: Option<SavedBody>,
    /// Whether the sub-request's final head has arrived.
    pub header_received: bool,
    /// The task that runs the sub-request. After the response it still logs; dropping this lets it.
    pub join_handle: Option<JoinHandle<()>>,
    /// The rest of the response, where the parent failed and the sub-request did not. Reading it to its
    /// end lets the sub-request finish; dropping it gives the sub-request up.
    pub pipe_rx: Option<Receiver<HttpTask>>,
}

impl PipeSubrequestState {
    /// Takes the state out, to be handed on with an error.
    pub fn snapshot_for_error(&mut self) -> Self {
        PipeSubrequestState {
            header_received: self.header_received,
            ..std::mem::take(self)
        }
    }
}

/// Why a pipe ended early.
#[derive(Debug)]
pub struct PipeSubrequestError {
    /// How far it had come.
    pub state: PipeSubrequestState,
    /// Whether the sub-request failed, not its parent.
    pub from_subreq: bool,
    /// What went wrong.
    pub error: Box<Error>,
}

impl PipeSubrequestError {
    /// An error, and how far the pipe had come.
    pub fn new(
        error: impl Into<Box<Error>>,
        from_subreq: bool,
        state: PipeSubrequestState,
    ) -> Self {
        PipeSubrequestError {
            state,
            from_subreq,
            error: error.into(),
        }
    }
}

impl fmt::Display for PipeSubrequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.from_subreq {
            true => "the sub-request failed",
            false => "the parent of the sub-request failed",
        };
        write!(f, "{whose}: {}", self.error)
    }
}

impl std::error::Error for PipeSubrequestError {}

/// So that `?` ends the parent's phase with what went wrong.
impl From<PipeSubrequestError> for Box<Error> {
    fn from(failed: PipeSubrequestError) -> Self {
        failed.error
    }
}

/// Runs a sub-request and writes its response into `session`, through `task_filter` and the parent's
/// downstream modules. Returns when the sub-request's response has ended and was written.
///
/// `task_filter` sees each piece of the response and returns what the parent's client gets of it:
/// the piece, another one, or nothing. The parent's response ends where a piece that ends it is
/// returned; a filter that takes the ends out may let several sub-requests follow each other. An error
/// of the filter ends the pipe.
///
/// The parent's body is read when the sub-request wants it, and passes the parent's modules. A
/// [preset](InputBodyType::Preset) body takes its place, and its length that of the head. A sub-request
/// that has no body ([`BodyMode::NoBody`](super::BodyMode::NoBody)) never wants one.
///
/// The sub-request runs in a task of its own. Dropping the future gives it up.
///
/// # Errors
/// With `from_subreq`: its response ended before it was complete. A sub-request that fails before it
/// answers sends an error page of its own, as any request does; that is a response like others, and no
/// error of the pipe. Without: the parent's client is gone, or too slow, or the filter failed; the
/// rest of the response can be read from the state then.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn pipe_subrequest<F>(
    session: &mut Session,
    mut subrequest: PreparedSubrequest,
    subrequest_handle: SubrequestHandle,
    task_filter: F,
    input_body: InputBodyType,
) -> Result<PipeSubrequestState, PipeSubrequestError>
where
    F: FnMut(HttpTask) -> Result<Option<HttpTask>>,
{
    let mut state = PipeSubrequestState::default();
    let input = match input_body {
        InputBodyType::Preset(body) => {
            if let Err(error) = subrequest.announce(&body) {
                return Err(PipeSubrequestError::new(error, false, state));
            }
            Input::Preset(body)
        }
        InputBodyType::SaveBody(most) => {
            state.saved_body = (most > 0).then(|| SavedBody::new(most));
            Input::Parent
        }
    };
    state.join_handle = Some(tokio::spawn(subrequest.run()));
    let mut pipe = Pipe::new(session, subrequest_handle.into(), task_filter, state, input);
    match pipe.run().await {
        Ok(()) => Ok(pipe.state),
        Err((error, from_subreq)) => {
            let Pipe {
                mut state, caller, ..
            } = pipe;
            if !from_subreq {
                state.pipe_rx = Some(caller.into_response());
            }
            Err(PipeSubrequestError::new(error, from_subreq, state))
        }
    }
}

/// Where the body comes from.
enum Input {
    Preset(InputBody),
    Parent,
}

/// An error, and whether it is the sub-request's.
type Failed = (Box<Error>, bool);

/// One pipe while it runs.
struct Pipe<'a, F> {
    session: &'a mut Session,
    caller: CallerHalf,
    filter: F,
    state: PipeSubrequestState,
    input: Input,
    exchange: Exchange,
    turn: Turn,
    /// Whether the sub-request has not said yet if it wants its body.
    undecided: bool,
}

/// What a turn of the pipe brings.
enum Next {
    /// The sub-request wants its body.
    Wanted,
    Event(Event),
}

impl<'a, F> Pipe<'a, F>
where
    F: FnMut(HttpTask) -> Result<Option<HttpTask>>,
{
    fn new(
        session: &'a mut Session,
        caller: CallerHalf,
        filter: F,
        state: PipeSubrequestState,
        input: Input,
    ) -> Self {
        // Time-outs towards the upstream are the sub-request's own.
        let limits = Limits {
            downstream_read: session.get_read_timeout(),
            downstream_write: session.get_write_timeout(),
            ..Limits::default()
        };
        let mut exchange = Exchange::new();
        // Nothing is read before it is wanted: the parent may still need its body for something else.
        exchange.request = RequestFlow::Ended;
        Pipe {
            session,
            caller,
            filter,
            state,
            input,
            exchange,
            turn: Turn::new(limits),
            undecided: true,
        }
    }

    async fn run(&mut self) -> Result<(), Failed> {
        loop {
            match self.next().await {
                Next::Wanted => self.begin_body().await?,
                Next::Event(Event::Task(task)) => self.on_task(task).await?,
                Next::Event(Event::Body(piece)) => self.on_body(piece).await?,
                Next::Event(Event::Complete) => break,
                Next::Event(other) => self.on_failure(other)?,
            }
        }
        let written = self.session.write_downstream_proxy_tasks().await;
        written.map(|_| ()).map_err(of_parent)
    }

    async fn next(&mut self) -> Next {
        poll_fn(|cx| {
            if self.undecided
                && let std::task::Poll::Ready(wanted) = self.caller.poll_wanted(cx)
            {
                self.undecided = false;
                if wanted {
                    return std::task::Poll::Ready(Next::Wanted);
                }
            }
            let down = &mut *self.session.downstream_session;
            self.turn
                .poll(cx, &self.exchange, down, &mut self.caller)
                .map(Next::Event)
        })
        .await
    }

    async fn begin_body(&mut self) -> Result<(), Failed> {
        if self.exchange.tunnel {
            // What a tunnel carries is no body.
            return Ok(());
        }
        match std::mem::replace(&mut self.input, Input::Parent) {
            Input::Preset(body) => {
                if let InputBody::Bytes(pieces) = body {
                    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
                        self.caller.queue_body(piece).map_err(of_parent)?;
                    }
                }
                self.caller.queue_end(None).map_err(of_parent)
            }
            Input::Parent => {
                self.exchange.request = RequestFlow::Open;
                self.session.downstream_modules_ctx.request_body_begins();
                let read_before = self.session.get_retry_buffer();
                if self.session.retry_buffer_truncated() {
                    let context = "the body was read ahead of the sub-request, and is too long to \
                                   be sent again";
                    return Err(of_parent(Error::explain(ErrorType::InternalError, context)));
                }
                let done = self.session.downstream_session.body_done();
                match read_before.is_some() || done {
                    true => self.pass_body(read_before, done).await,
                    false => Ok(()),
                }
            }
        }
    }

    async fn on_body(&mut self, piece: Option<Bytes>) -> Result<(), Failed> {
        let end = piece.is_none() || (!self.exchange.tunnel && self.session.is_body_done());
        self.pass_body(piece, end).await
    }

    async fn pass_body(&mut self, mut piece: Option<Bytes>, end: bool) -> Result<(), Failed> {
        if !self.exchange.tunnel {
            let modules = &mut self.session.downstream_modules_ctx;
            let filtered = modules.request_body_filter(&mut piece, end).await;
            filtered.map_err(of_parent)?;
            if let Some(saved) = &mut self.state.saved_body {
                if let Some(piece) = &piece {
                    saved.save_body_bytes(piece.clone());
                }
                if end {
                    saved.set_body_complete();
                }
            }
        }
        if let Some(piece) = piece {
            self.turn.count_bytes(piece.len());
            self.caller.queue_body(piece).map_err(of_parent)?;
        }
        if end {
            if let Some(trailers) = self.session.downstream_session.take_request_trailers() {
                self.session.request_trailers = Some(trailers);
            }
            let trailers = self.session.request_trailers.as_deref();
            self.caller.queue_end(trailers).map_err(of_parent)?;
            self.exchange.request_ended();
        }
        Ok(())
    }

    async fn on_task(&mut self, task: HttpTask) -> Result<(), Failed> {
        let end = task.is_end();
        let mut switches = false;
        if let HttpTask::Header(header, _) = &task {
            let status = header.status;
            let connects = self.session.req_header().method == Method::CONNECT;
            switches = status == StatusCode::SWITCHING_PROTOCOLS || status.is_success() && connects;
            self.state.header_received |= !status.is_informational() || switches;
        }
        if let Some(task) = (self.filter)(task).map_err(of_parent)? {
            if let HttpTask::Body(Some(data), _) | HttpTask::UpgradedBody(Some(data), _) = &task {
                self.turn.count_bytes(data.len());
            }
            let queued = self.session.queue_through_modules(task).await;
            queued.map_err(of_parent)?;
        }
        if switches {
            self.exchange.became_tunnel();
            self.caller.become_tunnel();
        }
        if end {
            self.exchange.response_ended();
        } else if self.state.header_received && !self.exchange.tunnel {
            self.exchange.head_passed_on(false);
        }
        Ok(())
    }

    #[cold]
    fn on_failure(&mut self, event: Event) -> Result<(), Failed> {
        match event {
            // The sub-request reads no more of its body; it may still answer.
            Event::UpstreamUnwritable(error) => match self.exchange.upstream_unwritable() {
                OnFailure::End => Err((error, true)),
                OnFailure::GoOn => Ok(()),
            },
            Event::UpstreamFailed(error) => Err((error, true)),
            Event::DownstreamFailed(error) | Event::DownstreamUnwritable(error) => {
                Err(of_parent(error))
            }
            Event::Expired(kind) => {
                if matches!(kind, Deadline::DownstreamWrite | Deadline::Progress) {
                    self.session.downstream_session.discard_queued();
                }
                Err(of_parent(expired(kind)))
            }
            Event::Task(_) | Event::Body(_) | Event::Complete => Ok(()),
        }
    }
}

fn of_parent(error: Box<Error>) -> Failed {
    (error, false)
}

#[cold]
fn expired(kind: Deadline) -> Box<Error> {
    let (etype, what) = match kind {
        Deadline::DownstreamRead => (ErrorType::ReadTimedout, "the client's body stalled"),
        Deadline::DownstreamWrite => (
            ErrorType::WriteTimedout,
            "the client takes nothing of the response",
        ),
        _ => (
            ErrorType::WriteTimedout,
            "nothing moves between the client and the sub-request",
        ),
    };
    Error::create(etype, ErrorSource::Downstream, Some(what.into()), None)
}
