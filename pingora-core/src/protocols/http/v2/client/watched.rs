//! The connection under the `h2` crate, with the heads of responses counted.
//!
//! That crate bounds what waits of bodies by windows, and the size of each head. How many
//! informational responses wait for somebody to take them it does not bound, and who takes them may
//! be waiting for a slow client.

use super::activity::Activity;
use crate::protocols::Stream;
use crate::protocols::http::v2::guard::{END_OR_ACK, FrameHead, FrameScanner, kind};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Heads that may wait on a connection, besides those of its streams.
const MOST_WAITING: usize = 256;
/// Heads that may wait for each stream.
const WAITING_PER_STREAM: usize = 4;

/// A connection that fails once too many heads wait to be taken.
pub(crate) struct Watched {
    io: Stream,
    frames: FrameScanner,
    activity: Arc<Activity>,
    limit: usize,
}

impl Watched {
    pub(crate) fn new(io: Stream, activity: Arc<Activity>, max_streams: usize) -> Self {
        Watched {
            io,
            frames: FrameScanner::new(0),
            activity,
            limit: max_streams
                .saturating_mul(WAITING_PER_STREAM)
                .saturating_add(MOST_WAITING),
        }
    }
}

/// Whether another head of the same response may follow: one that ends its stream is the only one
/// of its kind there.
fn may_be_informational(frame: FrameHead) -> bool {
    frame.kind == kind::HEADERS && frame.flags & END_OR_ACK == 0
}

#[cold]
fn too_many() -> io::Error {
    io::Error::other("the server sends heads of responses faster than they are taken")
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        let (activity, limit) = (&this.activity, this.limit);
        Poll::Ready(this.frames.scan(new, |frame| {
            match may_be_informational(frame) && activity.head_came() > limit {
                true => Err(too_many()),
                false => Ok(()),
            }
        }))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
