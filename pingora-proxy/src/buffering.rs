//! The request's body, read ahead of the upstream.

use crate::Session;
use crate::engine::MinRate;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method};
use pingora_core::protocols::http::spool::{Spool, SpoolError, SpooledBody, Spooling};
use pingora_error::{BError, Error, ErrorType, Result};
use tokio::time::Instant;

impl Session {
    /// Reads the request's body to its end before an upstream is chosen: a phase may examine it and choose the
    /// upstream by it. Each try sends it from the buffer. The filters of the
    /// request's body see it on its way to the upstream, as always.
    ///
    /// To be called by [`request_filter`](crate::ProxyHttp::request_filter) or an earlier phase. The part of
    /// the body that `request_filter` has already read is included, up to 64 KiB; more is an error. Bytes that
    /// an earlier phase has read are lost. A second call returns the same body as the first. A client
    /// that waits for permission to send gets it (RFC 9110 section 10.1.1). A request without a body, and
    /// CONNECT, have an empty one.
    ///
    /// Not cancel-safe: the part that was read is lost.
    ///
    /// # Errors
    /// Each ends the request with the status that it names: 413, if the body is longer than
    /// [`Spooling`] allows; 408, past the limits of
    /// [`limit_request_body`](Self::limit_request_body) and [`limit_request`](Self::limit_request), below
    /// [`set_min_receive_rate`](Self::set_min_receive_rate), and if the client stalls; 503, if all buffers together are full; 500, if the file can't be written.
    pub async fn buffer_request_body(&mut self, limits: &Spooling) -> Result<SpooledBody> {
        if let Some(body) = &self.buffered {
            return Ok(body.clone());
        }
        let until = self.body_until().into_iter().chain(self.until()).min();
        let reading = self.read_into(limits);
        let body = match until {
            None => reading.await?,
            Some(until) => tokio::time::timeout_at(until, reading)
                .await
                .unwrap_or_else(|_| Err(late()))?,
        };
        self.buffered = Some(body.clone());
        Ok(body)
    }

    /// The request's body, if it was [buffered](Self::buffer_request_body).
    pub fn buffered_request_body(&self) -> Option<&SpooledBody> {
        self.buffered.as_ref()
    }

    /// Whether the part of the request's body that was read can be sent again.
    pub(crate) fn can_replay(&self) -> bool {
        self.buffered.is_some() || !self.retry_buffer_truncated()
    }

    async fn read_into(&mut self, limits: &Spooling) -> Result<SpooledBody> {
        let mut spool = Spool::new(limits);
        // The bytes after CONNECT belong to the tunnel. An upgrade may have a body ahead of the switch.
        if self.req_header().method == Method::CONNECT || self.is_body_empty() {
            return spool.finish().await.map_err(refused);
        }
        if declared_length(self).is_some_and(|length| length > limits.most()) {
            return Err(refused(SpoolError::TooLong));
        }
        if self.retry_buffer_truncated() {
            let context = "more of the body was read before than is kept";
            return Error::e_explain(ErrorType::InternalError, context);
        }
        if let Some(before) = self.get_retry_buffer() {
            spool.push(before).await.map_err(refused)?;
        }
        let mut rate = self.receive_rate();
        while let Some(piece) = self.read_at(&mut rate).await? {
            spool.push(piece).await.map_err(refused)?;
        }
        spool.finish().await.map_err(refused)
    }
}

impl Session {
    /// The next piece of the body, which has to come at this rate.
    async fn read_at(&mut self, rate: &mut Option<MinRate>) -> Result<Option<Bytes>> {
        let Some(rate) = rate else {
            return self.read_request_body().await;
        };
        let reading = self.read_request_body();
        let piece = match rate.due(true, Instant::now()) {
            None => reading.await,
            Some(due) => tokio::time::timeout_at(due, reading)
                .await
                .unwrap_or_else(|_| Err(late())),
        }?;
        rate.arrived(piece.as_ref().map_or(0, Bytes::len));
        // Storing it is not the client's time.
        rate.due(false, Instant::now());
        Ok(piece)
    }
}

fn declared_length(session: &Session) -> Option<u64> {
    let value = session.req_header().headers.get(CONTENT_LENGTH);
    value.map(HeaderValue::as_bytes).and_then(|digits| {
        let text = str::from_utf8(digits).ok()?;
        text.parse().ok()
    })
}

#[cold]
fn late() -> BError {
    let context = "the request's body was not complete in time, or came too slowly";
    Error::explain(ErrorType::ReadTimedout, context).into_down()
}

#[cold]
fn refused(error: SpoolError) -> BError {
    match error {
        SpoolError::TooLong => {
            Error::because(ErrorType::HTTPStatus(413), "buffering the request", error).into_down()
        }
        SpoolError::Full => {
            Error::because(ErrorType::HTTPStatus(503), "buffering the request", error).into_in()
        }
        error => {
            Error::because(ErrorType::FileWriteError, "buffering the request", error).into_in()
        }
    }
}
