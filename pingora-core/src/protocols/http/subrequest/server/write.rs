//! Writing: the response, in pieces that the caller receives unchanged.

use super::{HttpSession, Incoming, Inner};
use crate::protocols::http::HttpTask;
use crate::protocols::http::faults;
use crate::protocols::http::h1::{self, BodyEncoder, BodyLength};
use crate::protocols::http::timed::Timed;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::task::{Context, Poll};

impl Inner {
    /// Hands over the queued tasks. Cancel-safe.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.out.poll_flush(cx).map_err(|error| {
            self.broken = true;
            error.into_down()
        })
    }

    /// Hands over the queued tasks, within the write timeout.
    pub(super) async fn flush(&mut self) -> Result<()> {
        let limit = self.options.write_timeout;
        match self.within(limit, Inner::poll_flush).await {
            Some(result) => result,
            None => {
                self.broken = true;
                self.out.clear();
                let source = ErrorSource::Downstream;
                let what = "the caller takes nothing of the sub-request's response";
                Err(faults::timed_out(ErrorType::WriteTimedout, source, what))
            }
        }
    }

    fn queue_header(&mut self, header: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.response.is_some() {
            log::warn!("a second response header is ignored: {}", header.status);
            return Ok(());
        }
        let status = header.line().status;
        let switching = status == StatusCode::SWITCHING_PROTOCOLS;
        if status.is_informational() && !switching {
            // The caller does not wait for a 100 Continue that it did not ask for, or already has.
            let unwanted = status == StatusCode::CONTINUE && !self.continue_owed;
            if status == StatusCode::CONTINUE {
                self.continue_owed = false;
            }
            if !self.options.ignore_info_resp && !unwanted {
                self.out.push(HttpTask::Header(header, false));
            }
            return Ok(());
        }
        let connects = self.request.get().line().method == Method::CONNECT;
        // RFC 9110 section 7.8: no switch in the middle of a message.
        if switching && (!self.upgrade || self.incoming == Incoming::Open) {
            let context = "a response switches protocols, which the request did not ask for, \
                or whose body is not complete";
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, context).into_up());
        }
        if switching || connects && status.is_success() {
            self.become_tunnel();
        } else {
            self.encoder = BodyEncoder::new(self.response_length(&header, end)?);
            self.ended = end || self.has_no_body(status);
            if self.ended {
                // If bytes are missing, the caller must not receive an end.
                self.finish_encoder()?;
            }
        }
        self.response = Some(header.clone());
        self.out.push(HttpTask::Header(header, self.ended));
        Ok(())
    }

    fn has_no_body(&self, status: StatusCode) -> bool {
        self.request.get().line().method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }

    fn response_length(&self, header: &ResponseHeader, end: bool) -> Result<BodyLength> {
        let head_request = self.request.get().line().method == Method::HEAD;
        let length = h1::outgoing_response_length(header, head_request, false)
            .map_err(faults::bad_outgoing)?;
        Ok(match length {
            BodyLength::Chunked | BodyLength::UntilClose if end => BodyLength::Exact(0),
            // Nothing is framed here: the length is either known or unknown.
            BodyLength::Chunked => BodyLength::UntilClose,
            other => other,
        })
    }

    /// From here on both directions are open, whatever came before.
    fn become_tunnel(&mut self) {
        self.upgraded = true;
        self.encoder = BodyEncoder::new(BodyLength::UntilClose);
        self.declared = BodyEncoder::new(BodyLength::UntilClose);
        self.incoming = Incoming::Open;
    }

    fn finish_encoder(&mut self) -> Result<()> {
        let finished = self.encoder.finish(None, &mut Vec::new());
        finished.map_err(|fault| self.refuse(fault))
    }

    fn refuse(&mut self, fault: h1::Fault) -> BError {
        self.broken = true;
        faults::bad_outgoing(fault)
    }

    fn queue_body(&mut self, data: Option<Bytes>, end: bool) -> Result<()> {
        if self.response.is_none() {
            return Ok(());
        }
        let length = data.as_ref().map_or(0, Bytes::len);
        let wanted = self.encoder.before(length, &mut Vec::new());
        let wanted = wanted.map_err(|fault| self.refuse(fault))?;
        let data = data.filter(|_| wanted);
        if end {
            self.finish_encoder()?;
        }
        if self.ended || data.is_none() && !end {
            return Ok(());
        }
        self.ended = end;
        self.body_sent += data.as_ref().map_or(0, Bytes::len);
        self.out.push(if self.upgraded {
            HttpTask::UpgradedBody(data, end)
        } else {
            HttpTask::Body(data, end)
        });
        Ok(())
    }

    fn queue_trailers(&mut self, trailers: Option<Box<HeaderMap>>) -> Result<()> {
        if self.upgraded || trailers.is_none() {
            return self.queue_end();
        }
        if self.response.is_none() {
            return Ok(());
        }
        self.finish_encoder()?;
        if !self.ended {
            self.ended = true;
            self.out.push(HttpTask::Trailer(trailers));
        }
        Ok(())
    }

    fn queue_end(&mut self) -> Result<()> {
        if self.response.is_none() {
            return Ok(());
        }
        if self.upgraded {
            return self.queue_body(None, true);
        }
        self.finish_encoder()?;
        if !self.ended {
            self.ended = true;
            self.out.push(HttpTask::Done);
        }
        Ok(())
    }

    /// Whether the response is complete according to its length.
    fn response_complete(&self) -> bool {
        self.response.is_some() && self.encoder.is_done()
    }
}

impl HttpSession {
    /// Queues one piece of a response, of any kind. For engines.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] for a piece that contradicts the declared length;
    /// [`HttpTask::Failed`] returns its own.
    pub fn queue_task(&mut self, task: HttpTask) -> Result<()> {
        let inner = &mut *self.inner;
        match task {
            HttpTask::Header(header, end) => inner.queue_header(header, end),
            HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                inner.queue_body(data, end)
            }
            HttpTask::Trailer(trailers) => inner.queue_trailers(trailers),
            HttpTask::Done => inner.queue_end(),
            HttpTask::Failed(error) => {
                inner.broken = true;
                Err(error)
            }
        }
    }

    /// Hands over the queued tasks. For engines; cancel-safe.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(cx)
    }

    /// The number of queued bytes.
    pub fn queued(&self) -> usize {
        self.inner.out.len()
    }

    /// Whether [`HttpSession::poll_flush`] has something to do.
    pub fn wants_flush(&self) -> bool {
        !self.inner.out.is_empty()
    }

    /// Writes a response's header, and returns when it is in the caller's channel. Informational
    /// responses may precede the final one. A second final one is ignored, with a warning in the
    /// log.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] for a header that contradicts itself, [`ErrorType::WriteError`]
    /// if the caller is gone, [`ErrorType::WriteTimedout`].
    pub async fn write_response_header(&mut self, header: Box<ResponseHeader>) -> Result<()> {
        self.inner.queue_header(header, false)?;
        self.inner.flush().await
    }

    /// [`HttpSession::write_response_header`] for a header passed by reference.
    pub async fn write_response_header_ref(&mut self, resp: &ResponseHeader) -> Result<()> {
        self.write_response_header(Box::new(resp.clone())).await
    }

    /// Sends 100 Continue to a client that waits for it. Does nothing for others. (A channel tells
    /// the caller itself once the body is read.)
    pub async fn write_continue_response(&mut self) -> Result<()> {
        if self.inner.continue_owed && self.inner.response.is_none() {
            let permission = ResponseHeader::build(StatusCode::CONTINUE, None)?;
            self.inner.queue_header(Box::new(permission), false)?;
        }
        if self.wants_flush() {
            self.inner.flush().await
        } else {
            Ok(())
        }
    }

    /// Writes a piece of the response's body, and returns when it is in the caller's channel.
    /// `None` if the response has no body: the piece is dropped in that case.
    pub async fn write_body(&mut self, buf: Bytes) -> Result<Option<usize>> {
        let before = self.inner.body_sent;
        self.inner.queue_body(Some(buf), false)?;
        self.inner.flush().await?;
        let sent = self.inner.body_sent - before;
        Ok((sent > 0).then_some(sent))
    }

    /// Writes trailers and ends the body.
    pub async fn write_trailers(&mut self, trailers: Option<Box<HeaderMap>>) -> Result<()> {
        self.inner.queue_trailers(trailers)?;
        self.inner.flush().await
    }

    /// Ends the response's body. Returns the payload's size, or `None` if there was no response.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] if the header promised more than was written; the caller sees the
    /// channel close without an end.
    pub async fn finish(&mut self) -> Result<Option<usize>> {
        if self.inner.response.is_none() {
            return Ok(None);
        }
        if !self.inner.broken {
            self.inner.queue_end()?;
        }
        self.inner.flush().await?;
        Ok(Some(self.inner.body_sent))
    }

    /// Writes pieces of a response and returns when they are in the caller's channel; `true` if
    /// they complete the response.
    pub async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= task.is_end();
            self.queue_task(task)?;
        }
        self.inner.flush().await?;
        Ok(end)
    }

    /// Queues a piece of the response. A piece that can't be queued breaks the sub-request.
    pub fn send_proxy_task(&mut self, task: HttpTask) {
        if let Err(error) = self.queue_task(task) {
            log::warn!("a piece of a sub-request's response is dropped: {error}");
            self.inner.broken = true;
        }
    }

    /// Whether queued pieces are still waiting to be handed over.
    pub fn has_pending_proxy_tasks(&self) -> bool {
        self.wants_flush()
    }

    /// Hands the queued pieces over; `true` if they complete the response.
    pub async fn write_proxy_tasks(&mut self) -> Result<bool> {
        self.inner.flush().await?;
        Ok(self.inner.encoder.is_done())
    }

    /// Whether the caller got, or will get once the queue is handed over, a whole response.
    pub fn is_response_complete(&self) -> bool {
        self.inner.response_complete()
    }

    /// Leaves a response that was begun incomplete, so that the caller can tell.
    pub(crate) fn abandon_response(&mut self) {
        self.inner.broken |= !self.inner.response_complete();
    }

    /// Drops the queue, because the caller accepts nothing more.
    pub fn discard_queued(&mut self) {
        self.inner.broken = true;
        self.inner.out.clear();
    }

    /// Abandons the sub-request: the caller sees its channel close, without an end unless the response
    /// is complete. Tasks for which there is room are still handed over.
    pub fn shutdown(&mut self) {
        if self.inner.response_complete() && !self.inner.broken {
            let _ = self.inner.queue_end();
        }
        self.inner.broken = true;
        self.inner.out.flush_now();
    }
}
