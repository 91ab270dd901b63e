//! Bytes that move between two sockets without passing through the memory of this process.

use super::plain::Direction;
use super::stream::Stream;
use crate::runtime::local;
use crate::sys::splice::Pipe;
use std::io;
use std::task::{Context, Poll, ready};

/// Bytes on their way from one socket to another, in a pipe that the worker lends.
///
/// A pipe that is empty when this is dropped goes back to the worker; one that is not is closed, and
/// what it held is lost.
#[derive(Debug)]
pub struct SplicePipe {
    /// Gone only while this is being dropped.
    pipe: Option<Pipe>,
    held: usize,
}

impl SplicePipe {
    /// An empty pipe. `None` where this process may have no more of them: there are at most 512,
    /// and with their two descriptors each they never take more than an eighth of what the process
    /// may open.
    pub fn take() -> Option<SplicePipe> {
        Some(SplicePipe {
            pipe: Some(local::take_pipe()?),
            held: 0,
        })
    }

    /// Bytes inside.
    pub fn held(&self) -> usize {
        self.held
    }

    fn pipe(&self) -> io::Result<&Pipe> {
        self.pipe
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Takes up to `most` bytes from a stream; 0: the peer has closed its side. The pipe must be
    /// empty: only then is it the socket that would block. Cancel-safe.
    pub(crate) fn poll_fill(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0);
        let pipe = self.pipe()?;
        let most = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(pipe.capacity());
        let moved = ready!(stream.poll_call(cx, Direction::In, |socket| pipe.fill(socket, most)))?;
        self.held = moved;
        Poll::Ready(Ok(moved))
    }

    /// Gives bytes, of which there must be some, to a stream; returns how many. Cancel-safe.
    pub(crate) fn poll_drain(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let (pipe, held) = (self.pipe()?, self.held);
        let moved =
            ready!(stream.poll_call(cx, Direction::Out, |socket| pipe.drain(socket, held)))?;
        if moved == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.held = held.saturating_sub(moved);
        Poll::Ready(Ok(moved))
    }
}

impl Drop for SplicePipe {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take().filter(|_| self.held == 0) {
            local::give_pipe(pipe);
        }
    }
}
