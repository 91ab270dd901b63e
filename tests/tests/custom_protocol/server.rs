//! The client side of the protocol.

use super::frames::{Framed, read_fields, write_fields};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::custom::{SessionCustom, SessionOptions};
use pingora::protocols::http::exchange::DownstreamHalf;
use pingora::protocols::{Digest, Stream};
use pingora::timeout::{Alarm, Deadline, Deadlines};
use pingora::{BError, ErrorSource};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct ServerEnd {
    framed: Framed,
    request: RequestHeader,
    trailers: Option<Box<HeaderMap>>,
    body_done: bool,
    response: Option<Box<ResponseHeader>>,
    complete: bool,
    broken: bool,
    read: usize,
    sent: usize,
    options: SessionOptions,
    digest: Digest,
    alarm: Alarm,
}

impl ServerEnd {
    pub(crate) fn new(io: Stream) -> Self {
        ServerEnd::over(Framed::new(io), SessionOptions::default())
    }

    fn over(framed: Framed, options: SessionOptions) -> Self {
        ServerEnd {
            framed,
            request: RequestHeader::build("GET", b"/", None).unwrap(),
            trailers: None,
            body_done: false,
            response: None,
            complete: false,
            broken: false,
            read: 0,
            sent: 0,
            options,
            digest: Digest::default(),
            alarm: Alarm::new(),
        }
    }

    fn end(&mut self) {
        if self.response.is_some() && !self.complete {
            self.complete = true;
            self.framed.push(b'E', b"");
        }
    }
}

fn down(etype: ErrorType, what: &'static str) -> BError {
    Error::create(etype, ErrorSource::Downstream, Some(what.into()), None)
}

/// `METHOD /path`, then one field per line.
fn read_request(head: &[u8]) -> Option<RequestHeader> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let mut request = RequestHeader::build(method, path.as_bytes(), None).ok()?;
    for (name, value) in &read_fields(lines)? {
        request.append_header(name.clone(), value.clone()).ok()?;
    }
    Some(request)
}

impl SessionCustom for ServerEnd {
    fn protocol(&self) -> &'static str {
        "Letters"
    }

    fn poll_request_begins(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.framed.is_empty() {
            return Poll::Ready(true);
        }
        self.framed
            .poll_fill(cx)
            .map(|read| read.is_ok_and(|n| n > 0))
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        let frame = ready!(self.framed.poll_frame(cx));
        Poll::Ready(match frame {
            Err(_) => Err(down(ReadError, "while reading a head")),
            Ok(None) => Ok(false),
            Ok(Some((b'H', head))) => match read_request(&head) {
                Some(request) => {
                    self.request = request;
                    Ok(true)
                }
                None => Err(down(InvalidHTTPHeader, "no head")),
            },
            Ok(Some(_)) => Err(down(InvalidHTTPHeader, "no head")),
        })
    }

    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    fn is_body_empty(&mut self) -> bool {
        !self.request.headers.contains_key(TRANSFER_ENCODING)
            && self
                .request
                .headers
                .get(CONTENT_LENGTH)
                .is_none_or(|length| length == "0")
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.response.as_deref()
    }

    fn is_response_complete(&self) -> bool {
        self.complete
    }

    fn abandon_response(&mut self) {
        self.broken |= !self.complete;
        if self.broken {
            self.options.keepalive = None;
        }
    }

    fn options(&self) -> &SessionOptions {
        &self.options
    }

    fn options_mut(&mut self) -> &mut SessionOptions {
        &mut self.options
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.broken {
            self.end();
        }
        self.poll_flush(cx)
    }

    fn into_next(self: Box<Self>) -> Option<Box<dyn SessionCustom>> {
        if self.broken {
            return None;
        }
        Some(Box::new(ServerEnd::over(self.framed, self.options)))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.framed.io).poll_shutdown(cx).map(|_| ())
    }

    fn body_bytes_read(&self) -> usize {
        self.read
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }
}

impl DownstreamHalf for ServerEnd {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.body_done() {
            return Poll::Ready(Ok(None));
        }
        let frame = ready!(self.framed.poll_frame(cx));
        Poll::Ready(match frame {
            Ok(Some((b'D', data))) => {
                self.read += data.len();
                Ok(Some(data))
            }
            Ok(Some((b'E', _))) => {
                self.body_done = true;
                Ok(None)
            }
            Ok(Some((b'T', fields))) => {
                self.body_done = true;
                let text = String::from_utf8_lossy(&fields);
                self.trailers = read_fields(text.lines()).map(Box::new);
                Ok(None)
            }
            _ => {
                self.broken = true;
                Err(down(ConnectionClosed, "within the body"))
            }
        })
    }

    fn body_done(&mut self) -> bool {
        self.body_done || self.is_body_empty()
    }

    fn take_request_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.trailers.take()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        if !self.framed.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.framed.poll_fill(cx)) {
            Ok(read) if read > 0 => Poll::Pending,
            _ => Poll::Ready(down(ConnectionClosed, "the client has left")),
        }
    }

    fn queue(&mut self, task: HttpTask) -> Result<()> {
        let end = task.is_end();
        match task {
            HttpTask::Header(header, _) => {
                let head = format!(
                    "{}\n{}",
                    header.status.as_u16(),
                    write_fields(&header.headers)
                );
                self.framed.push(b'H', head.as_bytes());
                if !header.status.is_informational() {
                    self.response = Some(header);
                }
            }
            HttpTask::Body(Some(data), _) | HttpTask::UpgradedBody(Some(data), _) => {
                self.sent += data.len();
                self.framed.push(b'D', &data);
            }
            HttpTask::Trailer(Some(fields)) => {
                self.framed.push(b'T', write_fields(&fields).as_bytes());
                self.complete = true;
            }
            _ => {}
        }
        if end {
            self.end();
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let failed = |_| down(WriteError, "while writing");
        self.framed.poll_out(cx).map_err(failed)
    }

    fn wants_flush(&self) -> bool {
        !self.framed.outbox.is_empty()
    }

    fn queued(&self) -> usize {
        self.framed.outbox.len()
    }

    fn discard_queued(&mut self) {
        self.broken = true;
        self.framed.outbox.clear();
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
