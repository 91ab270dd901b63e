//! Waiting on both halves of an exchange at once.

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
/// What may be queued towards the client when an exchange is over, in bytes.
const LAST_WORDS: usize = 16 * 1024;
/// After so many events without waiting, other tasks get their turn.
const EVENTS_PER_TURN: u32 = 32;
/// And after so many bytes.
pub(crate) const BYTES_PER_TURN: usize = 256 * 1024;
/// An exchange in which somebody is kept waiting for room, and nothing moves in any direction for
/// so long, is ended: a client that uploads before it reads and a server that echoes would
/// otherwise wait for each other for ever.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);
/// A tunnel in which nothing moves for so long is closed.
const TUNNEL_IDLE: Duration = Duration::from_secs(60 * 60);
/// The same, once one side has closed its direction.
const TUNNEL_HALF_CLOSED_IDLE: Duration = Duration::from_secs(60);

/// A filter that asks for a longer delay gets this one.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What happened next.
#[derive(Debug)]
pub(crate) enum Event {
    /// A piece of the request's body; `None`: its end.
    Body(Option<Bytes>),
    /// A piece of the response.
    Task(HttpTask),
    /// The request can't be read any further, or the client is gone.
    DownstreamFailed(BError),
    /// The client takes nothing more.
    DownstreamUnwritable(BError),
    /// The response can't be read any further.
    UpstreamFailed(BError),
    /// The server takes nothing more.
    UpstreamUnwritable(BError),
    /// A limit of time was reached.
    Expired(Deadline),
    /// All is read, and all is written but for the last few bytes to the client.
    Complete,
}

/// How long each direction may stand still; `None`: for ever.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) downstream_read: Option<Duration>,
    pub(crate) downstream_write: Option<Duration>,
    pub(crate) upstream_read: Option<Duration>,
    pub(crate) upstream_write: Option<Duration>,
}

/// The waiting part of an exchange, from event to event.
///
/// Before it waits, it has tried every direction that is open: to write what is queued, and to read
/// where the other half has room. Pieces of a response that are in memory already are handed out
/// ahead of any write, so that what arrived together leaves together.
#[derive(Debug)]
pub(crate) struct Turn {
    limits: Limits,
    deadlines: Deadlines,
    /// The request's body, as far as nobody wants to see it.
    pub(crate) request: Relay,
    /// The response's body, likewise.
    pub(crate) response: Relay,
    /// What has moved since the clock was last read, one bit per kind of deadline.
    moved: u32,
    /// The response is not read before this instant: a body filter asked for a delay.
    resume_at: Option<Instant>,
    /// The side that is asked first, alternating so that neither starves the other.
    downstream_first: bool,
    events: u32,
    bytes: usize,
    /// Deadlines besides that of the server have been set, and have to be lifted.
    is_watched: bool,
    /// When the server is late, as long as there is no other deadline.
    server_is_late: Option<Instant>,
    /// Since when the server keeps queued bytes waiting.
    blocked_since: Option<Instant>,
    pub(crate) write_pending: Duration,
}

impl Turn {
    pub(crate) fn new(limits: Limits) -> Self {
        Turn {
            limits,
            deadlines: Deadlines::default(),
            request: Relay::default(),
            response: Relay::default(),
            moved: u32::MAX,
            resume_at: None,
            downstream_first: false,
            events: 0,
            bytes: 0,
            is_watched: false,
            server_is_late: None,
            blocked_since: None,
            write_pending: Duration::ZERO,
        }
    }

    /// Keeps the rest of the response waiting.
    pub(crate) fn delay_response(&mut self, delay: Duration) {
        // Beyond the end of time there is nothing to wait for: the limits end the exchange.
        self.resume_at = Instant::now().checked_add(delay.min(LONGEST_DELAY));
    }

    /// The time in which the client has to take something, from now on.
    pub(crate) fn limit_downstream_write(&mut self, limit: Option<Duration>) {
        self.limits.downstream_write = limit;
    }

    /// How long the server may be silent, from now on.
    pub(crate) fn limit_upstream_read(&mut self, limit: Option<Duration>) {
        self.limits.upstream_read = limit;
    }

    /// Counts bytes that were handed on, for fairness towards other tasks.
    pub(crate) fn count_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    fn mark_moved(&mut self, kind: Deadline) {
        self.moved |= 1 << kind as u32 | 1 << Deadline::Progress as u32;
    }

    /// The next event. Cancel-safe: its state is in the halves, and in `self`.
    pub(crate) fn poll<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        if self.events >= EVENTS_PER_TURN || self.bytes >= BYTES_PER_TURN {
            (self.events, self.bytes) = (0, 0);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let event = self.poll_event(cx, exchange, down, up);
        match event.is_ready() {
            true => self.events += 1,
            false => (self.events, self.bytes) = (0, 0),
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
        let delayed = self.resume_at.is_some();
        if exchange.finished()
            && !exchange.tunnel
            && !up.wants_flush()
            && self.leaves_last_words(down)
        {
            return Poll::Ready(Event::Complete);
        }
        if !delayed && self.reads_response(exchange, down) && up.has_input() {
            let event = self.poll_task(cx, up);
            if event.is_ready() {
                return event;
            }
        }
        if let Poll::Ready(failed) = self.poll_writes(cx, down, up) {
            return Poll::Ready(failed);
        }
        if exchange.finished() && !down.wants_flush() && !(exchange.tunnel && up.wants_flush()) {
            return Poll::Ready(Event::Complete);
        }
        self.downstream_first = !self.downstream_first;
        for downstream in [self.downstream_first, !self.downstream_first] {
            let event = match downstream {
                true => self.poll_downstream(cx, exchange, down, up),
                false if delayed || !exchange.wants_response() => Poll::Pending,
                false => self.poll_response(cx, exchange, down, up),
            };
            if event.is_ready() {
                return event;
            }
        }
        self.poll_time(cx, exchange, down, up)
    }

    fn poll_writes<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        if down.wants_flush() {
            let before = down.queued();
            if let Poll::Ready(Err(error)) = down.poll_flush(cx) {
                return Poll::Ready(Event::DownstreamUnwritable(error));
            }
            if down.queued() < before {
                self.mark_moved(Deadline::DownstreamWrite);
            }
        }
        if up.wants_flush() {
            let before = up.queued();
            if let Poll::Ready(Err(error)) = up.poll_flush(cx) {
                return Poll::Ready(Event::UpstreamUnwritable(error));
            }
            if up.queued() < before {
                self.mark_moved(Deadline::UpstreamWrite);
            }
        }
        Poll::Pending
    }

    /// Whether the response may be read from: there is room for more of it.
    fn reads_response<D: DownstreamHalf>(&self, exchange: &Exchange, down: &D) -> bool {
        exchange.wants_response()
            && down.queued() < QUEUE_MARK
            && !down.is_stalled()
            && !self.response.is_blocked()
    }

    /// Whether what is still queued is little enough to be written by whoever ended the exchange:
    /// the connection to the server is free then before the client has seen the end.
    fn leaves_last_words<D: DownstreamHalf>(&self, down: &D) -> bool {
        down.queued() <= LAST_WORDS && self.response.held() == 0
    }

    /// Whether the request may be read from: there is room for more of it.
    fn reads_body<U: UpstreamHalf>(&self, exchange: &Exchange, up: &U) -> bool {
        exchange.wants_body() && up.queued() < QUEUE_MARK && !self.request.is_blocked()
    }

    fn poll_response<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        if self.response.is_open() {
            let relayed = self
                .response
                .poll(cx, up.splice_source(), down.splice_sink());
            self.count_relayed(self.response.received, Deadline::UpstreamRead);
            self.count_relayed(self.response.sent, Deadline::DownstreamWrite);
            match ready!(relayed) {
                Relayed::Copy => {}
                Relayed::Yield => return yielded(cx),
                Relayed::SourceFailed(error) => return Poll::Ready(Event::UpstreamFailed(error)),
                Relayed::SinkFailed(error) => {
                    return Poll::Ready(Event::DownstreamUnwritable(error));
                }
            }
        }
        match self.reads_response(exchange, down) {
            true => self.poll_task(cx, up),
            false => Poll::Pending,
        }
    }

    fn poll_task<U: UpstreamHalf>(&mut self, cx: &mut Context<'_>, up: &mut U) -> Poll<Event> {
        up.poll_task(cx).map(|task| {
            self.mark_moved(Deadline::UpstreamRead);
            match task {
                Ok(HttpTask::Failed(error)) | Err(error) => Event::UpstreamFailed(error),
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
        match exchange.watches_client() {
            true => down.poll_gone(cx).map(Event::DownstreamFailed),
            false => Poll::Pending,
        }
    }

    fn poll_request<D: DownstreamHalf, U: UpstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        down: &mut D,
        up: &mut U,
    ) -> Poll<Event> {
        if self.request.is_open() {
            let relayed = self
                .request
                .poll(cx, down.splice_source(), up.splice_sink());
            self.count_relayed(self.request.received, Deadline::DownstreamRead);
            self.count_relayed(self.request.sent, Deadline::UpstreamWrite);
            match ready!(relayed) {
                Relayed::Copy => {}
                Relayed::Yield => return yielded(cx),
                Relayed::SourceFailed(error) => return Poll::Ready(Event::DownstreamFailed(error)),
                Relayed::SinkFailed(error) => return Poll::Ready(Event::UpstreamUnwritable(error)),
            }
        }
        if !self.reads_body(exchange, up) {
            return down.poll_given_up(cx).map(Event::DownstreamFailed);
        }
        down.poll_body(cx).map(|piece| {
            self.mark_moved(Deadline::DownstreamRead);
            match piece {
                Ok(piece) => {
                    self.request
                        .note_piece(piece.as_ref().map_or(0, Bytes::len));
                    Event::Body(piece)
                }
                Err(error) => Event::DownstreamFailed(error),
            }
        })
    }

    fn count_relayed(&mut self, bytes: usize, kind: Deadline) {
        if bytes > 0 {
            self.mark_moved(kind);
        }
    }

    /// Keeps, moves or lifts one deadline.
    fn watch(&mut self, kind: Deadline, active: bool, limit: Option<Duration>, now: Instant) {
        let moved = self.moved & 1 << kind as u32 != 0;
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
        let down_blocked = down.wants_flush() || self.response.held() > 0;
        let up_blocked = up.wants_flush() || self.request.held() > 0;
        let permission = down.awaits_continue();
        let reads_body = self.reads_body(exchange, up) && !exchange.tunnel && !permission;
        let waits = down_blocked || up_blocked || exchange.tunnel || self.resume_at.is_some();
        // A server is not late as long as it waits for the rest of the request, unless it is asked
        // whether it wants that rest.
        let is_asked = exchange.response != ResponseFlow::Head
            || exchange.request != RequestFlow::Open
            || permission;
        if !waits && self.blocked_since.is_none() && !reads_body && !self.is_watched {
            // The common case: nothing is waited for but the server, for which there is room.
            let reads_response = exchange.wants_response() && is_asked;
            return match upstream_read.filter(|_| reads_response) {
                Some(limit) => self.poll_server(cx, down, limit),
                // Nothing is limited, so the clock need not be read.
                None => {
                    self.server_is_late = None;
                    Poll::Pending
                }
            };
        }
        if !self.is_watched {
            self.is_watched = true;
            self.deadlines
                .set(Deadline::UpstreamRead, self.server_is_late);
        }
        let now = Instant::now();
        let reads_response =
            self.reads_response(exchange, down) && self.resume_at.is_none() && is_asked;
        self.watch(Deadline::DownstreamRead, reads_body, downstream_read, now);
        self.watch(
            Deadline::DownstreamWrite,
            down_blocked,
            downstream_write,
            now,
        );
        self.watch(Deadline::UpstreamRead, reads_response, upstream_read, now);
        self.watch(Deadline::UpstreamWrite, up_blocked, upstream_write, now);
        let progress = match (
            exchange.tunnel,
            exchange.finished() || !exchange.wants_response(),
        ) {
            (true, false) => TUNNEL_IDLE,
            (true, true) => TUNNEL_HALF_CLOSED_IDLE,
            (false, _) => PROGRESS_LIMIT,
        };
        let watched = down_blocked || up_blocked || exchange.tunnel;
        self.watch(Deadline::Progress, watched, Some(progress), now);
        self.moved = 0;
        self.count_blocked(up_blocked, now);
        self.deadlines.set(Deadline::Resume, self.resume_at);
        match down.poll_alarm(cx, &self.deadlines, now) {
            // The delay that a filter asked for is over.
            Poll::Ready(Deadline::Resume) => {
                self.resume_at = None;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(kind) => Poll::Ready(Event::Expired(kind)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The time of the server, where no other deadline was ever set in this exchange.
    fn poll_server<D: DownstreamHalf>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
        limit: Duration,
    ) -> Poll<Event> {
        let now = Instant::now();
        if std::mem::take(&mut self.moved) & 1 << Deadline::UpstreamRead as u32 != 0 {
            self.server_is_late = None;
        }
        let at = self.server_is_late.or_else(|| now.checked_add(limit));
        self.server_is_late = at;
        match at {
            Some(at) => down
                .poll_reached(cx, at, now)
                .map(|()| Event::Expired(Deadline::UpstreamRead)),
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

/// Lets other tasks have their turn.
fn yielded(cx: &Context<'_>) -> Poll<Event> {
    cx.waker().wake_by_ref();
    Poll::Pending
}
