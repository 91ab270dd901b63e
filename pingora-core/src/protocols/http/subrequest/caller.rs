//! The caller's end of a sub-request, as one half of an exchange.

use super::server::SubrequestHandle;
use super::tasks::TaskQueue;
use crate::protocols::http::HttpTask;
use crate::protocols::http::exchange::UpstreamHalf;
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{BError, Error, ErrorType, Result};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};

/// The caller's end of a sub-request, which an engine treats as an upstream: what one half of an
/// exchange receives becomes the request's body, and the response goes back.
///
/// Dropping it aborts the sub-request.
#[derive(Debug)]
pub struct CallerHalf {
    out: TaskQueue,
    tasks: mpsc::Receiver<HttpTask>,
    wants_body: oneshot::Receiver<()>,
    /// `None` until it is known.
    wanted: Option<bool>,
    failure: oneshot::Receiver<BError>,
    tunnel: bool,
    ended: bool,
}

impl From<SubrequestHandle> for CallerHalf {
    fn from(handle: SubrequestHandle) -> Self {
        CallerHalf {
            out: TaskQueue::new(handle.tx),
            tasks: handle.rx,
            wants_body: handle.subreq_wants_body,
            wanted: None,
            failure: handle.subreq_proxy_error,
            tunnel: false,
            ended: false,
        }
    }
}

impl CallerHalf {
    /// Ready once it is known whether the sub-request wants its body; `false`: it ended without.
    /// Stays ready.
    pub fn poll_wanted(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if let Some(wanted) = self.wanted {
            return Poll::Ready(wanted);
        }
        let wanted = ready!(Pin::new(&mut self.wants_body).poll(cx)).is_ok();
        self.wanted = Some(wanted);
        Poll::Ready(wanted)
    }

    /// The response switched protocols: data queued from here on is not a message, and its end closes
    /// one direction.
    pub fn become_tunnel(&mut self) {
        self.tunnel = true;
    }

    /// The rest of the response, for callers that continue reading without the engine.
    pub fn into_response(self) -> mpsc::Receiver<HttpTask> {
        self.tasks
    }

    /// The error for a response that ends here.
    fn cut_short(&mut self) -> BError {
        self.failure.try_recv().unwrap_or_else(|_| {
            let context = "the sub-request ended before its response was complete";
            Error::explain(ErrorType::ConnectionClosed, context).into_up()
        })
    }
}

impl UpstreamHalf for CallerHalf {
    fn queue_body(&mut self, data: Bytes) -> Result<()> {
        self.out.push(if self.tunnel {
            HttpTask::UpgradedBody(Some(data), false)
        } else {
            HttpTask::Body(Some(data), false)
        });
        Ok(())
    }

    fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        self.out.push(match trailers {
            _ if self.tunnel => HttpTask::UpgradedBody(None, true),
            Some(trailers) => HttpTask::Trailer(Some(Box::new(trailers.clone()))),
            None => HttpTask::Done,
        });
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.out.poll_flush(cx).map_err(|error| error.into_up())
    }

    fn wants_flush(&self) -> bool {
        !self.out.is_empty()
    }

    fn queued(&self) -> usize {
        self.out.len()
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        if self.ended {
            return Poll::Ready(Ok(HttpTask::Done));
        }
        match ready!(self.tasks.poll_recv(cx)) {
            None => Poll::Ready(Err(self.cut_short())),
            Some(task) => {
                self.ended = task.is_end();
                Poll::Ready(Ok(task))
            }
        }
    }

    fn has_input(&self) -> bool {
        !self.tasks.is_empty()
    }
}
