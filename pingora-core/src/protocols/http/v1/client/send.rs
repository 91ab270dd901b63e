//! Sending the request.

use super::{HttpSession, Inner};
use crate::process::memory;
use crate::protocols::http::h1::{self, BodyEncoder, Fault};
use crate::protocols::http::v1::faults;
use crate::protocols::http::v1::timed::Timed;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::RequestHeader;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

impl Inner {
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Poll::Ready(mut flushed) = self.out.poll_flush(&mut self.io, cx) else {
            return self.poll_blocked(cx);
        };
        self.held.set(self.large_head as usize);
        if flushed.is_ok() && self.close_after_flush {
            flushed = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
            self.close_after_flush = false;
            self.write_closed = true;
        }
        Poll::Ready(flushed.map_err(|error| {
            // The other direction may still carry an answer that gives the reason.
            self.write_closed = true;
            self.out.clear();
            faults::write_failed(error, ErrorSource::Upstream)
        }))
    }

    /// The server does not accept the queued data.
    pub(super) fn poll_blocked(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.count_held(memory::EXCHANGE);
        if self.held.poll_given_up(cx) {
            // The server sends nothing either: it waits for the rest of the request.
            self.broken = true;
            self.given_up = true;
            self.write_closed = true;
            self.out.clear();
            self.held.forget();
            Poll::Ready(Err(faults::given_up(ErrorSource::Upstream)))
        } else {
            Poll::Pending
        }
    }

    /// Enters the data that waits on this connection, plus `more` bytes, in the process's account.
    pub(super) fn count_held(&mut self, more: usize) {
        let head = self.large_head as usize;
        self.held
            .set(more + head + self.out.held() + self.input.len());
    }

    fn queue_request(&mut self, request: &RequestHeader) -> Result<()> {
        if self.request_sent {
            let context = "a request is under way on this connection already";
            return Error::e_explain(ErrorType::InternalError, context);
        }
        let outgoing = h1::outgoing_request(request).map_err(faults::bad_outgoing)?;
        self.encoder = BodyEncoder::new(outgoing.body);
        self.request_sent = true;
        self.context = h1::ResponseContext {
            head_request: request.line().method == Method::HEAD,
            connect_request: request.line().method == Method::CONNECT,
            upgrade_requested: outgoing.upgrade,
        };
        self.request_closes = outgoing.closes;
        self.out.fill(|out| {
            h1::encode_request(request, out);
            if outgoing.lacks_length {
                // Written before the blank line instead of into the header, which belongs to the
                // caller.
                out.truncate(out.len().saturating_sub(2));
                out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            }
        });
        Ok(())
    }

    /// Returns whether the piece is not lost: the header announces a body, or nothing is sent any more.
    fn queue_body(&mut self, data: Bytes) -> Result<bool> {
        if data.is_empty() || self.write_closed {
            return Ok(true);
        }
        let (encoder, out) = (&mut self.encoder, &mut self.out);
        let length = data.len();
        let mut wanted = Ok(false);
        out.fill(|out| wanted = encoder.before(length, out));
        if !wanted.map_err(faults::bad_outgoing)? {
            return Ok(false);
        }
        self.body_sent += length;
        self.out.push(data);
        let (encoder, out) = (&mut self.encoder, &mut self.out);
        out.fill(|out| encoder.after(out));
        Ok(true)
    }

    fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        if self.upgraded {
            self.close_after_flush = true;
            return Ok(());
        }
        if self.write_closed {
            return Ok(());
        }
        let (encoder, out) = (&mut self.encoder, &mut self.out);
        let mut finished = Ok(());
        out.fill(|out| finished = encoder.finish(trailers, out));
        finished.map_err(|fault| {
            self.broken = true;
            faults::bad_outgoing(fault)
        })
    }
}

impl HttpSession {
    /// Queues a request's head. For engines: nothing is written before [`HttpSession::poll_flush`].
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] for a header whose body length is ambiguous.
    pub fn queue_request_header(&mut self, request: &RequestHeader) -> Result<()> {
        self.inner.queue_request(request)
    }

    /// Queues a piece of the request's body. For engines.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] for more than the header has announced, or for any body if it
    /// announces none.
    pub fn queue_body(&mut self, data: Bytes) -> Result<()> {
        if self.inner.queue_body(data)? {
            return Ok(());
        }
        // The head says that there is no body, and may have been sent.
        self.inner.broken = true;
        let fault = Fault::new(500, "a body for a request whose header frames none");
        Err(faults::bad_outgoing(fault))
    }

    /// Queues the end of the request. For engines. In a tunnel: closes the write side once all
    /// queued data has been sent.
    pub fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        self.inner.queue_end(trailers)
    }

    /// Writes queued data. For engines; cancel-safe. After an error nothing more is written, but a
    /// response may still be read.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(cx)
    }

    /// The number of queued bytes.
    pub fn queued(&self) -> usize {
        self.inner.out.len()
    }

    /// Whether [`HttpSession::poll_flush`] has something to do.
    pub fn wants_flush(&self) -> bool {
        !self.inner.out.is_empty() || self.inner.close_after_flush
    }

    async fn flush(&mut self) -> Result<()> {
        let limit = self.write_timeout;
        match self.inner.within(limit, Inner::poll_flush).await {
            Some(result) => result,
            None => {
                self.inner.broken = true;
                let source = ErrorSource::Upstream;
                let what = "the server takes nothing of the request";
                Err(faults::timed_out(ErrorType::WriteTimedout, source, what))
            }
        }
    }

    /// Writes the request's head; returns its size in bytes when it has been sent.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] for a header whose body length is ambiguous,
    /// [`ErrorType::WriteError`], [`ErrorType::WriteTimedout`].
    pub async fn write_request_header(&mut self, req: Box<RequestHeader>) -> Result<usize> {
        let before = self.queued();
        self.queue_request_header(&req)?;
        let length = self.queued() - before;
        self.flush().await?;
        Ok(length)
    }

    /// Writes a piece of the request's body and returns when it has been sent. `None` if the
    /// request has none, according to its header.
    pub async fn write_body(&mut self, buf: &[u8]) -> Result<Option<usize>> {
        self.write_body_bytes(Bytes::copy_from_slice(buf)).await
    }

    /// [`HttpSession::write_body`] without a copy.
    pub async fn write_body_bytes(&mut self, data: Bytes) -> Result<Option<usize>> {
        let before = self.inner.body_sent;
        self.inner.queue_body(data)?;
        self.flush().await?;
        let sent = self.inner.body_sent - before;
        Ok((sent > 0).then_some(sent))
    }

    /// Ends the request's body. Returns the payload's size.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] if the header promised more than was written.
    pub async fn finish_body(&mut self) -> Result<Option<usize>> {
        self.inner.queue_end(None)?;
        self.flush().await?;
        Ok(Some(self.inner.body_sent))
    }
}

/// A request's head in HTTP/1 syntax. `None` if it can't be sent.
pub fn http_req_header_to_wire(req: &RequestHeader) -> Option<BytesMut> {
    h1::outgoing_request_length(req).ok()?;
    let mut out = Vec::with_capacity(512);
    h1::encode_request(req, &mut out);
    Some(BytesMut::from(&out[..]))
}
