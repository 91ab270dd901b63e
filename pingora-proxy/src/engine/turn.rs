//! Waiting on both halves of an exchange at once.

mod tunnel;
mod until;

#[cfg(test)]
pub(crate) use tunnel::PASSED;
pub use until::{MinRate, Until};

use super::deadline::{
    DOWNSTREAM_READ, DOWNSTREAM_WRITE, PROGRESS, RESUME, TUNNEL_IDLE, UPSTREAM_READ, UPSTREAM_WRITE,
};
use super::splice::{Relay, Relayed};
use super::state::{Exchange, RequestFlow, ResponseFlow};
use bytes::Bytes;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use pingora_core::timeout::{Deadline, Deadlines};
use pingora_error::BError;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// A half is not read from while the other has at least this much queued, in bytes.
pub(crate) const QUEUE_MARK: usize = 64 * 1024;
/// At most this much may be queued towards the client when an exchange ends, in bytes.
const LAST_WORDS: usize = 16 * 1024;
/// After this many events without waiting, other tasks get their turn.
const EVENTS_PER_TURN: u32 = 32;
/// Likewise after this many bytes.
pub(crate) const BYTES_PER_TURN: usize = 256 * 1024;
/// A peer that takes this many of the waiting bytes within a time-out is slow; one that takes fewer has stalled.
const FAIR_AMOUNT: usize = 4 * 1024;
/// An exchange is ended if a side waits for room and nothing moves in any direction for this long.
/// Otherwise a client that uploads before it reads and a server that echoes would wait for each other
/// for ever.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);

/// Longer delays requested by a filter are cut to this.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The next event of an exchange.
#[derive(Debug)]
pub(crate) enum Event {
    /// The flow's own event; never from a turn.
    Own,
    /// A piece of the request's body; `None` at its end.
    Body(Option<Bytes>),
    /// A piece of the response.
    Task(HttpTask),
    /// No more of the response is available together with the held-back head.
    Held,
    /// One side failed, or a time limit was reached.
    Failed(Failure),
    /// Everything has been read, and all but the last few bytes to the client have been written.
    Complete,
}

/// An obstacle to an exchange.
#[derive(Debug)]
pub enum Failure {
    /// The request can't be read any further, or the client is gone.
    DownstreamFailed(BError),
    /// The client accepts no more data.
    DownstreamUnwritable(BError),
    /// The response can't be read any further.
    UpstreamFailed(BError),
    /// The upstream accepts no more data; it may still answer.
    UpstreamUnwritable(BError),
    /// A time limit was reached; [`expired`](super::deadline::expired) has its error.
    Expired(Deadline),
}

/// How long each direction may stand still; `None`: without limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Between two reads from the client.
    pub downstream_read: Option<Duration>,
    /// Until the client takes something off its queue.
    pub downstream_write: Option<Duration>,
    /// Between two reads from the upstream.
    pub upstream_read: Option<Duration>,
    /// Until the upstream takes something off its queue.
    pub upstream_write: Option<Duration>,
}

/// Whose room decides when the response is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The client's: what is read is queued for it.
    OfClient,
    /// The store's, which takes what is read; the client reads behind it.
    OfStore,
    /// Nothing is read for now.
    Paused,
}

/// The waiting part of an exchange, from event to event.
///
/// Before it waits, it has tried every open direction: to write queued data, and to read a side if the
/// other half has room. Response pieces that are already in memory are handed out ahead of any write, so
/// that what arrived together leaves together.
#[derive(Debug)]
pub struct Turn {
    limits: Limits,
    /// Boxed because few exchanges have any.
    until: Option<Box<Until>>,
    deadlines: Deadlines,
    /// Moves the request's body if no filter needs to see it.
    request: Relay,
    /// Moves the response's body if no filter needs to see it.
    response: Relay,
    /// The directions that have moved since the clock was last read, one bit per kind of deadline.
    moved: u32,
    /// The bytes that each side has taken since it last moved.
    taken_downstream: usize,
    taken_upstream: usize,
    /// The response is not read before this instant: a body filter asked for a delay.
    resume_at: Option<Instant>,
    /// The response head waits for the first piece of its body.
    holds_back: bool,
    /// When the response is read.
    pace: Pace,
    /// The side that is polled first; alternates so that neither starves the other.
    downstream_first: bool,
    events: u32,
    bytes: usize,
    /// Deadlines other than the server's have been set, and must be cleared later.
    is_watched: bool,
    /// It is a tunnel, and no deadlines are set but those of [`Turn::poll_idle`].
    idles: bool,
    /// When the server is late, as long as there is no other deadline.
    server_is_late: Option<Instant>,
    /// When the server began to keep queued bytes waiting.
    blocked_since: Option<Instant>,
    /// How long the server has kept queued bytes waiting.
    write_pending: Duration,
}

impl Turn {
    pub(crate) fn new(limits: Limits) -> Self {
        Turn {
            limits,
            until: None,
            deadlines: Deadlines::default(),
            request: Relay::default(),
            response: Relay::default(),
            moved: u32::MAX,
            taken_downstream: 0,
            taken_upstream: 0,
            resume_at: None,
            holds_back: false,
            pace: Pace::OfClient,
            downstream_first: false,
            events: 0,
            bytes: 0,
            is_watched: false,
            idles: false,
            server_is_late: None,
            blocked_since: None,
            write_pending: Duration::ZERO,
        }
    }

    /// Delays the rest of the response.
    pub fn delay_response(&mut self, delay: Duration) {
        self.idles = false;
        // An instant too far away to be represented: the time limits end the exchange.
        self.resume_at = Instant::now().checked_add(delay.min(LONGEST_DELAY));
    }

    /// Sets the time within which the client has to accept data, from now on.
    pub fn limit_downstream_write(&mut self, limit: Option<Duration>) {
        self.limits.downstream_write = limit;
    }

    /// Sets how long the server may be silent, from now on.
    pub fn limit_upstream_read(&mut self, limit: Option<Duration>) {
        self.limits.upstream_read = limit;
    }

    /// The upstream is being sent a request that does not come from the client: until the next call, its
    /// response is not late.
    pub fn restart_upstream_read(&mut self) {
        self.mark_moved(UPSTREAM_READ);
    }

    /// Writes nothing until the next piece of the response has been handed out or, if none is available
    /// yet, until [`Handler::on_held`](super::Handler::on_held) has been called.
    pub fn hold_back(&mut self) {
        self.holds_back = true;
    }

    /// Sets whose room decides when the response is read.
    pub(crate) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Whether the client has room for more, and no filter delays it.
    pub(crate) fn has_room<D: DownstreamHalf>(&self, down: &D) -> bool {
        self.resume_at.is_none() && down.queued() < QUEUE_MARK && !down.is_stalled()
    }

    /// Sets whether the request's body may pass unseen. If so, its pieces may move by `splice(2)` or, in
    /// a tunnel, from one end straight to the other, without events.
    pub fn set_request_unseen(&mut self, unseen: bool) {
        self.request.set_unseen(unseen);
    }

    /// Likewise for the response's body.
    pub fn set_response_unseen(&mut self, unseen: bool) {
        self.response.set_unseen(unseen);
    }

    /// How long the server has kept queued bytes waiting, since the last call.
    pub fn take_write_pending(&mut self) -> Duration {
        std::mem::take(&mut self.write_pending)
    }

    /// Counts bytes that were handed on, for fairness to other tasks.
    pub fn count_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    fn mark_moved(&mut self, kind: Deadline) {
        self.moved |= bit(kind) | bit(PROGRESS) | bit(TUNNEL_IDLE);
    }

    /// The next event. Cancel-safe: its state is in the halves and in `self`.
    pub(crate) fn poll<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        if self.is_over() {
            (self.events, self.bytes) = (0, 0);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let event = self.poll_event(cx, exchange, down, up);
        if event.is_ready() {
            self.events += 1
        } else {
            (self.events, self.bytes) = (0, 0)
        }
        event
    }

    fn poll_event<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        let delayed = self.is_delayed();
        let serves = exchange.serves_client();
        if exchange.finished()
            && !exchange.tunnel
            && !writes_up(exchange, up)
            && (!serves || self.leaves_last_words(down))
        {
            return Poll::Ready(Event::Complete);
        }
        if self.holds_back {
            return self.poll_held(cx, exchange, down, up);
        }
        if !delayed && self.reads_response(exchange, down) && up.has_input() {
            up.limit_reads(down.read_ahead());
            let event = self.poll_task(cx, up);
            if event.is_ready() {
                return event;
            }
        }
        if let Poll::Ready(failed) = self.poll_writes(cx, exchange, down, up) {
            return Poll::Ready(failed);
        }
        let written = !serves || !down.wants_flush();
        if exchange.finished() && written && !(exchange.tunnel && writes_up(exchange, up)) {
            return Poll::Ready(Event::Complete);
        }
        self.downstream_first = !self.downstream_first;
        for downstream in [self.downstream_first, !self.downstream_first] {
            let event = if downstream {
                self.poll_downstream(cx, exchange, down, up)
            } else if delayed || !exchange.wants_response() {
                Poll::Pending
            } else {
                self.poll_response(cx, exchange, down, up)
            };
            if event.is_ready() {
                return event;
            }
        }
        self.poll_time(cx, exchange, down, up)
    }

    /// Returns what is available together with the response head; if nothing is, the head has to leave.
    fn poll_held<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        self.holds_back = false;
        if !self.is_delayed()
            && self.reads_response(exchange, down)
            && let Poll::Ready(event) = self.poll_task(cx, up)
        {
            return Poll::Ready(event);
        }
        Poll::Ready(Event::Held)
    }

    fn poll_writes<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        if down.wants_flush() && exchange.serves_client() {
            let before = down.queued();
            if let Poll::Ready(Err(error)) = down.poll_flush(cx) {
                return Poll::Ready(Event::Failed(Failure::DownstreamUnwritable(error)));
            }
            self.count_taken(before, down.queued(), DOWNSTREAM_WRITE);
        }
        if writes_up(exchange, up) {
            let before = up.queued();
            if let Poll::Ready(Err(error)) = up.poll_flush(cx) {
                return Poll::Ready(Event::Failed(Failure::UpstreamUnwritable(error)));
            }
            self.count_taken(before, up.queued(), UPSTREAM_WRITE);
        }
        Poll::Pending
    }

    /// Whether the response may be read: there is room for more of it.
    #[inline]
    fn reads_response<D: DownstreamHalf>(&self, exchange: &Exchange, down: &D) -> bool {
        let has_room =
            || down.queued() < QUEUE_MARK && !down.is_stalled() && !self.response.is_blocked();
        let has_room = || match self.pace {
            Pace::OfClient => !exchange.serves_client() || has_room(),
            Pace::OfStore => true,
            Pace::Paused => false,
        };
        exchange.wants_response() && has_room()
    }

    /// Whether a filter delays the rest of the response.
    fn is_delayed(&self) -> bool {
        self.resume_at.is_some() && self.pace != Pace::OfStore
    }

    /// Whether so little is queued that the owner of the exchange can write it after the end: then the
    /// connection to the server is free before the client has seen the end.
    fn leaves_last_words<D: DownstreamHalf>(&self, down: &D) -> bool {
        down.queued() <= LAST_WORDS && self.response.held() == 0
    }

    /// Whether the request may be read: there is room for more of it.
    fn reads_body<U: UpstreamHalf>(&self, exchange: &Exchange, up: &U) -> bool {
        exchange.wants_body()
            && up.queued() < QUEUE_MARK
            && !up.is_stalled()
            && !self.request.is_blocked()
    }

    fn poll_response<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        if self.response.is_open(exchange.tunnel) && exchange.serves_client() {
            let relayed = self.response.poll_response(cx, up, down);
            self.count_relayed(self.response.received, UPSTREAM_READ);
            let (sent, left) = (self.response.sent, self.response.held());
            self.count_taken(sent + left, left, DOWNSTREAM_WRITE);
            match ready!(relayed) {
                Relayed::Copy => {}
                Relayed::Yield => return yielded(cx),
                Relayed::SourceFailed(error) => {
                    return Poll::Ready(Event::Failed(Failure::UpstreamFailed(error)));
                }
                Relayed::SinkFailed(error) => {
                    return Poll::Ready(Event::Failed(Failure::DownstreamUnwritable(error)));
                }
            }
        }
        if !self.reads_response(exchange, down) {
            return Poll::Pending;
        }
        if exchange.tunnel
            && let Some(passed) = self.pass_response(cx, exchange, down, up)
        {
            return passed;
        }
        up.limit_reads(down.read_ahead());
        self.poll_task(cx, up)
    }

    fn poll_task<U: UpstreamHalf>(&mut self, cx: &mut Context<'_>, up: &mut U) -> Poll<Event> {
        up.poll_task(cx).map(|task| {
            self.mark_moved(UPSTREAM_READ);
            match task {
                Ok(HttpTask::Failed(error)) | Err(error) => {
                    Event::Failed(Failure::UpstreamFailed(error))
                }
                Ok(task) => {
                    if let HttpTask::Body(Some(data), _) | HttpTask::UpgradedBody(Some(data), _) =
                        &task
                    {
                        self.response.note_piece(data.len());
                    }
                    Event::Task(task)
                }
            }
        })
    }

    fn poll_downstream<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        if exchange.wants_body() {
            return self.poll_request(cx, exchange, down, up);
        }
        if exchange.watches_client() {
            down.poll_gone(cx)
                .map(|error| Event::Failed(Failure::DownstreamFailed(error)))
        } else {
            Poll::Pending
        }
    }

    fn poll_request<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        if self.request.is_open(exchange.tunnel) {
            let relayed = self
                .request
                .poll(cx, down.splice_source(), up.splice_sink());
            self.count_relayed(self.request.received, DOWNSTREAM_READ);
            self.note_request(self.request.received);
            let (sent, left) = (self.request.sent, self.request.held());
            self.count_taken(sent + left, left, UPSTREAM_WRITE);
            match ready!(relayed) {
                Relayed::Copy => {}
                Relayed::Yield => return yielded(cx),
                Relayed::SourceFailed(error) => {
                    return Poll::Ready(Event::Failed(Failure::DownstreamFailed(error)));
                }
                Relayed::SinkFailed(error) => {
                    return Poll::Ready(Event::Failed(Failure::UpstreamUnwritable(error)));
                }
            }
        }
        if !self.reads_body(exchange, up) {
            return down
                .poll_given_up(cx)
                .map(|error| Event::Failed(Failure::DownstreamFailed(error)));
        }
        if exchange.tunnel
            && let Some(passed) = self.pass_request(cx, exchange, down, up)
        {
            return passed;
        }
        down.poll_body(cx).map(|piece| {
            self.mark_moved(DOWNSTREAM_READ);
            match piece {
                Ok(piece) => {
                    let length = piece.as_ref().map_or(0, Bytes::len);
                    self.request.note_piece(length);
                    self.note_request(length);
                    Event::Body(piece)
                }
                Err(error) => Event::Failed(Failure::DownstreamFailed(error)),
            }
        })
    }

    /// Of what was queued before a write, less is now. A peer that takes a byte now and then does not
    /// move for that: it has to take all that waits, or a fair amount.
    fn count_taken(&mut self, before: usize, now: usize, kind: Deadline) {
        let taken = match kind {
            DOWNSTREAM_WRITE => &mut self.taken_downstream,
            _ => &mut self.taken_upstream,
        };
        if now >= before {
            return;
        }
        *taken += before - now;
        if *taken >= FAIR_AMOUNT || now == 0 {
            *taken = 0;
            self.mark_moved(kind);
        }
    }

    fn count_relayed(&mut self, bytes: usize, kind: Deadline) {
        if bytes > 0 {
            self.mark_moved(kind);
        }
    }

    /// Keeps, moves or clears one deadline.
    fn watch(&mut self, kind: Deadline, active: bool, limit: Option<Duration>, now: Instant) {
        let moved = self.moved & bit(kind) != 0;
        match limit.filter(|_| active) {
            None => self.deadlines.set(kind, None),
            Some(limit) if moved || self.deadlines.get(kind).is_none() => {
                self.deadlines.set(kind, now.checked_add(limit));
            }
            Some(_) => {}
        }
    }

    fn poll_time<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        let Limits {
            downstream_read,
            downstream_write,
            upstream_read,
            upstream_write,
        } = self.limits;
        let down_blocked =
            exchange.serves_client() && (down.wants_flush() || self.response.held() > 0);
        let up_blocked = writes_up(exchange, up) || self.request.held() > 0;
        let blocked = down_blocked || up_blocked;
        if blocked {
            up.count_held();
            down.count_held(up_blocked);
        }
        if self.idles && !blocked && self.blocked_since.is_none() {
            return self.poll_idle(cx, exchange, down);
        }
        let permission = down.awaits_continue();
        let reads_body = self.reads_body(exchange, up) && !exchange.tunnel && !permission;
        let waits = blocked || exchange.tunnel || self.resume_at.is_some();
        // A server is not late while it waits for the rest of the request, unless the client is waiting
        // for its permission to send that rest.
        let is_asked = exchange.response != ResponseFlow::Head
            || exchange.request != RequestFlow::Open
            || permission;
        let is_plain = !waits && self.blocked_since.is_none() && !reads_body && !self.is_watched;
        if is_plain && self.until.is_none() {
            // The common case: the exchange waits only for the server, for which there is room.
            let is_read = self.pace != Pace::Paused;
            let reads_response = exchange.wants_response() && is_asked && is_read;
            return match upstream_read.filter(|_| reads_response) {
                Some(limit) => self.poll_server(cx, down, limit),
                // No limit applies, so the clock need not be read.
                None => {
                    self.server_is_late = None;
                    Poll::Pending
                }
            };
        }
        if !self.is_watched {
            self.is_watched = true;
            self.deadlines.set(UPSTREAM_READ, self.server_is_late);
        }
        let now = Instant::now();
        let reads_response = self.reads_response(exchange, down) && !self.is_delayed() && is_asked;
        self.watch(DOWNSTREAM_READ, reads_body, downstream_read, now);
        self.watch(DOWNSTREAM_WRITE, down_blocked, downstream_write, now);
        self.watch(UPSTREAM_READ, reads_response, upstream_read, now);
        self.watch(UPSTREAM_WRITE, up_blocked, upstream_write, now);
        let stands = blocked && !exchange.tunnel;
        self.watch(PROGRESS, stands, Some(PROGRESS_LIMIT), now);
        let idle = tunnel::idle_limit(exchange);
        self.watch(TUNNEL_IDLE, exchange.tunnel, Some(idle), now);
        self.watch_until(exchange, reads_body, down_blocked, now);
        self.moved = 0;
        self.count_blocked(up_blocked, now);
        self.deadlines.set(RESUME, self.resume_at);
        let limited = self.until.is_some() || self.resume_at.is_some();
        self.idles = exchange.tunnel && !blocked && !limited;
        match down.poll_alarm(cx, &self.deadlines, now) {
            // The delay requested by a filter is over.
            Poll::Ready(RESUME) => {
                self.resume_at = None;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(kind) => Poll::Ready(Event::Failed(Failure::Expired(kind))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Sets the server's deadline, if no other was ever set in this exchange.
    fn poll_server<D: DownstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
        limit: Duration,
    ) -> Poll<Event> {
        let now = Instant::now();
        if std::mem::take(&mut self.moved) & bit(UPSTREAM_READ) != 0 {
            self.server_is_late = None;
        }
        let at = self.server_is_late.or_else(|| now.checked_add(limit));
        self.server_is_late = at;
        match at {
            Some(at) => down
                .poll_reached(cx, at, now)
                .map(|()| Event::Failed(Failure::Expired(UPSTREAM_READ))),
            // Beyond the end of time.
            None => Poll::Pending,
        }
    }

    fn count_blocked(&mut self, blocked: bool, now: Instant) {
        match (blocked, self.blocked_since) {
            (true, None) => self.blocked_since = Some(now),
            (false, Some(since)) => {
                self.write_pending += now - since;
                self.blocked_since = None;
            }
            _ => {}
        }
    }
}

/// Whether to write to the server. Not to one that has refused data: a half that keeps the bytes it could
/// not write would fail again and again.
fn writes_up<U: UpstreamHalf>(exchange: &Exchange, up: &U) -> bool {
    exchange.request != RequestFlow::Refused && up.wants_flush()
}

fn bit(kind: Deadline) -> u32 {
    1 << kind.number()
}

/// Yields to other tasks.
fn yielded(cx: &Context<'_>) -> Poll<Event> {
    cx.waker().wake_by_ref();
    Poll::Pending
}
