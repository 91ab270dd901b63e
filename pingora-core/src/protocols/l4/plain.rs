//! A connected socket of the operating system, and its registration with the reactor.

use super::ext::TcpKeepalive;
use crate::sys::transfer::{self, MOST_SLICES};
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use pingora_error::Result;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll, ready};
use tokio::io::{Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A TCP or Unix socket that never blocks.
///
/// It makes the system calls itself, for two reasons: those of the C library are cancellation points,
/// and an accepted connection need not be registered with the reactor before it first has to wait. A
/// connection that carries a single request and is answered at once never is, which saves two system
/// calls.
#[derive(Debug)]
pub(crate) struct Plain {
    handle: Handle,
    /// The last read filled its buffer, so the next one probably finds more data.
    flooded: bool,
}

#[derive(Debug)]
enum Handle {
    /// Accepted by us, but not registered with the reactor yet.
    Fresh(Fresh),
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Registering it failed.
    Lost,
}

#[derive(Debug)]
struct Fresh {
    socket: std::net::TcpStream,
    /// The next read probably finds data: the kernel was asked to hold the connection back until
    /// something has arrived.
    expects_input: bool,
}

/// Calls the same method on either kind of registered socket: they have no trait in common.
macro_rules! registered {
    ($handle:expr, $socket:ident => $call:expr) => {
        match $handle {
            Handle::Tcp($socket) => $call,
            Handle::Unix($socket) => $call,
            Handle::Fresh(_) | Handle::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    };
}

/// The same for methods that are polled.
macro_rules! poll_registered {
    ($handle:expr, $socket:ident => $call:expr) => {
        match $handle {
            Handle::Tcp($socket) => $call,
            Handle::Unix($socket) => $call,
            Handle::Fresh(_) | Handle::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    };
}

/// The direction in which bytes move.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

impl From<TcpStream> for Plain {
    fn from(socket: TcpStream) -> Self {
        Plain::new(Handle::Tcp(socket))
    }
}

impl From<UnixStream> for Plain {
    fn from(socket: UnixStream) -> Self {
        Plain::new(Handle::Unix(socket))
    }
}

impl AsRawFd for Plain {
    /// The descriptor; -1 if the socket was lost.
    fn as_raw_fd(&self) -> RawFd {
        match &self.handle {
            Handle::Fresh(fresh) => fresh.socket.as_raw_fd(),
            Handle::Tcp(socket) => socket.as_raw_fd(),
            Handle::Unix(socket) => socket.as_raw_fd(),
            Handle::Lost => -1,
        }
    }
}

impl Plain {
    fn new(handle: Handle) -> Self {
        Plain {
            handle,
            flooded: false,
        }
    }

    /// An accepted connection, registered when it first has to wait. The socket must be
    /// non-blocking.
    pub(crate) fn accepted(socket: std::net::TcpStream, expects_input: bool) -> Self {
        Plain::new(Handle::Fresh(Fresh {
            socket,
            expects_input,
        }))
    }

    fn is_tcp(&self) -> bool {
        matches!(self.handle, Handle::Tcp(_) | Handle::Fresh(_))
    }

    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.handle {
            Handle::Fresh(fresh) => Ok(fresh.socket.as_fd()),
            Handle::Tcp(socket) => Ok(socket.as_fd()),
            Handle::Unix(socket) => Ok(socket.as_fd()),
            Handle::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sets `TCP_NODELAY`; does nothing on a Unix socket.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        if self.is_tcp() {
            Ok(setsockopt(&self.fd()?, sockopt::TcpNoDelay, &true)?)
        } else {
            Ok(())
        }
    }

    /// Enables probes on an idle connection; does nothing on a Unix socket.
    pub(crate) fn set_keepalive(&self, probes: &TcpKeepalive) -> Result<()> {
        match self.fd() {
            Ok(fd) if self.is_tcp() => super::ext::set_keepalive_of(&fd, probes),
            _ => Ok(()),
        }
    }

    /// Registers the socket with the reactor of the calling runtime, if it is not registered yet.
    #[inline]
    pub(crate) fn register(&mut self) -> io::Result<()> {
        match self.handle {
            Handle::Fresh(_) => self.register_fresh(),
            _ => Ok(()),
        }
    }

    #[cold]
    fn register_fresh(&mut self) -> io::Result<()> {
        // Without a runtime tokio panics.
        tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        if let Handle::Fresh(fresh) = std::mem::replace(&mut self.handle, Handle::Lost) {
            self.handle = Handle::Tcp(TcpStream::from_std(fresh.socket)?);
        }
        Ok(())
    }

    /// Whether the reactor has seen no readable data since the last read. `None` if the socket is not
    /// registered.
    pub(crate) fn is_quiet(&self) -> Option<bool> {
        // Moves no data, so it only tells whether an attempt would have been made.
        let tried = registered!(&self.handle, s => s.try_io(Interest::READABLE, || Ok(())));
        match tried {
            Ok(()) => Some(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(true),
            Err(_) => None,
        }
    }

    /// Waits until the reactor believes that data can be moved. Counts as work of the task, which is
    /// pending if it has done enough for now.
    fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>> {
        match direction {
            Direction::In => poll_registered!(&self.handle, s => s.poll_read_ready(cx)),
            Direction::Out => poll_registered!(&self.handle, s => s.poll_write_ready(cx)),
        }
    }

    /// Makes a system call unless the reactor knows that it would block. If the call moved less
    /// than possible, the readiness is cleared, so that the next call is not made in vain.
    /// `Some(0)` bytes are the end, and `None` means blocked.
    fn attempt(
        &self,
        direction: Direction,
        most: usize,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<Option<usize>> {
        let interest = match direction {
            Direction::In => Interest::READABLE,
            Direction::Out => Interest::WRITABLE,
        };
        let fd = self.fd()?;
        let mut moved = None;
        let outcome = registered!(&self.handle, s => s.try_io(interest, || {
            let n = call(fd)?;
            moved = Some(n);
            if (1..most).contains(&n) {
                // Tells the reactor's entry to wait for the next event.
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(())
            }
        }));
        match (moved, outcome) {
            (Some(n), _) => Ok(Some(n)),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            (None, _) => Ok(None),
        }
    }

    /// Makes a system call until it moves data, or has to wait for it.
    #[inline]
    fn poll_transfer(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        most: usize,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if let Handle::Fresh(fresh) = &mut self.handle {
            if direction == Direction::Out || fresh.expects_input {
                match call(fresh.socket.as_fd()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    moved => {
                        if direction == Direction::In {
                            fresh.expects_input = !matches!(moved, Ok(n) if (1..most).contains(&n));
                        }
                        return Poll::Ready(moved);
                    }
                }
            }
            self.register()?;
        }
        loop {
            if let Some(moved) = self.attempt(direction, most, &mut call)? {
                return Poll::Ready(Ok(moved));
            }
            ready!(self.poll_ready(cx, direction))?;
        }
    }

    /// Reads into `buf`; an empty read is the end.
    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.flooded {
            ready!(self.poll_turn(cx, Direction::In))?;
        }
        let room = buf.remaining();
        let read = self.poll_transfer(cx, Direction::In, room, |fd| transfer::recv(fd, buf));
        let n = ready!(read)?;
        self.flooded = n > 0 && n == room;
        Poll::Ready(Ok(()))
    }

    #[inline]
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx, Direction::Out))?;
        self.poll_transfer(cx, Direction::Out, bytes.len(), |fd| {
            transfer::send(fd, bytes)
        })
    }

    #[inline]
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // As many as one call takes: if fewer bytes are written than they contain, the socket had
        // room for no more.
        let slices = slices.get(..MOST_SLICES).unwrap_or(slices);
        let most = slices.iter().map(|slice| slice.len()).sum();
        ready!(self.poll_turn(cx, Direction::Out))?;
        self.poll_transfer(cx, Direction::Out, most, |fd| {
            transfer::send_vectored(fd, slices)
        })
    }

    /// Pending if the task has done enough for now, although more could be moved. Called before every
    /// write, and before a read if the last one found more than it could take.
    fn poll_turn(&mut self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>> {
        if let Handle::Fresh(_) = self.handle {
            if direction == Direction::Out {
                // The answer to data that was there when the connection was accepted; a connection
                // that continues has to wait for the next request, or for room.
                return Poll::Ready(Ok(()));
            }
            self.register()?;
        }
        self.poll_ready(cx, direction)
    }

    /// A caller's own system call that reads from the descriptor, or writes to it. The number of
    /// bytes that it moves says nothing about whether there is more.
    pub(crate) fn poll_call(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx, direction))?;
        self.poll_transfer(cx, direction, 0, call)
    }

    /// Closes our sending direction. It is not an error if the connection is already gone.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        match shutdown(self.fd()?.as_raw_fd(), Shutdown::Write) {
            Ok(()) | Err(Errno::ENOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
