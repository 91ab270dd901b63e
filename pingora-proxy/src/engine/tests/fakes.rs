//! Halves that do exactly what a test tells them, and remember whom to wake.

use super::super::state::{Exchange, OnFailure};
use super::super::turn::{Event, Failure, Limits, QUEUE_MARK, Turn};
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use pingora_core::timeout::{Alarm, Deadline, Deadlines};
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::time::Instant;

/// Bytes that may leave only as far as the other side gave credit: a socket's buffer, or the window
/// of a stream.
#[derive(Default)]
pub(super) struct Pipe {
    waiting: VecDeque<u8>,
    credit: usize,
    pub(super) delivered: Vec<u8>,
    pub(super) most_waiting: usize,
    pub(super) largest_piece: usize,
    pub(super) ended: bool,
    pub(super) broken: bool,
    /// Bytes that could not be written stay.
    pub(super) keeps: bool,
    pub(super) waker: Option<Waker>,
}

impl Pipe {
    fn push(&mut self, data: &[u8]) {
        assert!(!self.ended, "bytes after the end");
        self.waiting.extend(data);
        self.most_waiting = self.most_waiting.max(self.waiting.len());
        self.largest_piece = self.largest_piece.max(data.len());
    }

    pub(super) fn grant(&mut self, credit: usize) {
        self.credit = self.credit.saturating_add(credit);
        self.wake();
    }

    pub(super) fn break_down(&mut self) {
        self.broken = true;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.broken {
            if !self.keeps {
                self.waiting.clear();
            }
            return Poll::Ready(Error::err(ErrorType::WriteError));
        }
        let n = self.credit.min(self.waiting.len());
        self.credit -= n;
        self.delivered.extend(self.waiting.drain(..n));
        if self.waiting.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Pieces that arrive when the test says so.
pub(super) struct Source<T> {
    ready: VecDeque<T>,
    pub(super) waker: Option<Waker>,
}

impl<T> Default for Source<T> {
    fn default() -> Self {
        Source {
            ready: VecDeque::new(),
            waker: None,
        }
    }
}

impl<T> Source<T> {
    pub(super) fn give(&mut self, piece: T) {
        self.ready.push_back(piece);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        match self.ready.pop_front() {
            Some(piece) => Poll::Ready(piece),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[derive(Default)]
pub(super) struct Down {
    pub(super) body: Source<Result<Option<Bytes>>>,
    pub(super) gone: Source<()>,
    pub(super) out: Pipe,
    pub(super) heads: Vec<u16>,
    /// The client waits for a 100.
    pub(super) permission: bool,
    /// The client lets nothing through.
    pub(super) stalled: bool,
    pub(super) read_ahead: usize,
    alarm: Alarm,
}

impl DownstreamHalf for Down {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.body.poll(cx)
    }

    fn body_done(&mut self) -> bool {
        false
    }

    fn awaits_continue(&self) -> bool {
        self.permission
    }

    fn take_request_trailers(&mut self) -> Option<Box<HeaderMap>> {
        None
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        self.gone
            .poll(cx)
            .map(|()| Error::new_down(ErrorType::ConnectionClosed))
    }

    fn queue(&mut self, task: HttpTask) -> Result<()> {
        let end = task.is_end();
        match task {
            HttpTask::Header(header, _) => {
                self.heads.push(header.status.as_u16());
                self.out.push(b"head");
            }
            HttpTask::Body(data, _) | HttpTask::UpgradedBody(data, _) => {
                self.out.push(&data.unwrap_or_default());
            }
            HttpTask::Trailer(_) | HttpTask::Done => {}
            HttpTask::Failed(error) => return Err(error),
        }
        self.out.ended |= end;
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.out.poll_flush(cx)
    }

    fn wants_flush(&self) -> bool {
        !self.out.waiting.is_empty()
    }

    fn queued(&self) -> usize {
        self.out.waiting.len()
    }

    fn is_stalled(&self) -> bool {
        self.stalled
    }

    fn read_ahead(&self) -> usize {
        self.read_ahead
    }

    fn poll_alarm(
        &mut self,
        cx: &mut Context<'_>,
        deadlines: &Deadlines,
        now: Instant,
    ) -> Poll<Deadline> {
        self.alarm.poll_expired(cx, deadlines, now)
    }
}

#[derive(Default)]
pub(super) struct Up {
    pub(super) tasks: Source<Result<HttpTask>>,
    pub(super) out: Pipe,
    /// Announces pieces that are in memory, as HTTP/1 does; a stream of HTTP/2 has no say in it.
    pub(super) announces: bool,
    /// Announces a piece if there is none.
    pub(super) lies: bool,
    pub(super) stalled: bool,
    /// The most bytes that one read may take.
    pub(super) limit: usize,
}

impl UpstreamHalf for Up {
    fn queue_body(&mut self, data: Bytes) -> Result<()> {
        if !self.out.broken || self.out.keeps {
            self.out.push(&data);
        }
        Ok(())
    }

    fn queue_end(&mut self, _trailers: Option<&HeaderMap>) -> Result<()> {
        self.out.ended = true;
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.out.poll_flush(cx)
    }

    fn wants_flush(&self) -> bool {
        !self.out.waiting.is_empty()
    }

    fn queued(&self) -> usize {
        self.out.waiting.len()
    }

    fn is_stalled(&self) -> bool {
        self.stalled
    }

    fn limit_reads(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        self.tasks.poll(cx)
    }

    fn has_input(&self) -> bool {
        self.lies || self.announces && self.tasks.len() > 0
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// An engine between two such halves, and what a proxy without filters makes of its events.
pub(super) struct Rig {
    pub(super) turn: Turn,
    pub(super) exchange: Exchange,
    pub(super) down: Down,
    pub(super) up: Up,
    pub(super) delayed: bool,
    woken: Arc<Woken>,
}

impl Rig {
    pub(super) fn new(limits: Limits) -> Self {
        Rig {
            turn: Turn::new(limits),
            exchange: Exchange::new(),
            down: Down::default(),
            up: Up {
                announces: true,
                ..Up::default()
            },
            delayed: false,
            woken: Arc::new(Woken(AtomicBool::new(true))),
        }
    }

    /// Whether the task was woken since the last call.
    pub(super) fn woken(&self) -> bool {
        self.woken.0.swap(false, Ordering::SeqCst)
    }

    pub(super) fn poll(&mut self) -> Poll<Event> {
        let waker = Waker::from(self.woken.clone());
        let mut cx = Context::from_waker(&waker);
        let polled = self
            .turn
            .poll(&mut cx, &self.exchange, &mut self.down, &mut self.up);
        if polled.is_pending() && !self.woken.0.load(Ordering::SeqCst) {
            self.check_wakers();
        }
        polled
    }

    /// Checks that every direction that is open and has room holds a waker of the task.
    fn check_wakers(&self) {
        let Rig {
            exchange, down, up, ..
        } = self;
        assert!(
            !down.wants_flush() || down.out.waker.is_some(),
            "nobody waits for the client"
        );
        assert!(
            !up.wants_flush() || up.out.broken || up.out.waker.is_some(),
            "nobody waits for the server"
        );
        let reads_body = exchange.wants_body() && up.queued() < QUEUE_MARK && !up.stalled;
        assert!(
            !reads_body || down.body.waker.is_some(),
            "nobody waits for the body"
        );
        let room = down.queued() < QUEUE_MARK && !down.stalled;
        let reads_response = exchange.wants_response() && room && !self.delayed;
        assert!(
            !reads_response || up.tasks.waker.is_some(),
            "nobody waits for the response"
        );
        let watches = exchange.watches_client();
        assert!(
            !watches || down.gone.waker.is_some(),
            "nobody watches the client"
        );
    }

    /// Reacts as a proxy without filters does. An event that ends the exchange is returned.
    pub(super) fn apply(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Body(Some(data)) => {
                self.turn.count_bytes(data.len());
                self.up.queue_body(data).unwrap();
            }
            Event::Body(None) => {
                self.up.queue_end(None).unwrap();
                self.exchange.request_ended();
            }
            Event::Task(task) => {
                let end = task.is_end();
                if let HttpTask::Body(Some(data), _) | HttpTask::UpgradedBody(Some(data), _) = &task
                {
                    self.turn.count_bytes(data.len());
                }
                match &task {
                    HttpTask::Header(header, _) if header.status.as_u16() == 101 => {
                        self.exchange.became_tunnel();
                        self.up.out.ended = false;
                    }
                    HttpTask::Header(header, _) if header.status.is_informational() => {}
                    HttpTask::Header(_, end) => self.exchange.head_passed_on(*end),
                    _ if end => self.exchange.response_ended(),
                    _ => {}
                }
                self.down.queue(task).unwrap();
            }
            Event::Failed(Failure::UpstreamUnwritable(error)) => {
                if self.exchange.upstream_unwritable() == OnFailure::End {
                    return Some(Event::Failed(Failure::UpstreamUnwritable(error)));
                }
            }
            other => return Some(other),
        }
        None
    }

    /// Polls and applies until the engine waits, or tells an event that ends the exchange.
    pub(super) fn settle(&mut self) -> Option<Event> {
        loop {
            match self.poll() {
                Poll::Ready(event) => {
                    if let Some(event) = self.apply(event) {
                        self.write_last_words();
                        return Some(event);
                    }
                }
                Poll::Pending if self.woken() => {}
                Poll::Pending => return None,
            }
        }
    }

    /// Writes the rest, as the caller of an exchange does at its end.
    pub(super) fn write_last_words(&mut self) {
        let waker = Waker::from(self.woken.clone());
        let _ = self.down.poll_flush(&mut Context::from_waker(&waker));
    }

    /// As an executor does it: polls only if the task was woken.
    pub(super) fn settle_if_woken(&mut self) -> Option<Event> {
        if self.woken() { self.settle() } else { None }
    }
}

pub(super) fn head(status: u16, end: bool) -> Result<HttpTask> {
    Ok(HttpTask::Header(
        Box::new(ResponseHeader::build(status, None).unwrap()),
        end,
    ))
}

pub(super) fn body(data: impl Into<Bytes>, end: bool) -> Result<HttpTask> {
    Ok(HttpTask::Body(Some(data.into()), end))
}

pub(super) fn raw(data: impl Into<Bytes>) -> Result<HttpTask> {
    Ok(HttpTask::UpgradedBody(Some(data.into()), false))
}

pub(super) fn piece(data: impl Into<Bytes>) -> Result<Option<Bytes>> {
    Ok(Some(data.into()))
}
