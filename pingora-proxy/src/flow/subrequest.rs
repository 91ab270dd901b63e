//! A sub-request's response on its way into the response of its parent.
//!
//! The engine that connects a client and an upstream also connects the parent and the sub-request:
//! neither direction is read unless the other end has room, and a client that leaves ends both.

use super::opens_tunnel;
use crate::Session;
use crate::engine::deadline;
use crate::engine::{Exchange, Failure, Flow, Handler, Limits, OnFailure, drive};
use crate::subrequest::pipe::{InputBody, PipeSubrequestState};
use bytes::Bytes;
use pingora_core::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use pingora_core::protocols::http::subrequest::CallerHalf;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::{Error, ErrorType, Result};
use std::task::{Context, Poll};

/// The source of the body.
pub(crate) enum Input {
    Preset(InputBody),
    Parent,
}

/// An error, and whether it is the sub-request's.
pub(crate) type Failed = (Box<Error>, bool);

/// A running pipe.
pub(crate) struct Pipe<'a, F> {
    session: &'a mut Session,
    caller: CallerHalf,
    filter: F,
    state: PipeSubrequestState,
    input: Input,
    flow: Flow,
    /// Whether the sub-request has not yet said if it wants its body.
    undecided: bool,
}

impl<'a, F> Pipe<'a, F>
where
    F: FnMut(HttpTask) -> Result<Option<HttpTask>>,
{
    pub(crate) fn new(
        session: &'a mut Session,
        caller: CallerHalf,
        filter: F,
        state: PipeSubrequestState,
        input: Input,
    ) -> Self {
        // Time-outs towards the upstream belong to the sub-request.
        let limits = Limits {
            downstream_read: session.get_read_timeout(),
            downstream_write: session.get_write_timeout(),
            ..Limits::default()
        };
        // Nothing is read before the body is wanted: the parent may still need its body for something
        // else.
        let exchange = Exchange::without_request();
        Pipe {
            session,
            caller,
            filter,
            state,
            input,
            flow: Flow::new(exchange, limits),
            undecided: true,
        }
    }

    /// Carries the sub-request's response to its end.
    pub(crate) async fn run(&mut self) -> Result<(), Failed> {
        drive(self).await?;
        let written = self.session.write_downstream_proxy_tasks().await;
        written.map(|_| ()).map_err(of_parent)
    }

    /// The pipe's state, and the sub-request as its caller sees it.
    pub(crate) fn into_parts(self) -> (PipeSubrequestState, CallerHalf) {
        (self.state, self.caller)
    }

    async fn begin_body(&mut self) -> Result<(), Failed> {
        if self.flow.exchange.tunnel {
            // The bytes of a tunnel are not a body.
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
                self.flow.exchange.request_wanted();
                self.session.downstream_modules_ctx.request_body_begins();
                let read_before = self.session.get_retry_buffer();
                if self.session.retry_buffer_truncated() {
                    let context = "the body was read ahead of the sub-request, and is too long to \
                                   be sent again";
                    return Err(of_parent(Error::explain(ErrorType::InternalError, context)));
                }
                let done = self.session.downstream_session.body_done();
                if read_before.is_some() || done {
                    self.pass_body(read_before, done).await
                } else {
                    Ok(())
                }
            }
        }
    }

    async fn pass_body(&mut self, mut piece: Option<Bytes>, end: bool) -> Result<(), Failed> {
        if !self.flow.exchange.tunnel {
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
            self.flow.turn.count_bytes(piece.len());
            self.caller.queue_body(piece).map_err(of_parent)?;
        }
        if end {
            if let Some(trailers) = self.session.downstream_session.take_request_trailers() {
                self.session.request_trailers = Some(trailers);
            }
            let trailers = self.session.request_trailers.as_deref();
            self.caller.queue_end(trailers).map_err(of_parent)?;
            self.flow.exchange.request_ended();
        }
        Ok(())
    }
}

impl<F> Handler for Pipe<'_, F>
where
    F: FnMut(HttpTask) -> Result<Option<HttpTask>>,
{
    type Down = ServerSession;
    type Up = CallerHalf;
    type Error = Failed;

    fn parts(&mut self) -> (&mut Flow, &mut Self::Down, &mut Self::Up) {
        let down = &mut *self.session.downstream_session;
        (&mut self.flow, down, &mut self.caller)
    }

    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.undecided
            && let Poll::Ready(wanted) = self.caller.poll_wanted(cx)
        {
            self.undecided = false;
            if wanted {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// The sub-request wants its body.
    async fn on_own(&mut self) -> Result<(), Failed> {
        self.begin_body().await
    }

    async fn on_body(&mut self, piece: Option<Bytes>) -> Result<(), Failed> {
        let end = piece.is_none() || (!self.flow.exchange.tunnel && self.session.is_body_done());
        self.pass_body(piece, end).await
    }

    async fn on_task(&mut self, task: HttpTask) -> Result<(), Failed> {
        let end = task.is_end();
        let mut switches = false;
        if let HttpTask::Header(header, _) = &task {
            let status = header.status;
            switches = opens_tunnel(self.session, status);
            self.state.header_received |= !status.is_informational() || switches;
        }
        if let Some(task) = (self.filter)(task).map_err(of_parent)? {
            if let HttpTask::Body(Some(data), _) | HttpTask::UpgradedBody(Some(data), _) = &task {
                self.flow.turn.count_bytes(data.len());
            }
            let queued = self.session.queue_through_modules(task).await;
            queued.map_err(of_parent)?;
        }
        if switches {
            self.flow.exchange.became_tunnel();
            self.caller.become_tunnel();
        }
        if end {
            self.flow.exchange.response_ended();
        } else if self.state.header_received && !self.flow.exchange.tunnel {
            self.flow.exchange.head_passed_on(false);
        }
        Ok(())
    }

    #[cold]
    fn on_failure(&mut self, failure: Failure) -> Result<(), Failed> {
        match failure {
            // The sub-request reads no more of its body; it may still answer.
            Failure::UpstreamUnwritable(error) => match self.flow.exchange.upstream_unwritable() {
                OnFailure::End => Err((error, true)),
                OnFailure::GoOn => Ok(()),
            },
            Failure::UpstreamFailed(error) => Err((error, true)),
            Failure::DownstreamFailed(error) | Failure::DownstreamUnwritable(error) => {
                Err(of_parent(error))
            }
            Failure::Expired(kind) => Err(of_parent(deadline::expired(kind))),
        }
    }
}

fn of_parent(error: Box<Error>) -> Failed {
    (error, false)
}
