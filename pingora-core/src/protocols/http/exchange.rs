//! The two halves of an exchange as an engine sees them, whatever protocol carries them.
//!
//! Everything is polled and keeps its state in the session, so that an engine can wait on both
//! halves at once in a single task and be dropped at any time without losing an accepted byte.
//! The engine bounds the queues: it reads from one half only while
//! [`queued`](DownstreamHalf::queued) of the other is under its mark.

use super::HttpTask;
pub use crate::protocols::l4::splice::{SpliceSink, SpliceSource};
use crate::timeout::{Deadline, Deadlines};
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{BError, Result};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// The half that requests come from.
pub trait DownstreamHalf {
    /// The next piece of the request's body; `None` at its end, and from then on.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>>;

    /// Whether the request's body was read to its end.
    fn body_done(&mut self) -> bool;

    /// Whether the client holds its body back until it is told to continue (RFC 9110
    /// section 10.1.1). It is not late then.
    fn awaits_continue(&self) -> bool {
        false
    }

    /// The trailers of the request's body, once it is done.
    fn take_request_trailers(&mut self) -> Option<Box<HeaderMap>>;

    /// Ready when a client that has sent its request is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError>;

    /// Ready when a client whose body is not read for now has given its request up, where that can be
    /// told without reading: what was received for it counts against a window that others share.
    fn poll_given_up(&mut self, _cx: &mut Context<'_>) -> Poll<BError> {
        Poll::Pending
    }

    /// Accepts a piece of the response, whole.
    fn queue(&mut self, task: HttpTask) -> Result<()>;

    /// Writes what is queued, as far as the client takes it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Whether `poll_flush` has something to do.
    fn wants_flush(&self) -> bool;

    /// How many bytes are queued.
    fn queued(&self) -> usize;

    /// Drops what is queued for a client that does not take it, so that nothing more waits for it.
    fn discard_queued(&mut self) {}

    /// Whether nothing more is to be read for the client before it has taken what is queued: it has
    /// forbidden to send more for now, or memory is short.
    fn is_stalled(&self) -> bool {
        false
    }

    /// Enters what waits here in the process's account; `upload_waits`: so does what the client is sending.
    /// Called before an exchange waits with something in a queue.
    fn count_held(&mut self, _upload_waits: bool) {}

    /// How much of the response may be read at once, in bytes: less than everything where what is held
    /// for this client is about to be too much.
    fn read_ahead(&self) -> usize {
        usize::MAX
    }

    /// The request's payload, where it may be taken unseen: from a plain socket of which nothing was
    /// read ahead, and not needed on this half.
    fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        None
    }

    /// The response's payload, where it may be written unseen: to a plain socket, without framing
    /// around each piece.
    fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        None
    }

    /// Ready with a deadline that has passed; otherwise the task is woken in time for the next.
    fn poll_alarm(
        &mut self,
        cx: &mut Context<'_>,
        deadlines: &Deadlines,
        now: Instant,
    ) -> Poll<Deadline>;

    /// [`poll_alarm`](DownstreamHalf::poll_alarm) where there is one deadline only, which costs less: ready
    /// once `at` has passed.
    fn poll_reached(&mut self, cx: &mut Context<'_>, at: Instant, now: Instant) -> Poll<()> {
        let mut deadlines = Deadlines::default();
        deadlines.set(Deadline::new(0), Some(at));
        self.poll_alarm(cx, &deadlines, now).map(|_| ())
    }
}

/// The half that requests go to.
pub trait UpstreamHalf {
    /// Accepts a piece of the request's body, whole.
    fn queue_body(&mut self, data: Bytes) -> Result<()>;

    /// Accepts the end of the request.
    fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()>;

    /// Writes what is queued, as far as the server takes it. After an error nothing more is
    /// written, but a response may still come.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Whether `poll_flush` has something to do.
    fn wants_flush(&self) -> bool;

    /// How many bytes are queued.
    fn queued(&self) -> usize;

    /// Whether nothing more is to be read for the server before it has taken what is queued.
    fn is_stalled(&self) -> bool {
        false
    }

    /// Enters what waits here, in both directions, in the process's account. Called before an exchange
    /// waits with something in a queue.
    fn count_held(&mut self) {}

    /// Reads at most so many bytes at once from now on, where it is up to this half.
    fn limit_reads(&mut self, _bytes: usize) {}

    /// The next piece of the response.
    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>>;

    /// Whether the next piece is there already, without reading from the connection.
    fn has_input(&self) -> bool;

    /// The response's payload; see [`DownstreamHalf::splice_source`].
    fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        None
    }

    /// The request's payload; see [`DownstreamHalf::splice_sink`].
    fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        None
    }
}
