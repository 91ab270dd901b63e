//! The two halves of an exchange as an engine sees them, over any protocol.
//!
//! Everything is polled and keeps its state in the session, so an engine can wait on both halves at
//! once in a single task, and can be dropped at any time without losing an accepted byte. The
//! engine bounds the queues: it reads from one half only while [`queued`](DownstreamHalf::queued)
//! of the other is under its mark.

use super::HttpTask;
pub use crate::protocols::l4::splice::{FilePart, SpliceSink, SpliceSource};
use crate::timeout::{Deadline, Deadlines};
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{BError, Result};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// The half that requests come from.
pub trait DownstreamHalf {
    /// The next piece of the request's body; `None` at its end, and on every later call.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>>;

    /// Whether the request's body was read to its end.
    fn body_done(&mut self) -> bool;

    /// Whether the client holds its body back until it receives a 100 Continue (RFC 9110 section
    /// 10.1.1). It is not late in that case.
    fn awaits_continue(&self) -> bool {
        false
    }

    /// The trailers of the request's body, once it is done.
    fn take_request_trailers(&mut self) -> Option<Box<HeaderMap>>;

    /// Ready when a client that has sent its request is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError>;

    /// Ready when a client whose body is currently not read has given its request up, if that can be
    /// detected without reading: data that was received for it counts against a window that others
    /// share.
    fn poll_given_up(&mut self, _cx: &mut Context<'_>) -> Poll<BError> {
        Poll::Pending
    }

    /// Queues a piece of the response completely.
    fn queue(&mut self, task: HttpTask) -> Result<()>;

    /// Writes queued data, as far as the client accepts it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Whether `poll_flush` has something to do.
    fn wants_flush(&self) -> bool;

    /// The number of queued bytes.
    fn queued(&self) -> usize;

    /// Drops queued data that the client does not accept, so that nothing waits for it any more.
    fn discard_queued(&mut self) {}

    /// Whether to stop reading on the client's behalf until it has accepted the queued data: it has
    /// forbidden sending for now, or memory is short.
    fn is_stalled(&self) -> bool {
        false
    }

    /// Enters the data that waits here in the process's memory account; `upload_waits`: data that the
    /// client is sending counts too. Called before an exchange waits with data in a queue.
    fn count_held(&mut self, _upload_waits: bool) {}

    /// The number of bytes of the response that may be read at once: limited if the data held for this
    /// client is about to exceed its bound.
    fn read_ahead(&self) -> usize {
        usize::MAX
    }

    /// The source for splicing the request's payload: available on a plain socket without data read
    /// ahead, if this half does not need to see the payload.
    fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        None
    }

    /// The sink for splicing the response's payload: available on a plain socket, without framing
    /// around each piece.
    fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        None
    }

    /// The end of a tunnel that the client's bytes come from: available once the connection has become
    /// one, with nothing read ahead.
    fn tunnel_source(&mut self) -> Option<&mut dyn TunnelSource> {
        None
    }

    /// The end of a tunnel that the server's bytes go to: available once the connection has become one.
    fn tunnel_sink(&mut self) -> Option<&mut dyn TunnelSink> {
        None
    }

    /// Ready with a deadline that has passed; otherwise the task is woken in time for the next one.
    fn poll_alarm(
        &mut self,
        cx: &mut Context<'_>,
        deadlines: &Deadlines,
        now: Instant,
    ) -> Poll<Deadline>;

    /// A cheaper [`poll_alarm`](DownstreamHalf::poll_alarm) for a single deadline: ready once `at` has
    /// passed.
    fn poll_reached(&mut self, cx: &mut Context<'_>, at: Instant, now: Instant) -> Poll<()> {
        let mut deadlines = Deadlines::default();
        deadlines.set(Deadline::new(0), Some(at));
        self.poll_alarm(cx, &deadlines, now).map(|_| ())
    }
}

/// The half that requests go to.
pub trait UpstreamHalf {
    /// Queues a piece of the request's body completely.
    fn queue_body(&mut self, data: Bytes) -> Result<()>;

    /// Queues the end of the request.
    fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()>;

    /// Writes queued data, as far as the server accepts it. After an error nothing more is written,
    /// but a response may still come.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Whether `poll_flush` has something to do.
    fn wants_flush(&self) -> bool;

    /// The number of queued bytes.
    fn queued(&self) -> usize;

    /// Whether to stop reading on the server's behalf until it has accepted the queued data.
    fn is_stalled(&self) -> bool {
        false
    }

    /// Enters the data that waits here, in both directions, in the process's memory account. Called
    /// before an exchange waits with data in a queue.
    fn count_held(&mut self) {}

    /// Limits each read to this many bytes from now on, if this half can control it.
    fn limit_reads(&mut self, _bytes: usize) {}

    /// The next piece of the response.
    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>>;

    /// Whether the next piece is available without reading from the connection.
    fn has_input(&self) -> bool;

    /// The source for splicing the response's payload; see [`DownstreamHalf::splice_source`].
    fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        None
    }

    /// The file in which the payload is that comes next, for sending it from there. `None`, as by default: it is not in a
    /// file, or has to be looked at.
    #[inline]
    fn file_part(&self) -> Option<FilePart<'_>> {
        None
    }

    /// So many bytes of the [`file_part`](UpstreamHalf::file_part) were sent.
    fn file_sent(&mut self, _bytes: u64) {}

    /// The sink for splicing the request's payload; see [`DownstreamHalf::splice_sink`].
    fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        None
    }

    /// The end of a tunnel that the server's bytes come from; see [`DownstreamHalf::tunnel_source`].
    fn tunnel_source(&mut self) -> Option<&mut dyn TunnelSource> {
        None
    }

    /// The end of a tunnel that the client's bytes go to; see [`DownstreamHalf::tunnel_sink`].
    fn tunnel_sink(&mut self) -> Option<&mut dyn TunnelSink> {
        None
    }
}

/// Where the bytes of a tunnel come from that no filter looks at: they are lent, not handed out.
pub trait TunnelSource {
    /// Reads once, and lends what has arrived to `take`, which has to keep what it can't pass on. Returns
    /// the number of bytes; 0: the peer has closed its direction. Counts them as payload. Cancel-safe.
    ///
    /// # Errors
    /// Those of reading a body.
    fn poll_lend(&mut self, cx: &mut Context<'_>, take: Taker<'_>) -> Poll<Result<usize>>;
}

/// Receives lent bytes; never called with none.
pub type Taker<'a> = &'a mut dyn FnMut(&mut Context<'_>, &[u8]);

/// Where the bytes of a tunnel go to that no filter looks at.
pub trait TunnelSink {
    /// Accepts all of `bytes`: writes them at once, as far as nothing is queued and the peer accepts them,
    /// and queues a copy of the rest. Counts them as payload. If some are left, the task is woken when
    /// [`poll_flush`](DownstreamHalf::poll_flush) can go on.
    ///
    /// # Errors
    /// Those of writing a body.
    fn pass_on(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<()>;
}
