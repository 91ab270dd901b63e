//! Streams that are not a socket of the operating system: tunnels, user-space stacks, test doubles.

use super::ext::TcpKeepalive;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A socket option to apply to a virtual socket instead of a real one.
#[derive(Clone, Debug)]
pub enum VirtualSockOpt {
    /// Send small segments at once (`TCP_NODELAY`).
    NoDelay,
    /// Probe an idle connection.
    KeepAlive(TcpKeepalive),
}

/// A stream that can stand in for a socket below everything else.
pub trait VirtualSocket: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug {
    /// Applies an option, or ignores it if it has no meaning.
    ///
    /// # Errors
    /// The same as for setting the option on a real socket.
    fn set_socket_option(&self, opt: VirtualSockOpt) -> io::Result<()>;
}

/// A [`VirtualSocket`] as a stream.
#[derive(Debug)]
pub struct VirtualSocketStream {
    socket: Box<dyn VirtualSocket>,
}

impl VirtualSocketStream {
    /// Takes over `socket`.
    pub fn new(socket: Box<dyn VirtualSocket>) -> Self {
        VirtualSocketStream { socket }
    }

    /// Passes an option on; see [`VirtualSocket::set_socket_option`].
    ///
    /// # Errors
    /// Passes the option to the virtual socket and returns its result.
    pub fn set_socket_option(&self, opt: VirtualSockOpt) -> io::Result<()> {
        self.socket.set_socket_option(opt)
    }
}

impl AsyncRead for VirtualSocketStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for VirtualSocketStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
