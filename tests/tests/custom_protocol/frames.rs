//! A protocol that no crate here knows. A frame is a letter, its length in four bytes, and that many
//! bytes: `H` a head, `D` a piece of a body, `T` trailers, which end a message, `E` its end.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use pingora::protocols::Stream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection, frame by frame. Holds at most one incomplete frame, and the engine's queue.
#[derive(Debug)]
pub(crate) struct Framed {
    pub(crate) io: Stream,
    inbox: BytesMut,
    pub(crate) outbox: BytesMut,
}

impl Framed {
    pub(crate) fn new(io: Stream) -> Self {
        Framed {
            io,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
        }
    }

    pub(crate) fn push(&mut self, kind: u8, payload: &[u8]) {
        push(&mut self.outbox, kind, payload);
    }

    pub(crate) fn has_frame(&self) -> bool {
        complete(&self.inbox).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Reads once; 0: the end of the connection.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut memory = [0; 4096];
        let mut read = ReadBuf::new(&mut memory);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        self.inbox.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<(u8, Bytes)>>> {
        loop {
            if let Some(length) = complete(&self.inbox) {
                let kind = self.inbox[0];
                self.inbox.advance(5);
                return Poll::Ready(Ok(Some((kind, self.inbox.split_to(length).freeze()))));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(None));
            }
        }
    }

    pub(crate) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.outbox))?;
            self.outbox.advance(written);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

pub(crate) fn push(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    out.put_u8(kind);
    out.put_u32(payload.len() as u32);
    out.extend_from_slice(payload);
}

fn complete(bytes: &BytesMut) -> Option<usize> {
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?) as usize;
    (bytes.len() >= 5 + length).then_some(length)
}

pub(crate) fn write_fields(fields: &HeaderMap) -> String {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}\n", value.to_str().unwrap_or_default())
    };
    fields.iter().map(line).collect()
}

pub(crate) fn read_fields<'a>(lines: impl Iterator<Item = &'a str>) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        fields.append(
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(value).ok()?,
        );
    }
    Some(fields)
}
