//! Calls into the library that the framework itself does not make: for [`tokio_ssl`](crate::tls::tokio_ssl).

use super::SslStream;
use crate::protocols::tls::openssl::transport::Transport;
use openssl::ssl;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

impl<T: AsyncRead + AsyncWrite + Unpin> SslStream<T> {
    /// The handshake of the side that the library's session was set to.
    pub(crate) fn poll_do_handshake(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ssl::Error>> {
        self.poll_handshake(cx, ssl::SslStream::do_handshake)
    }

    /// Looks at payload and leaves it to be read.
    pub(crate) fn poll_peek(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize, ssl::Error>> {
        self.poll_call(cx, |session| session.ssl_peek(buf))
    }

    /// Reads what came before the end of the handshake.
    pub(crate) fn poll_read_early_data(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize, ssl::Error>> {
        self.poll_call(cx, |session| session.read_early_data(buf))
    }

    /// Sends before the end of the handshake.
    pub(crate) fn poll_write_early_data(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize, ssl::Error>> {
        self.poll_call(cx, |session| session.write_early_data(buf))
    }

    /// One call, behind what waits to be sent.
    fn poll_call<R>(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut ssl::SslStream<Transport<T>>) -> Result<R, ssl::Error>,
    ) -> Poll<Result<R, ssl::Error>> {
        // If that fails, so does the call: it knows better why.
        if self.session.get_mut().poll_send(cx).is_pending() {
            return Poll::Pending;
        }
        let polled = self.poll_session(cx, call);
        self.starved &= !self.session.get_mut().take_read_by_itself();
        polled
    }
}
