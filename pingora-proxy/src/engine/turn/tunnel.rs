//! A tunnel whose bytes no filter looks at: they pass from one end to the other where they are.
//!
//! A turn that is woken by a message reads it into the worker's scratch buffer and writes it from there.
//! There is no event, no queue and no memory of its own, unless the other end takes less than what came:
//! only then a copy of the rest is queued, and everything goes on as in any exchange. The ends of the
//! directions, failures and time limits are events as always.

use super::super::deadline::{
    DOWNSTREAM_READ, DOWNSTREAM_WRITE, TUNNEL_IDLE, UPSTREAM_READ, UPSTREAM_WRITE,
};
use super::super::state::Exchange;
use super::until::earlier;
use super::{BYTES_PER_TURN, EVENTS_PER_TURN, Event, Failure, Turn, yielded};
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::exchange::{
    DownstreamHalf, TunnelSink, TunnelSource, UpstreamHalf,
};
use pingora_error::BError;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

#[cfg(test)]
thread_local! {
    /// Bytes that passed in this way on this thread.
    pub(crate) static PASSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A tunnel in which nothing moves for this long is closed.
const IDLE_LIMIT: Duration = Duration::from_secs(60 * 60);
/// Likewise, once one side has closed its direction.
const HALF_CLOSED_LIMIT: Duration = Duration::from_secs(60);

/// How long a tunnel may stand still.
pub(super) fn idle_limit(exchange: &Exchange) -> Duration {
    if exchange.wants_response() && exchange.wants_body() {
        IDLE_LIMIT
    } else {
        HALF_CLOSED_LIMIT
    }
}

/// How one step of a direction ended.
enum Passed {
    /// So many bytes were read; they are sent, or queued.
    Bytes(usize),
    /// The source has closed its direction.
    End,
    SourceFailed(BError),
    SinkFailed(BError),
}

/// Reads once, and passes on what came.
fn poll_pass(
    cx: &mut Context<'_>,
    source: &mut dyn TunnelSource,
    sink: &mut dyn TunnelSink,
) -> Poll<Passed> {
    let mut outcome = Ok(());
    let lent = source.poll_lend(cx, &mut |cx, bytes| outcome = sink.pass_on(cx, bytes));
    lent.map(|lent| match (lent, outcome) {
        (Err(error), _) => Passed::SourceFailed(error),
        (_, Err(error)) => Passed::SinkFailed(error),
        (Ok(0), _) => Passed::End,
        (Ok(bytes), _) => {
            #[cfg(test)]
            PASSED.set(PASSED.get() + bytes);
            Passed::Bytes(bytes)
        }
    })
}

impl Turn {
    /// Passes on what the client sends, as long as the server takes it. `None`: its bytes have to be read in
    /// the ordinary way.
    pub(super) fn pass_request<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Option<Poll<Event>> {
        while self.request.is_unseen() {
            let queued = up.queued();
            let step = poll_pass(cx, down.tunnel_source()?, up.tunnel_sink()?);
            let Poll::Ready(passed) = step else {
                return Some(Poll::Pending);
            };
            self.mark_moved(DOWNSTREAM_READ);
            let event = match passed {
                Passed::Bytes(bytes) => {
                    self.request.note_piece(bytes);
                    self.count_taken(queued + bytes, up.queued(), UPSTREAM_WRITE);
                    self.count_piece(bytes);
                    if !self.reads_body(exchange, up) {
                        return Some(Poll::Pending);
                    }
                    if self.request.is_open(true) || self.is_over() {
                        return Some(yielded(cx));
                    }
                    continue;
                }
                Passed::End => Event::Body(None),
                Passed::SourceFailed(error) => Event::Failed(Failure::DownstreamFailed(error)),
                Passed::SinkFailed(error) => Event::Failed(Failure::UpstreamUnwritable(error)),
            };
            return Some(Poll::Ready(event));
        }
        None
    }

    /// Likewise, what the server sends.
    pub(super) fn pass_response<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Option<Poll<Event>> {
        while self.response.is_unseen() && exchange.serves_client() {
            let queued = down.queued();
            let step = poll_pass(cx, up.tunnel_source()?, down.tunnel_sink()?);
            let Poll::Ready(passed) = step else {
                return Some(Poll::Pending);
            };
            self.mark_moved(UPSTREAM_READ);
            let event = match passed {
                Passed::Bytes(bytes) => {
                    self.response.note_piece(bytes);
                    self.count_taken(queued + bytes, down.queued(), DOWNSTREAM_WRITE);
                    self.count_piece(bytes);
                    if !self.reads_response(exchange, down) {
                        return Some(Poll::Pending);
                    }
                    if self.response.is_open(true) || self.is_over() {
                        return Some(yielded(cx));
                    }
                    continue;
                }
                Passed::End => Event::Task(HttpTask::UpgradedBody(None, true)),
                Passed::SourceFailed(error) => Event::Failed(Failure::UpstreamFailed(error)),
                Passed::SinkFailed(error) => Event::Failed(Failure::DownstreamUnwritable(error)),
            };
            return Some(Poll::Ready(event));
        }
        None
    }

    fn count_piece(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes;
    }

    /// Whether other tasks should get their turn.
    pub(super) fn is_over(&self) -> bool {
        self.events >= EVENTS_PER_TURN || self.bytes >= BYTES_PER_TURN
    }

    /// Waits for the deadlines of a tunnel in which nothing is queued. A message moves them, and leaves the
    /// timer alone: that is set anew when it fires and finds that they have moved.
    pub(super) fn poll_idle<D: DownstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
    ) -> Poll<Event> {
        let now = Instant::now();
        let (server, idle) = (self.limits.upstream_read, idle_limit(exchange));
        self.watch(UPSTREAM_READ, exchange.wants_response(), server, now);
        self.watch(TUNNEL_IDLE, true, Some(idle), now);
        self.moved = 0;
        let server = self.deadlines.get(UPSTREAM_READ);
        let Some(at) = earlier(server, self.deadlines.get(TUNNEL_IDLE)) else {
            // Beyond the end of time.
            return Poll::Pending;
        };
        let kind = if server == Some(at) {
            UPSTREAM_READ
        } else {
            TUNNEL_IDLE
        };
        down.poll_reached(cx, at, now)
            .map(|()| Event::Failed(Failure::Expired(kind)))
    }
}
