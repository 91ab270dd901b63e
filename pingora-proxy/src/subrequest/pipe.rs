//! Pipes a sub-request's response into the response of its parent.
//!
//! The engine that connects a client and an upstream also connects the parent and the sub-request:
//! neither direction is read unless the other end has room, and a client that leaves ends both.

use super::PreparedSubrequest;
use crate::Session;
use crate::flow::subrequest::{Input, Pipe};
use bytes::Bytes;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::subrequest::server::SubrequestHandle;
use pingora_error::{Error, Result};
use std::fmt;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

/// A request's body, kept for replay.
///
/// All or nothing: if the body is longer than allowed, the part that was kept is dropped.
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

    /// Keeps one more piece, without a copy. Returns `false` if the body is now too long; nothing is kept
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

    /// Whether the whole body has been kept, to its end.
    pub fn is_body_complete(&self) -> bool {
        self.complete && !self.truncated
    }

    /// Marks the end of the body: nothing follows the part that was kept.
    pub fn set_body_complete(&mut self) {
        self.complete = true;
    }
}

/// A request's body that is already in memory.
#[derive(Debug, Clone)]
pub enum InputBody {
    /// No body.
    NoBody,
    /// These pieces, and no more.
    Bytes(Vec<Bytes>),
}

impl InputBody {
    /// Whether it has no bytes at all.
    pub fn is_body_empty(&self) -> bool {
        match self {
            InputBody::NoBody => true,
            InputBody::Bytes(pieces) => pieces.iter().all(Bytes::is_empty),
        }
    }
}

/// A body that is not [complete](SavedBody::is_body_complete) is still converted: check first.
impl From<SavedBody> for InputBody {
    fn from(saved: SavedBody) -> Self {
        if saved.pieces.is_empty() {
            InputBody::NoBody
        } else {
            InputBody::Bytes(saved.pieces)
        }
    }
}

/// The source of a sub-request's body.
#[derive(Debug)]
pub enum InputBodyType {
    /// From memory.
    Preset(InputBody),
    /// From the parent's client, as it arrives. Up to this many bytes are kept on the way, for another
    /// sub-request; 0 keeps nothing.
    SaveBody(usize),
}

/// The progress of a pipe.
#[derive(Debug, Default)]
pub struct PipeSubrequestState {
    /// The body that was kept, if requested.
    pub saved_body: Option<SavedBody>,
    /// Whether the sub-request's final head has arrived.
    pub header_received: bool,
    /// The task that runs the sub-request. It still logs after the response; dropping this handle lets it
    /// continue.
    pub join_handle: Option<JoinHandle<()>>,
    /// The rest of the response, if the parent failed and the sub-request did not. Reading it to its end
    /// lets the sub-request finish; dropping it cancels the sub-request.
    pub pipe_rx: Option<Receiver<HttpTask>>,
}

impl PipeSubrequestState {
    /// Takes the state out, to pass it on with an error.
    pub fn snapshot_for_error(&mut self) -> Self {
        PipeSubrequestState {
            header_received: self.header_received,
            ..std::mem::take(self)
        }
    }
}

/// The reason why a pipe ended early.
#[derive(Debug)]
pub struct PipeSubrequestError {
    /// How far the pipe had come.
    pub state: PipeSubrequestState,
    /// Whether the sub-request failed, not its parent.
    pub from_subreq: bool,
    /// The cause.
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
        let whose = if self.from_subreq {
            "the sub-request failed"
        } else {
            "the parent of the sub-request failed"
        };
        write!(f, "{whose}: {}", self.error)
    }
}

impl std::error::Error for PipeSubrequestError {}

/// Lets `?` end the parent's phase with the cause.
impl From<PipeSubrequestError> for Box<Error> {
    fn from(failed: PipeSubrequestError) -> Self {
        failed.error
    }
}

/// Runs a sub-request and writes its response into `session`, through `task_filter` and the parent's
/// downstream modules. Returns when the sub-request's response has ended and has been written.
///
/// `task_filter` sees each piece of the response and returns what the parent's client gets in its place:
/// the piece, another one, or nothing. The parent's response ends when a piece that ends it is returned;
/// a filter that removes those pieces lets several sub-requests follow each other. An error from the
/// filter ends the pipe.
///
/// The parent's body is read when the sub-request wants it, and passes the parent's modules. A
/// [preset](InputBodyType::Preset) body replaces it, and its length replaces that of the head. A
/// sub-request without a body ([`BodyMode::NoBody`](super::BodyMode::NoBody)) never wants one.
///
/// The sub-request runs in a task of its own. Dropping the future cancels it.
///
/// # Errors
/// With `from_subreq`: its response ended before it was complete. A sub-request that fails before it
/// answers sends its own error page, as any request does; that is an ordinary response, and not an error
/// of the pipe. Without: the parent's client is gone or too slow, or the filter failed; the rest of the
/// response can then be read from the state.
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
        Ok(()) => Ok(pipe.into_parts().0),
        Err((error, from_subreq)) => {
            let (mut state, caller) = pipe.into_parts();
            if !from_subreq {
                state.pipe_rx = Some(caller.into_response());
            }
            Err(PipeSubrequestError::new(error, from_subreq, state))
        }
    }
}
