//! The upstream side of the protocol, and the connector for its sessions.

use super::frames::{Framed, read_fields, write_fields};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::connectors::http::custom::{Connection, Connector, Session};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::protocols::Stream;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::exchange::UpstreamHalf;
use pingora::upstreams::peer::Peer;
use pingora::{BError, ErrorSource, RetryType};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

#[derive(Debug)]
pub(crate) struct ClientEnd {
    framed: Framed,
    response: Option<ResponseHeader>,
    done: bool,
    ended: bool,
    received: usize,
    sent: usize,
}

impl ClientEnd {
    fn over(framed: Framed) -> Self {
        ClientEnd {
            framed,
            response: None,
            done: false,
            ended: false,
            received: 0,
            sent: 0,
        }
    }

    /// Nothing of a response was received: on a reused connection that merits a retry.
    fn broke(&self, what: &'static str) -> BError {
        let mut error = up(ConnectionClosed, what);
        if self.response.is_none() {
            error.retry = RetryType::ReusedOnly;
        }
        error
    }
}

fn up(etype: ErrorType, what: &'static str) -> BError {
    Error::create(etype, ErrorSource::Upstream, Some(what.into()), None)
}

/// A status, then one field per line.
fn read_response(head: &[u8]) -> Option<ResponseHeader> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.lines();
    let status: u16 = lines.next()?.parse().ok()?;
    let mut response = ResponseHeader::build(status, None).ok()?;
    for (name, value) in &read_fields(lines)? {
        response.append_header(name.clone(), value.clone()).ok()?;
    }
    Some(response)
}

impl Session for ClientEnd {
    fn queue_request_header(&mut self, req: &RequestHeader) -> Result<()> {
        let path = String::from_utf8_lossy(req.raw_path()).into_owned();
        let head = format!("{} {path}\n{}", req.method, write_fields(&req.headers));
        self.framed.push(b'H', head.as_bytes());
        Ok(())
    }

    fn response_header(&self) -> Option<&ResponseHeader> {
        self.response.as_ref()
    }

    fn response_done(&mut self) -> bool {
        self.done
    }

    fn shutdown(&mut self) {
        self.done = false;
    }

    fn into_next(self) -> Option<Self> {
        let idle = self.done && self.ended && self.framed.is_empty();
        idle.then(|| ClientEnd::over(self.framed))
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.framed.poll_fill(cx).map(|_| ())
    }

    fn body_bytes_received(&self) -> usize {
        self.received
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }
}

impl UpstreamHalf for ClientEnd {
    fn queue_body(&mut self, data: Bytes) -> Result<()> {
        self.sent += data.len();
        self.framed.push(b'D', &data);
        Ok(())
    }

    fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        self.ended = true;
        match trailers {
            Some(fields) => self.framed.push(b'T', write_fields(fields).as_bytes()),
            None => self.framed.push(b'E', b""),
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let result = ready!(self.framed.poll_out(cx));
        Poll::Ready(result.map_err(|_| self.broke("while writing")))
    }

    fn wants_flush(&self) -> bool {
        !self.framed.outbox.is_empty()
    }

    fn queued(&self) -> usize {
        self.framed.outbox.len()
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        if self.done {
            return Poll::Ready(Ok(HttpTask::Done));
        }
        let frame = ready!(self.framed.poll_frame(cx));
        let Ok(Some((kind, payload))) = frame else {
            return Poll::Ready(Err(self.broke("the upstream has left")));
        };
        Poll::Ready(match kind {
            b'H' => match read_response(&payload) {
                Some(head) => {
                    if !head.status.is_informational() {
                        self.response = Some(head.clone());
                    }
                    Ok(HttpTask::Header(Box::new(head), false))
                }
                None => Err(up(InvalidHTTPHeader, "no head")),
            },
            b'D' => {
                self.received += payload.len();
                Ok(HttpTask::Body(Some(payload), false))
            }
            b'T' => {
                self.done = true;
                let text = String::from_utf8_lossy(&payload);
                Ok(HttpTask::Trailer(read_fields(text.lines()).map(Box::new)))
            }
            _ => {
                self.done = true;
                Ok(HttpTask::Done)
            }
        })
    }

    fn has_input(&self) -> bool {
        self.framed.has_frame()
    }
}

/// Makes such sessions, and counts them.
#[derive(Clone, Default)]
pub(crate) struct Letters {
    pub(crate) opened: Arc<AtomicUsize>,
}

#[async_trait]
impl Connector for Letters {
    type Session = ClientEnd;

    async fn open<P: Peer + Send + Sync>(
        &self,
        stream: Stream,
        _peer: &P,
    ) -> Result<Connection<ClientEnd>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Connection::Session(ClientEnd::over(Framed::new(stream))))
    }
}
