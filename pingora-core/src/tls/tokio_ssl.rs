//! A TLS session over an asynchronous stream, for programs that connect or accept by themselves.
//!
//! Its methods are those of the library's own stream, pinned, as users of tokio know them. The framework's
//! sessions are of the type [`protocols::tls::SslStream`](crate::protocols::tls::SslStream), which does the work
//! here, too.

use crate::protocols::tls::SslStream as Session;
use openssl::error::ErrorStack;
use openssl::ssl::{self, Ssl, SslRef};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A TLS session over the stream `S`.
///
/// Dropping the future of a handshake leaves the session half-way; the same method goes on. The futures of
/// [`peek`](Self::peek) and of reads are cancel-safe. After a write that was pending, the same bytes have to be
/// offered again.
pub struct SslStream<S>(Session<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> SslStream<S> {
    /// A session over `stream`; no byte was exchanged yet.
    ///
    /// # Errors
    /// The library's.
    pub fn new(ssl: Ssl, stream: S) -> Result<Self, ErrorStack> {
        Session::with_library_error(ssl, stream).map(SslStream)
    }

    /// Does the client's side of the handshake.
    pub fn poll_connect(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ssl::Error>> {
        self.get_mut().0.poll_connect(cx)
    }

    /// Does the client's side of the handshake.
    ///
    /// # Errors
    /// The library's.
    pub async fn connect(mut self: Pin<&mut Self>) -> Result<(), ssl::Error> {
        poll_fn(|cx| self.as_mut().poll_connect(cx)).await
    }

    /// Does the server's side of the handshake.
    pub fn poll_accept(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>> {
        self.get_mut().0.poll_accept(cx)
    }

    /// Does the server's side of the handshake. In TLS 1.3, the session's tickets leave with the first bytes that
    /// are written, or when a read has to wait.
    ///
    /// # Errors
    /// The library's.
    pub async fn accept(mut self: Pin<&mut Self>) -> Result<(), ssl::Error> {
        poll_fn(|cx| self.as_mut().poll_accept(cx)).await
    }

    /// Does the handshake of the side that the session was set to.
    pub fn poll_do_handshake(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ssl::Error>> {
        self.get_mut().0.poll_do_handshake(cx)
    }

    /// Does the handshake of the side that the session was set to, by `Ssl::set_connect_state` or
    /// `Ssl::set_accept_state`.
    ///
    /// # Errors
    /// The library's.
    pub async fn do_handshake(mut self: Pin<&mut Self>) -> Result<(), ssl::Error> {
        poll_fn(|cx| self.as_mut().poll_do_handshake(cx)).await
    }

    /// Fills `buf` with the payload that is to be read next, and leaves it to be read.
    pub fn poll_peek(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize, ssl::Error>> {
        self.get_mut().0.poll_peek(cx, buf)
    }

    /// Waits for payload and fills `buf` with it, up to the end of one record, leaving it to be read. Returns how
    /// much that is.
    ///
    /// # Errors
    /// The library's; its code is `ZERO_RETURN` where the other side has sent its last.
    pub async fn peek(mut self: Pin<&mut Self>, buf: &mut [u8]) -> Result<usize, ssl::Error> {
        poll_fn(|cx| self.as_mut().poll_peek(cx, buf)).await
    }

    /// Reads payload that the client sent before the handshake was complete.
    pub fn poll_read_early_data(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize, ssl::Error>> {
        self.get_mut().0.poll_read_early_data(cx, buf)
    }

    /// Reads payload that the client sent before the handshake was complete; 0 is the end of it, and
    /// [`accept`](Self::accept) follows. An attacker may replay the same bytes (RFC 8446 section 8).
    ///
    /// # Errors
    /// The library's.
    pub async fn read_early_data(
        mut self: Pin<&mut Self>,
        buf: &mut [u8],
    ) -> Result<usize, ssl::Error> {
        poll_fn(|cx| self.as_mut().poll_read_early_data(cx, buf)).await
    }

    /// Sends payload before the handshake is complete.
    pub fn poll_write_early_data(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize, ssl::Error>> {
        self.get_mut().0.poll_write_early_data(cx, buf)
    }

    /// Sends payload before the handshake is complete, in a session that resumes one which allows it. Returns how
    /// much was sent; [`connect`](Self::connect) follows.
    ///
    /// # Errors
    /// The library's.
    pub async fn write_early_data(
        mut self: Pin<&mut Self>,
        buf: &[u8],
    ) -> Result<usize, ssl::Error> {
        poll_fn(|cx| self.as_mut().poll_write_early_data(cx, buf)).await
    }
}

impl<S> SslStream<S> {
    /// The library's session.
    pub fn ssl(&self) -> &SslRef {
        self.0.ssl()
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        self.0.get_ref()
    }

    /// The stream below. Reading or writing on it breaks the session.
    pub fn get_mut(&mut self) -> &mut S {
        self.0.get_mut()
    }

    /// The stream below, pinned. Reading or writing on it breaks the session.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut S>
    where
        S: Unpin,
    {
        Pin::new(self.get_mut().0.get_mut())
    }
}

impl<S: fmt::Debug> fmt::Debug for SslStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SslStream<S> {
    /// A close_notify is the end of the stream; the end of the stream below without one is an error of the kind
    /// `UnexpectedEof`.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SslStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    /// Sends a close_notify, and ends the stream below.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
