//! Receiving the response.

use super::faults;
use super::{ConnectionRef, Http2Session, Inner};
use crate::protocols::http::HttpTask;
use crate::protocols::http::grace::Grace;
use crate::protocols::http::v2::message::{
    IncomingResponse, Payload, check_trailers, declared_length, incoming_response,
    incoming_trailers,
};
use bytes::Bytes;
use http::{HeaderMap, Response, Version};
use pingora_error::{BError, ErrorType, Result};
use pingora_h2::client::{Answer, ResponseFuture};
use pingora_h2::{Failure, Reason, RecvStream};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

/// A server that sends more informational responses than this will never send a final one.
const MOST_INFORMATIONAL: u8 = 100;

/// The part that follows the head.
#[derive(Debug)]
enum Piece {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
    End,
}

/// The progress of the response.
#[derive(Default)]
enum Stage {
    /// Nothing was requested yet.
    #[default]
    Nothing,
    /// The final head is awaited.
    Head(ResponseFuture),
    /// The head was handed out.
    Body(RecvStream, Payload),
    /// Everything was handed out.
    Done,
}

/// The receiving half of the exchange.
#[derive(Default)]
pub(super) struct Receiving {
    stage: Stage,
    /// The piece after the one that was handed out, if it has arrived already. It tells whether the
    /// piece handed out was the last, and lets pieces that arrived together be sent together.
    ahead: Option<Result<Piece>>,
    /// Bytes that were handed out and not given back to the server's window yet.
    held: usize,
    informational: u8,
    /// The bytes of the payload that are still to come; `None` if its length was not declared.
    left: Option<u64>,
    /// The end of a response that is otherwise complete.
    grace: Grace,
    /// The reason why there will be no response.
    failed: Option<BError>,
}

impl Receiving {
    pub(super) fn begin(&mut self, response: ResponseFuture) {
        self.stage = Stage::Head(response);
    }

    /// The request could not be sent.
    pub(super) fn fail(&mut self, error: BError) {
        self.failed = Some(error);
    }

    pub(super) fn take_failure(&mut self) -> Option<BError> {
        self.failed.take()
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Whether everything declared has arrived: only trailers and the end can follow.
    fn lacks_nothing(&self) -> bool {
        self.left == Some(0)
    }

    fn count(&mut self, data: &Bytes) {
        if let Some(left) = &mut self.left {
            // The framing layer refuses more than was declared.
            *left = left.saturating_sub(data.len() as u64);
        }
    }

    /// The number of bytes of the response that have arrived and were not handed out.
    pub(super) fn held_by_framing(&mut self) -> usize {
        let Stage::Body(body, _) = &mut self.stage else {
            return 0;
        };
        body.arriving().0
    }

    /// Gives back the window space of the data that was handed out: a caller that asks for more has
    /// consumed it.
    fn give_back(&mut self) {
        if self.held == 0 {
            return;
        }
        if let Stage::Body(body, _) = &mut self.stage {
            body.release(self.held);
        }
        self.held = 0;
    }
}

impl Inner {
    /// The next head, informational or final. Cancel-safe.
    fn poll_response_head(
        &mut self,
        cx: &mut Context<'_>,
        conn: &ConnectionRef,
    ) -> Poll<Result<IncomingResponse>> {
        let Stage::Head(response) = &mut self.receiving.stage else {
            if self.sending.holds_head() {
                // The flushing task is woken.
                return Poll::Pending;
            }
            let failed = self.receiving.failed.take();
            let why = "no response is awaited on this stream";
            return Poll::Ready(Err(failed.unwrap_or_else(|| faults::unsendable(why))));
        };
        Poll::Ready(match ready!(response.poll_answer(cx)) {
            Ok(answer) => self.begin_response(answer),
            Err(error) => Err(self.stream_failed(error, conn)),
        })
    }

    fn begin_response(&mut self, answer: Answer) -> Result<IncomingResponse> {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = answer.status;
        parts.version = Version::HTTP_2;
        parts.headers = answer.fields;
        self.answered = true;
        let (head, connect) = (self.sending.head_request, self.sending.connect_request);
        let declared = declared_length(&parts.headers).ok().flatten();
        let response = match incoming_response(parts, head, connect) {
            Ok(response) => response,
            Err(fault) => return Err(self.malformed(faults::malformed(fault.reason()))),
        };
        match (response.payload, answer.body) {
            (Some(payload), Some(body)) => {
                self.receiving.left = match payload {
                    Payload::Nothing => Some(0),
                    Payload::Body => declared,
                    Payload::Tunnel => None,
                };
                self.sending.answered(payload == Payload::Tunnel);
                self.receiving.stage = Stage::Body(body, payload);
            }
            _ => {
                self.receiving.informational += 1;
                if self.receiving.informational > MOST_INFORMATIONAL {
                    let why = "the server sends informational responses without end";
                    return Err(self.malformed(faults::broken(why)));
                }
            }
        }
        Ok(response)
    }

    #[cold]
    fn malformed(&mut self, error: BError) -> BError {
        self.reset(Reason::PROTOCOL_ERROR);
        error
    }

    #[cold]
    fn stream_failed(&mut self, error: Failure, conn: &ConnectionRef) -> BError {
        let progress = self.progress();
        faults::stream_failed(error, conn.ping_timedout(), progress)
    }

    /// The next piece after the head. Cancel-safe.
    fn poll_piece(&mut self, cx: &mut Context<'_>, conn: &ConnectionRef) -> Poll<Result<Piece>> {
        if let Some(ahead) = self.receiving.ahead.take() {
            return Poll::Ready(ahead);
        }
        let Stage::Body(body, payload) = &mut self.receiving.stage else {
            return Poll::Ready(Ok(Piece::End));
        };
        let received = loop {
            let Poll::Ready(received) = body.poll_data(cx) else {
                return self.poll_late_end(cx);
            };
            match received {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(_)) if *payload == Payload::Nothing => {
                    let why = "a response that has no body brings one";
                    return Poll::Ready(Err(self.malformed(faults::broken(why))));
                }
                Some(Ok(data)) => {
                    self.receiving.count(&data);
                    return Poll::Ready(Ok(Piece::Data(data)));
                }
                Some(Err(error)) => break Err(error),
                None => {
                    let trailers = match ready!(body.poll_trailers(cx)) {
                        Ok(trailers) => trailers,
                        Err(error) => break Err(error),
                    };
                    let Some(trailers) = trailers else {
                        break Ok(Piece::End);
                    };
                    if let Err(fault) = check_trailers(&trailers) {
                        let error = faults::malformed(fault.reason());
                        return Poll::Ready(Err(self.malformed(error)));
                    }
                    break Ok(Piece::Trailers(Box::new(trailers)));
                }
            }
        };
        Poll::Ready(match received {
            Ok(Piece::Trailers(mut trailers)) => match incoming_trailers(&mut trailers) {
                Ok(()) => Ok(Piece::Trailers(trailers)),
                Err(fault) => Err(self.malformed(faults::malformed(fault.reason()))),
            },
            // The server owed only the end, so nothing is missing.
            Err(error) if self.receiving.lacks_nothing() && !error.is_library() => {
                self.reset(Reason::CANCEL);
                Ok(Piece::End)
            }
            received => received.map_err(|error| self.stream_failed(error, conn)),
        })
    }

    /// Nothing has arrived. If the response is otherwise complete, it ends after a moment without an
    /// explicit end. So does the stream, which is no longer needed.
    fn poll_late_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece>> {
        if !self.receiving.lacks_nothing() {
            return Poll::Pending;
        }
        ready!(self.receiving.grace.poll(cx));
        log::debug!("a server has sent a whole response, and did not end its stream");
        self.reset(Reason::CANCEL);
        Poll::Ready(Ok(Piece::End))
    }

    /// Whether the response ends here, as far as can be determined from the data that has arrived.
    fn ends_here(&mut self, cx: &mut Context<'_>, conn: &ConnectionRef) -> bool {
        if let Poll::Ready(piece) = self.poll_piece(cx, conn) {
            self.receiving.ahead = Some(piece);
        }
        matches!(self.receiving.ahead, Some(Ok(Piece::End)))
    }

    fn finish_response(&mut self) {
        self.receiving.ahead = None;
        self.receiving.stage = Stage::Done;
        // From now on only declared data is awaited.
        self.receiving.held = 0;
    }

    fn poll_task(&mut self, cx: &mut Context<'_>, conn: &ConnectionRef) -> Poll<Result<HttpTask>> {
        match self.receiving.stage {
            Stage::Nothing | Stage::Head(_) => {
                let response = ready!(self.poll_response_head(cx, conn))?;
                let tunnel = response.payload == Some(Payload::Tunnel);
                let is_final = response.payload.is_some();
                let end = is_final && !tunnel && self.ends_here(cx, conn);
                if end {
                    self.finish_response();
                }
                Poll::Ready(Ok(HttpTask::Header(response.header, end)))
            }
            Stage::Body(_, payload) => {
                self.receiving.give_back();
                let tunnel = payload == Payload::Tunnel;
                let piece = ready!(self.poll_piece(cx, conn))?;
                Poll::Ready(Ok(self.hand_out(piece, tunnel, cx, conn)))
            }
            Stage::Done => Poll::Ready(Ok(HttpTask::Done)),
        }
    }

    fn hand_out(
        &mut self,
        piece: Piece,
        tunnel: bool,
        cx: &mut Context<'_>,
        conn: &ConnectionRef,
    ) -> HttpTask {
        let (data, end) = match piece {
            Piece::Data(data) => {
                self.body_received += data.len();
                self.receiving.held = data.len();
                (Some(data), self.ends_here(cx, conn))
            }
            Piece::Trailers(trailers) if !tunnel => {
                self.finish_response();
                return HttpTask::Trailer(Some(trailers));
            }
            Piece::Trailers(_) | Piece::End => (None, true),
        };
        if end {
            self.finish_response();
        }
        if tunnel {
            HttpTask::UpgradedBody(data, end)
        } else {
            HttpTask::Body(data, end)
        }
    }
}

impl Http2Session {
    /// The next piece of the response: heads (informational ones first), body, trailers, end. For
    /// engines; cancel-safe, no time limit.
    ///
    /// The space that a piece took in the server's window is given back when the next one is
    /// requested.
    pub fn poll_response_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        self.inner.poll_task(cx, &self.conn)
    }

    /// Whether the next piece is available.
    pub fn has_buffered_input(&self) -> bool {
        self.inner.receiving.ahead.is_some()
    }

    /// Polls `step` within the read timeout, and meanwhile sends data that is still queued.
    async fn within<T>(
        &mut self,
        mut step: impl FnMut(&mut Inner, &mut Context<'_>, &ConnectionRef) -> Poll<Result<T>>,
    ) -> Result<T> {
        let (inner, conn) = (&mut self.inner, &self.conn);
        let read = poll_fn(|cx| {
            // A server that accepts no more of the request may still answer.
            let _ = inner.poll_flush(cx, conn);
            step(inner, cx, conn)
        });
        match self.read_timeout {
            None => read.await,
            Some(limit) => match tokio::time::timeout(limit, read).await {
                Ok(result) => result,
                Err(_) => Err(self.read_timed_out()),
            },
        }
    }

    #[cold]
    fn read_timed_out(&mut self) -> BError {
        self.inner.reset(Reason::CANCEL);
        let what = "the server's response took too long";
        faults::timed_out(ErrorType::ReadTimedout, what)
    }

    /// Reads the next head, which may be an informational one: see
    /// [`Http2Session::response_header`]. Cancel-safe. Does nothing once the final one was read.
    ///
    /// # Errors
    /// [`ErrorType::H2Error`] if the server has reset the stream or is going away, to be retried if
    /// it has not processed the request; [`ErrorType::H2Downgrade`] if it wants HTTP/1.1;
    /// [`ErrorType::InvalidH2`] and [`ErrorType::InvalidHTTPHeader`] if it breaks a rule;
    /// [`ErrorType::ConnectionClosed`], [`ErrorType::ReadError`], [`ErrorType::ReadTimedout`],
    /// [`PING_TIMEDOUT`](super::PING_TIMEDOUT).
    pub async fn read_response_header(&mut self) -> Result<()> {
        if matches!(self.inner.receiving.stage, Stage::Body(..) | Stage::Done) {
            return Ok(());
        }
        let response = self.within(Inner::poll_response_head).await?;
        self.inner.response_header = Some(response.header);
        Ok(())
    }

    /// The next piece of the response's body; `None` at its end. Cancel-safe.
    ///
    /// # Errors
    /// The same as for [`read_response_header`](Self::read_response_header).
    pub async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        if self.inner.receiving.is_done() {
            return Ok(None);
        }
        let piece = self.within(|inner, cx, conn| {
            inner.receiving.give_back();
            inner.poll_piece(cx, conn)
        });
        match piece.await? {
            Piece::Data(data) => {
                self.inner.body_received += data.len();
                self.inner.receiving.held = data.len();
                Ok(Some(data))
            }
            Piece::Trailers(trailers) => {
                // Kept for callers that read trailers.
                self.inner.receiving.ahead = Some(Ok(Piece::Trailers(trailers)));
                Ok(None)
            }
            Piece::End => {
                self.inner.finish_response();
                Ok(None)
            }
        }
    }

    /// The trailers, once the body was read to its end; `None` if there are none. Cancel-safe.
    ///
    /// # Errors
    /// The same as for [`read_response_header`](Self::read_response_header);
    /// [`ErrorType::InternalError`] if more of the body has to be read first.
    pub async fn read_trailers(&mut self) -> Result<Option<HeaderMap>> {
        if self.inner.receiving.is_done() {
            return Ok(None);
        }
        match self.within(Inner::poll_piece).await? {
            Piece::Trailers(trailers) => {
                self.inner.finish_response();
                Ok(Some(*trailers))
            }
            Piece::End => {
                self.inner.finish_response();
                Ok(None)
            }
            Piece::Data(data) => {
                self.inner.receiving.ahead = Some(Ok(Piece::Data(data)));
                let why = "the body was not read to its end";
                Err(faults::unsendable(why))
            }
        }
    }

    /// The next piece of the response, within the read timeout.
    ///
    /// # Errors
    /// The same as for [`read_response_header`](Self::read_response_header).
    pub async fn read_response_task(&mut self) -> Result<HttpTask> {
        self.within(Inner::poll_task).await
    }

    /// Whether the response has ended, judging by the data that has arrived and without waiting.
    /// That data can still be read.
    ///
    /// # Errors
    /// The reason why the response can't be read any further.
    pub fn check_response_end_or_error(&mut self) -> Result<bool> {
        let inner = &mut *self.inner;
        if inner.receiving.is_done() {
            return Ok(true);
        }
        if !matches!(inner.receiving.stage, Stage::Body(..)) {
            return Ok(false);
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let ended = inner.ends_here(&mut cx, &self.conn);
        match inner.receiving.ahead.take_if(|ahead| ahead.is_err()) {
            Some(Err(error)) => Err(error),
            _ => Ok(ended),
        }
    }
}
