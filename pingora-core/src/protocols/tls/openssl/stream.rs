//! A TLS session over any transport.
//!
//! OpenSSL does blocking I/O on what it is given. It is given an adapter that answers `WouldBlock` if
//! the transport is pending, so that the library's call ends and the task is woken when the transport
//! is ready.

mod calls;

use super::handshake_failure::is_truncation;
use super::hints;
use super::transport::Transport;
use crate::protocols::digest::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, ProxyDigest, SocketDigest, TimingDigest,
};
use crate::protocols::tls::writing::{self, MAX_RECORD, SealsRecords, WRITE_AT_ONCE, Writing};
use crate::protocols::tls::{ALPN, ClientHello, PlainHttp, SslDigest, TlsRef};
use crate::protocols::{IO, Peek, Shutdown, Ssl, UniqueID, UniqueIDType};
use crate::runtime::local::with_scratch;
use crate::sys::tls as sys;
use async_trait::async_trait;
use openssl::error::ErrorStack;
use openssl::ssl::{self, ErrorCode};
use pingora_error::{ErrorType, OrErr, Result};
use std::fmt;
use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The part of one write's slices that is still to be sealed.
struct Slices<'a> {
    bufs: &'a [IoSlice<'a>],
    /// Bytes of the first slice that are sealed.
    skipped: usize,
}

impl<'a> Slices<'a> {
    fn is_empty(&self) -> bool {
        self.bufs.iter().map(|slice| slice.len()).sum::<usize>() == self.skipped
    }

    fn advance(&mut self, n: usize) {
        self.skipped += n;
        while let [first, rest @ ..] = self.bufs
            && self.skipped >= first.len()
        {
            self.skipped -= first.len();
            self.bufs = rest;
        }
    }

    /// Calls `f` with what goes into the next record: from where it lies, or copied together.
    fn with_next<R>(&mut self, f: impl FnOnce(&[u8]) -> R) -> R {
        self.advance(0);
        let first: &[u8] = self.bufs.first().map_or(&[], |first| first);
        let first = first.get(self.skipped..).unwrap_or_default();
        let others = self.bufs.get(1..).unwrap_or_default();
        if first.len() >= MAX_RECORD || others.iter().all(|slice| slice.is_empty()) {
            return f(first.get(..MAX_RECORD).unwrap_or(first));
        }
        with_scratch(|scratch| {
            let mut room = scratch.get_mut(..MAX_RECORD).unwrap_or_default();
            for slice in std::iter::once(first).chain(others.iter().map(|slice| &**slice)) {
                // A slice of memory takes what it has room for.
                let _ = io::Write::write(&mut room, slice);
            }
            let len = MAX_RECORD - room.len();
            f(scratch.get(..len).unwrap_or_default())
        })
    }
}

/// A TLS connection over the transport `T`.
pub struct SslStream<T> {
    session: ssl::SslStream<Transport<T>>,
    /// The library has nothing to give before more arrives.
    starved: bool,
    writing: Writing,
    digest: Option<Arc<SslDigest>>,
    timing: TimingDigest,
    handshake_began: Option<Instant>,
    /// An error that came after data which had to be delivered first.
    deferred: Option<io::Error>,
}

/// Whether the library ends this handshake with nothing but session tickets, which the client does not
/// wait for (RFC 8446 section 4.6.1).
fn ends_with_tickets(ssl: &ssl::SslRef) -> bool {
    ssl.is_server() && ssl.version2() == Some(ssl::SslVersion::TLS1_3)
}

/// Whether the library waits for the transport to get ready.
fn is_pending(e: &ssl::Error) -> bool {
    matches!(e.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE)
}

fn into_io_error(e: ssl::Error) -> io::Error {
    if is_truncation(&e) {
        let text = "the peer closed the connection without a TLS close_notify";
        return io::Error::new(io::ErrorKind::UnexpectedEof, text);
    }
    e.into_io_error().unwrap_or_else(io::Error::other)
}

impl<T: AsyncRead + AsyncWrite + Unpin> SslStream<T> {
    /// A session over `stream`; no byte was exchanged yet.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` if the library can't.
    pub fn new(ssl: ssl::Ssl, stream: T) -> Result<Self> {
        let made = Self::with_library_error(ssl, stream);
        made.or_err(ErrorType::TLSHandshakeFailure, "starting a TLS session")
    }

    /// [`new`](Self::new), with the library's error.
    pub(crate) fn with_library_error(ssl: ssl::Ssl, stream: T) -> Result<Self, ErrorStack> {
        Ok(SslStream {
            session: ssl::SslStream::new(ssl, Transport::new(stream))?,
            starved: false,
            writing: Writing::default(),
            digest: None,
            timing: TimingDigest::default(),
            handshake_began: None,
            deferred: None,
        })
    }

    /// The client's side of the handshake.
    ///
    /// Dropping the future leaves the session half-way: it is good for nothing but another call.
    ///
    /// # Errors
    /// The library's.
    pub async fn connect(&mut self) -> Result<(), ssl::Error> {
        std::future::poll_fn(|cx| self.poll_connect(cx)).await
    }

    pub(crate) fn poll_connect(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>> {
        self.poll_handshake(cx, ssl::SslStream::connect)
    }

    /// The server's side of the handshake; see [`connect`](SslStream::connect).
    ///
    /// # Errors
    /// The library's.
    pub async fn accept(&mut self) -> Result<(), ssl::Error> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>> {
        self.poll_handshake(cx, ssl::SslStream::accept)
    }

    fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
        step: fn(&mut ssl::SslStream<Transport<T>>) -> Result<(), ssl::Error>,
    ) -> Poll<Result<(), ssl::Error>> {
        let began = *self.handshake_began.get_or_insert_with(Instant::now);
        ready!(self.poll_step(cx, step))?;
        self.timing.established_ts = SystemTime::now();
        self.timing.establishment_duration = Some(began.elapsed());
        let mut digest = SslDigest::from_ssl(self.session.ssl());
        if let Some(finder) = self.session.get_mut().client_hello.take() {
            digest.extension.facts_mut().client_hello = finder.take();
        }
        self.digest = Some(Arc::new(digest));
        Poll::Ready(Ok(()))
    }

    /// One call for a handshake. The library's output leaves in one write. It may be called again after the
    /// handshake.
    ///
    /// Session tickets leave with the first thing that is written, or when a read has to wait: most
    /// clients have sent their request by the time that the handshake is over.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        step: fn(&mut ssl::SslStream<Transport<T>>) -> Result<(), ssl::Error>,
    ) -> Poll<Result<(), ssl::Error>> {
        let transport = self.session.get_mut();
        if transport.poll_send(cx).is_pending() {
            return Poll::Pending;
        }
        transport.set_gathers(true);
        let polled = self.poll_session(cx, step);
        let transport = self.session.get_mut();
        transport.set_gathers(false);
        if transport.is_full() {
            // The library waits for room, and there will be some.
            cx.waker().wake_by_ref();
        }
        if matches!(polled, Poll::Ready(Ok(()))) && ends_with_tickets(self.session.ssl()) {
            self.session.get_mut().keep_unsent();
            self.writing.holds_tickets = true;
            return polled;
        }
        let transport = self.session.get_mut();
        // If that fails, so does the next read: it knows better why.
        match (polled, transport.poll_send(cx)) {
            (Poll::Ready(Ok(())), Poll::Pending) => Poll::Pending,
            (polled, _) => polled,
        }
    }

    /// One call into the library on behalf of the task behind `cx`.
    fn poll_session<R>(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut ssl::SslStream<Transport<T>>) -> Result<R, ssl::Error>,
    ) -> Poll<Result<R, ssl::Error>> {
        self.session.get_mut().set_waker(cx.waker());
        sys::forget_errors();
        match call(&mut self.session) {
            Err(e) if is_pending(&e) => {
                if e.io_error().is_none() {
                    // The library wants another call, not the transport, which therefore would not wake us.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }

    /// One step of a read: feeds the library if it is starved, and takes one record from it. `false`:
    /// it wants more.
    fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let transport = self.session.get_mut();
        if self.starved {
            let filled = transport.poll_fill(cx, buf.remaining());
            if filled.is_pending() && self.writing.holds_tickets {
                // If that fails, so does the next write.
                self.writing.holds_tickets = transport.poll_send(cx).is_pending();
            }
            ready!(filled)?;
            self.starved = false;
        }
        transport.set_waker(cx.waker());
        transport.set_fed(true);
        sys::forget_errors();
        let read = sys::read(&mut self.session, buf);
        self.session.get_mut().set_fed(false);
        match read {
            Ok(()) => {
                // Spares a call, and one of the library's errors, for each message.
                self.starved =
                    !self.session.get_ref().has_arrived() && !sys::has_pending(self.ssl());
                Poll::Ready(Ok(true))
            }
            Err(e) if e.code() == ErrorCode::ZERO_RETURN => Poll::Ready(Ok(true)),
            Err(e) if e.code() == ErrorCode::WANT_READ && e.io_error().is_some() => {
                self.starved = true;
                Poll::Ready(Ok(false))
            }
            Err(e) if is_pending(&e) => {
                if e.io_error().is_none() {
                    // The library wants another call, not the transport, which therefore would not wake us.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Err(e) => Poll::Ready(Err(self.read_error(e))),
        }
    }

    #[cold]
    fn read_error(&self, e: ssl::Error) -> io::Error {
        let hint = if self.ssl().is_server() {
            None
        } else {
            hints::read(&e)
        };
        match hint {
            Some(hint) => io::Error::other(format!("{e} (hint: {hint})")),
            None => into_io_error(e),
        }
    }

    /// Fills `buf` with as many records as have arrived.
    fn poll_read_records(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        loop {
            let before = buf.filled().len();
            let polled = self.poll_read_some(cx, buf);
            match polled {
                Poll::Ready(Ok(true))
                    if buf.filled().len() > before && buf.remaining() > 0 && !self.starved => {}
                Poll::Ready(Ok(false)) if before == start => {}
                Poll::Pending if before == start => return Poll::Pending,
                Poll::Ready(Err(e)) if before == start => return Poll::Ready(Err(e)),
                Poll::Ready(Err(e)) => {
                    self.deferred = Some(e);
                    return Poll::Ready(Ok(()));
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Seals what these slices hold, up to [`WRITE_AT_ONCE`] of it. Returns how much.
    fn poll_seal_records(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut rest = Slices { bufs, skipped: 0 };
        let mut total = 0;
        while total < WRITE_AT_ONCE && !rest.is_empty() {
            let sealed =
                rest.with_next(|record| self.poll_session(cx, |session| session.ssl_write(record)));
            match sealed {
                Poll::Ready(Ok(n)) => {
                    total += n;
                    rest.advance(n);
                }
                // It fails again when it is asked again.
                _ if total > 0 => break,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(into_io_error(e))),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(total))
    }
}

impl<T> SslStream<T> {
    /// The results of the handshake; `None` before it is complete.
    pub fn ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.digest.clone()
    }

    /// The library's session.
    pub fn ssl(&self) -> &TlsRef {
        self.session.ssl()
    }

    /// The library's session, to be changed.
    pub fn ssl_mut(&mut self) -> &mut TlsRef {
        sys::session_mut(&mut self.session)
    }

    /// The transport.
    pub fn get_ref(&self) -> &T {
        &self.session.get_ref().io
    }

    /// The transport. Reading or writing on it breaks the session.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.session.get_mut().io
    }

    /// The request in plain HTTP that came instead of a handshake, if it was one.
    pub(crate) fn plain_http(&self) -> Option<PlainHttp> {
        self.session.get_ref().plain_http
    }

    /// Keeps the first message of the client, for decisions and for the digest. To be called before the
    /// handshake.
    pub(crate) fn keep_client_hello(&mut self) {
        self.session.get_mut().client_hello = Some(Box::default());
    }

    /// The first message of the client, if it is kept and has come.
    pub(crate) fn client_hello(&self) -> Option<&ClientHello> {
        self.session.get_ref().client_hello.as_ref()?.found()
    }

    /// Keeps the first message of the client no longer.
    pub(crate) fn forget_client_hello(&mut self) {
        self.session.get_mut().client_hello = None;
        if let Some(digest) = self
            .digest
            .as_mut()
            .filter(|digest| digest.client_hello().is_some())
        {
            Arc::make_mut(digest).extension.facts_mut().client_hello = None;
        }
    }

    /// Notes for how long the handshake waited for another thread.
    pub(crate) fn add_offload_wait(&mut self, waited: Duration) {
        let so_far = self.timing.offload_wait_duration.unwrap_or_default();
        self.timing.offload_wait_duration = Some(so_far + waited);
    }

    /// Keeps what a user's callback made of the handshake.
    pub(crate) fn set_extension(&mut self, value: Arc<dyn std::any::Any + Send + Sync>) {
        if let Some(digest) = &mut self.digest {
            Arc::make_mut(digest).extension.set(value);
        }
    }
}

impl<T> Drop for SslStream<T> {
    fn drop(&mut self) {
        // A session that failed was spoiled when it did.
        if self.digest.is_some() {
            sys::spare_session(self.ssl_mut());
        }
    }
}

impl<T> Deref for SslStream<T> {
    type Target = TlsRef;

    fn deref(&self) -> &TlsRef {
        self.ssl()
    }
}

impl<T> DerefMut for SslStream<T> {
    fn deref_mut(&mut self) -> &mut TlsRef {
        self.ssl_mut()
    }
}

impl<T: fmt::Debug> fmt::Debug for SslStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SslStream")
            .field("transport", self.get_ref())
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for SslStream<T> {
    /// Fills `buf` with as many records as have arrived: one wake-up, one read.
    ///
    /// A close_notify is the end of the stream. The end of the transport without one is an error
    /// of the kind `UnexpectedEof`; a caller that expects no more data may ignore it.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(e) = this.deferred.take() {
            return Poll::Ready(Err(e));
        }
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let polled = this.poll_read_records(cx, buf);
        this.session.get_mut().return_buffer();
        polled
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> SealsRecords for SslStream<T> {
    type Transport = T;

    fn transport(&mut self) -> Pin<&mut T> {
        Pin::new(self.get_mut())
    }

    fn writing(&mut self) -> &mut Writing {
        &mut self.writing
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.get_mut().poll_send(cx)
    }

    fn poll_seal(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.session.get_mut().set_gathers(true);
        let sealed = self.poll_seal_records(cx, bufs);
        let transport = self.session.get_mut();
        transport.set_gathers(false);
        self.starved &= !transport.take_read_by_itself();
        sealed
    }

    fn poll_close_notify(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.writing.closed {
            // An error means that the session is broken or was never established.
            if ready!(self.poll_send(cx)).is_ok() {
                let _ = ready!(self.poll_session(cx, ssl::SslStream::shutdown));
            }
            self.writing.closed = true;
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SslStream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        writing::poll_write(self.get_mut(), cx, &[IoSlice::new(buf)])
    }

    /// Seals up to 64 KiB, small slices together in one record, and sends it all at once. After a
    /// pending write the same bytes have to be offered again, as with any TLS write; more may follow
    /// them.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        writing::poll_write(self.get_mut(), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        writing::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        writing::poll_shutdown(self.get_mut(), cx)
    }
}

#[async_trait]
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Shutdown for SslStream<T> {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl<T: UniqueID> UniqueID for SslStream<T> {
    fn id(&self) -> UniqueIDType {
        self.get_ref().id()
    }
}

impl<T> Ssl for SslStream<T> {
    fn is_encrypted(&self) -> bool {
        true
    }

    fn get_ssl(&self) -> Option<&TlsRef> {
        Some(self.ssl())
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.ssl().selected_alpn_protocol().map(ALPN::from_selected)
    }
}

impl<T: GetTimingDigest> GetTimingDigest for SslStream<T> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        let mut layers = self.get_ref().get_timing_digest();
        layers.push(Some(self.timing.clone()));
        layers
    }
}

impl<T: GetProxyDigest> GetProxyDigest for SslStream<T> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.get_ref().get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.get_mut().set_proxy_digest(digest);
    }
}

impl<T: GetSocketDigest> GetSocketDigest for SslStream<T> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.get_ref().get_socket_digest()
    }

    fn listener(&self) -> crate::metrics::Listener {
        self.get_ref().listener()
    }

    fn set_socket_digest(&mut self, socket_digest: SocketDigest) {
        self.get_mut().set_socket_digest(socket_digest);
    }
}

impl<T: IO> Peek for SslStream<T> {}

#[cfg(test)]
mod tests;
