//! A TLS session over any transport.
//!
//! OpenSSL does blocking I/O on what it is given. It is given an adapter that polls the transport
//! once and answers `WouldBlock` where that is pending, so that the library's call ends and the
//! task is woken when the transport is ready.

use crate::protocols::digest::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, ProxyDigest, SocketDigest, TimingDigest,
};
use crate::protocols::tls::{ALPN, ClientHelloFinder, SslDigest, TlsRef};
use crate::protocols::{IO, Peek, Shutdown, Ssl, UniqueID, UniqueIDType};
use crate::runtime::local::with_scratch;
use crate::sys::tls as sys;
use async_trait::async_trait;
use openssl::ssl::{self, ErrorCode};
use pingora_error::{ErrorType, OrErr, Result};
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes of payload in one TLS record (RFC 8446 section 5.1).
const MAX_RECORD: usize = 16 * 1024;

/// The transport as OpenSSL sees it.
struct Transport<T> {
    io: T,
    /// Of the task that made the present call into the library.
    waker: Waker,
    /// Looks at what is read, until the handshake is over.
    client_hello: Option<Box<ClientHelloFinder>>,
    /// The latest read got less than there was room for: nothing more has arrived.
    drained: bool,
}

fn or_would_block<R>(poll: Poll<io::Result<R>>) -> io::Result<R> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<T: AsyncRead + Unpin> Read for Transport<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut cx = Context::from_waker(&self.waker);
        let mut buf = ReadBuf::new(buf);
        or_would_block(Pin::new(&mut self.io).poll_read(&mut cx, &mut buf))?;
        if let Some(finder) = &mut self.client_hello {
            finder.feed(buf.filled());
        }
        self.drained = buf.remaining() > 0;
        Ok(buf.filled().len())
    }
}

impl<T: AsyncWrite + Unpin> Write for Transport<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut cx = Context::from_waker(&self.waker);
        or_would_block(Pin::new(&mut self.io).poll_write(&mut cx, buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut cx = Context::from_waker(&self.waker);
        or_would_block(Pin::new(&mut self.io).poll_flush(&mut cx))
    }
}

/// A TLS connection over the transport `T`.
pub struct SslStream<T> {
    session: ssl::SslStream<Transport<T>>,
    digest: Option<Arc<SslDigest>>,
    timing: TimingDigest,
    handshake_began: Option<Instant>,
    /// An error that came after data which had to be delivered first.
    deferred: Option<io::Error>,
    close_notify_sent: bool,
}

/// What the library wants before it can go on is that the transport gets ready.
fn is_pending(e: &ssl::Error) -> bool {
    matches!(e.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE)
}

/// Whether the peer closed the transport without a close_notify, as a truncation attack would.
/// OpenSSL 3 has a reason code for that; before, it was an error without any detail.
pub(super) fn is_truncation(e: &ssl::Error) -> bool {
    const UNEXPECTED_EOF_WHILE_READING: i32 = 294;
    match (e.io_error(), e.ssl_error()) {
        (None, None) => e.code() == ErrorCode::SYSCALL,
        (None, Some(stack)) => stack
            .errors()
            .iter()
            .any(|e| e.reason_code() == UNEXPECTED_EOF_WHILE_READING),
        (Some(_), _) => false,
    }
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
    /// `TLSHandshakeFailure` where the library can't.
    pub fn new(ssl: ssl::Ssl, stream: T) -> Result<Self> {
        let transport = Transport {
            io: stream,
            waker: Waker::noop().clone(),
            client_hello: None,
            drained: false,
        };
        let session = ssl::SslStream::new(ssl, transport)
            .or_err(ErrorType::TLSHandshakeFailure, "starting a TLS session")?;
        Ok(SslStream {
            session,
            digest: None,
            timing: TimingDigest::default(),
            handshake_began: None,
            deferred: None,
            close_notify_sent: false,
        })
    }

    /// The client's side of the handshake.
    ///
    /// Dropping the future leaves the session half-way: it is good for nothing but another call.
    ///
    /// # Errors
    /// The library's.
    pub async fn connect(&mut self) -> Result<(), ssl::Error> {
        std::future::poll_fn(|cx| self.poll_handshake(cx, ssl::SslStream::connect)).await
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
        ready!(self.poll_session(cx, step))?;
        self.timing.established_ts = SystemTime::now();
        self.timing.establishment_duration = Some(began.elapsed());
        let mut digest = SslDigest::from_ssl(self.session.ssl());
        if let Some(finder) = self.session.get_mut().client_hello.take() {
            digest.extension.facts_mut().client_hello = finder.take();
        }
        self.digest = Some(Arc::new(digest));
        Poll::Ready(Ok(()))
    }

    /// One call into the library on behalf of the task behind `cx`.
    fn poll_session<R>(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut ssl::SslStream<Transport<T>>) -> Result<R, ssl::Error>,
    ) -> Poll<Result<R, ssl::Error>> {
        let waker = &mut self.session.get_mut().waker;
        if !waker.will_wake(cx.waker()) {
            waker.clone_from(cx.waker());
        }
        crate::sys::tls::forget_errors();
        match call(&mut self.session) {
            Err(e) if is_pending(&e) => {
                if e.io_error().is_none() {
                    // The library wants another call, not the transport: nobody would wake us.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }

    fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(self.poll_session(cx, |session| sys::read(session, buf))) {
            Ok(()) => {}
            Err(e) if e.code() == ErrorCode::ZERO_RETURN => {}
            Err(e) => return Poll::Ready(Err(into_io_error(e))),
        }
        Poll::Ready(Ok(()))
    }
}

impl<T> SslStream<T> {
    /// Whether another read could give something now: spares a call into the library, and one of its
    /// errors, for each message.
    fn may_have_more(&self) -> bool {
        !self.session.get_ref().drained || sys::has_pending(self.ssl())
    }

    /// What the handshake agreed upon; `None` before it is complete.
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

    /// Keeps the first message of the client, for the digest. To be called before the handshake.
    pub(crate) fn keep_client_hello(&mut self) {
        self.session.get_mut().client_hello = Some(Box::default());
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
    /// of the kind `UnexpectedEof`: whoever knows that nothing was to come any more may ignore it.
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
        let start = buf.filled().len();
        loop {
            let before = buf.filled().len();
            match this.poll_read_some(cx, buf) {
                Poll::Pending if before == start => return Poll::Pending,
                Poll::Ready(Err(e)) if before == start => return Poll::Ready(Err(e)),
                Poll::Ready(Err(e)) => {
                    this.deferred = Some(e);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(()))
                    if buf.filled().len() > before
                        && buf.remaining() > 0
                        && this.may_have_more() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SslStream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The library takes an empty write for a mistake.
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        this.poll_session(cx, |session| session.ssl_write(buf))
            .map_err(into_io_error)
    }

    /// Copies small slices together, so that they leave in one record. After a pending write the
    /// same bytes have to be offered again, as with any TLS write; more may follow them.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = bufs.iter().filter(|b| !b.is_empty());
        let Some(first) = filled.next() else {
            return Poll::Ready(Ok(0));
        };
        if first.len() >= MAX_RECORD || filled.next().is_none() {
            return self.poll_write(cx, first);
        }
        with_scratch(|scratch| {
            let mut len = 0;
            for slice in bufs {
                let room = &mut scratch[len..MAX_RECORD];
                let n = slice.len().min(room.len());
                room[..n].copy_from_slice(&slice[..n]);
                len += n;
            }
            self.poll_write(cx, &scratch[..len])
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.close_notify_sent {
            // An error here means that the session is broken or was never established; the
            // transport is closed either way.
            let _ = ready!(this.poll_session(cx, ssl::SslStream::shutdown));
            this.close_notify_sent = true;
        }
        Pin::new(this.get_mut()).poll_shutdown(cx)
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

    fn set_socket_digest(&mut self, socket_digest: SocketDigest) {
        self.get_mut().set_socket_digest(socket_digest);
    }
}

impl<T: IO> Peek for SslStream<T> {}
