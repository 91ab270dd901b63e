//! A TLS session by rustls over any transport.

use super::handshake_failure::{self, HandshakeError};
use super::session::{Session, Step, Wanted};
use super::wire::{Arrived, Sealed};
use crate::protocols::digest::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, ProxyDigest, SocketDigest, TimingDigest,
};
use crate::protocols::tls::SslDigest;
use crate::protocols::tls::writing::{self, MAX_RECORD, SealsRecords, WRITE_AT_ONCE, Writing};
use crate::protocols::{IO, Peek, Shutdown, Ssl, UniqueID, UniqueIDType};
use async_trait::async_trait;
use rustls::{CommonState, ProtocolVersion};
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A TLS connection over the transport `T`.
///
/// An idle one holds the library's keys and no buffer. While the other side does not read, at most 96 KiB of
/// sealed records wait; of what was read, at most 64 KiB are kept for which the reader had no room.
pub(super) struct TlsStream<T> {
    io: T,
    session: Session,
    arrived: Arrived,
    sealed: Sealed,
    /// Payload for which the reader had no room, and how much of it was read since.
    surplus: (Vec<u8>, usize),
    /// The other side has said that nothing more will come.
    peer_closed: bool,
    /// The session is broken; the library is not asked any more.
    broken: Option<rustls::Error>,
    writing: Writing,
    digest: Option<Arc<SslDigest>>,
    timing: TimingDigest,
    handshake_began: Option<Instant>,
    /// An error that came after data which had to be delivered first.
    deferred: Option<io::Error>,
}

impl<T> TlsStream<T> {
    /// A session over `io`, from which `arrived` was read already.
    pub(super) fn new(session: Session, io: T, arrived: Vec<u8>) -> Self {
        TlsStream {
            io,
            session,
            arrived: Arrived::of(arrived),
            sealed: Sealed::default(),
            surplus: (Vec::new(), 0),
            peer_closed: false,
            broken: None,
            writing: Writing::default(),
            digest: None,
            timing: TimingDigest::default(),
            handshake_began: None,
            deferred: None,
        }
    }

    /// The library's facts about the session.
    pub(super) fn state(&self) -> &CommonState {
        self.session.state()
    }

    pub(super) fn set_digest(&mut self, digest: SslDigest) {
        self.digest = Some(Arc::new(digest));
    }

    /// Notes for how long the handshake waited for another thread.
    pub(super) fn add_offload_wait(&mut self, waited: Duration) {
        let so_far = self.timing.offload_wait_duration.unwrap_or_default();
        self.timing.offload_wait_duration = Some(so_far + waited);
    }

    /// Whether the library ends this handshake with nothing but session tickets, which the client does not
    /// wait for (RFC 8446 section 4.6.1).
    fn ends_with_tickets(&self) -> bool {
        let version = self.state().protocol_version();
        self.session.is_server() && version == Some(ProtocolVersion::TLSv1_3)
    }

    /// One step of the session. Payload for which the reader has no room is kept.
    fn step(
        &mut self,
        wanted: Wanted<'_>,
        buf: Option<&mut ReadBuf<'_>>,
    ) -> Result<Step, rustls::Error> {
        if let Some(e) = &self.broken {
            return Err(e.clone());
        }
        let surplus = &mut self.surplus.0;
        let mut buf = buf;
        let mut payload = |bytes: &[u8]| {
            let mut rest = bytes;
            if let Some(buf) = &mut buf
                && surplus.is_empty()
            {
                let (fits, more) = bytes.split_at(bytes.len().min(buf.remaining()));
                buf.put_slice(fits);
                rest = more;
            }
            surplus.extend_from_slice(rest);
        };
        let step = self
            .session
            .step(&mut self.arrived, &mut self.sealed, wanted, &mut payload);
        match &step {
            Ok(Step::Closed) => self.peer_closed = true,
            Err(e) => {
                self.broken = Some(e.clone());
                self.session.send_alert(&mut self.arrived, &mut self.sealed);
            }
            Ok(_) => {}
        }
        step
    }

    /// Hands out what was decrypted before. Whether there was any.
    fn read_surplus(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let (bytes, read) = &mut self.surplus;
        let rest = bytes.get(*read..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        let count = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..count).unwrap_or_default());
        *read += count;
        if *read >= bytes.len() {
            self.surplus = (Vec::new(), 0);
        }
        true
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> TlsStream<T> {
    /// Goes on with the handshake until it is over or fails.
    pub(super) fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), HandshakeError>> {
        let began = *self.handshake_began.get_or_insert_with(Instant::now);
        let polled = self.poll_handshake_steps(cx);
        self.arrived.return_buffer();
        if let Poll::Ready(Err(_)) = polled {
            // If the alert can't be sent, the error says more.
            let _ = self.sealed.poll_send(&mut self.io, cx);
        }
        ready!(polled)?;
        self.timing.established_ts = SystemTime::now();
        self.timing.establishment_duration = Some(began.elapsed());
        Poll::Ready(Ok(()))
    }

    fn poll_handshake_steps(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeError>> {
        loop {
            match self.step(Wanted::Progress, None) {
                Err(e) => return Poll::Ready(Err(HandshakeError::Tls(e))),
                Ok(Step::Again | Step::Payload) => continue,
                Ok(Step::Closed) if self.state().is_handshaking() => {
                    return Poll::Ready(Err(HandshakeError::Closed));
                }
                Ok(Step::Closed | Step::Done | Step::Blocked) => {}
            }
            if !self.state().is_handshaking() {
                if self.ends_with_tickets() {
                    // They leave with the first thing that is written, or when a read has to wait: most
                    // clients have sent their request by now.
                    self.sealed.keep_unsent();
                    self.writing.holds_tickets = !self.sealed.is_empty();
                    return Poll::Ready(Ok(()));
                }
                let sent = self.sealed.poll_send(&mut self.io, cx);
                return sent.map_err(HandshakeError::Io);
            }
            ready!(self.sealed.poll_send(&mut self.io, cx)).map_err(HandshakeError::Io)?;
            let filled = self.arrived.poll_fill(&mut self.io, cx, 0);
            match ready!(filled) {
                Ok(0) => return Poll::Ready(Err(HandshakeError::Closed)),
                Ok(_) => {}
                Err(e) => return Poll::Ready(Err(HandshakeError::Io(e))),
            }
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
            let has_some = buf.filled().len() > start;
            let full = buf.remaining() == 0 || !self.surplus.0.is_empty();
            if has_some && (full || self.arrived.is_empty()) || self.peer_closed {
                return Poll::Ready(Ok(()));
            }
            match self.step(Wanted::Progress, Some(&mut *buf)) {
                Err(e) => {
                    let e = handshake_failure::read_error(&e, self.session.is_server());
                    if buf.filled().len() > start {
                        self.deferred = Some(e);
                        return Poll::Ready(Ok(()));
                    }
                    return Poll::Ready(Err(e));
                }
                Ok(Step::Done | Step::Blocked) if has_some => return Poll::Ready(Ok(())),
                Ok(Step::Done | Step::Blocked) => ready!(self.poll_fill(cx, buf.remaining()))?,
                Ok(Step::Again | Step::Payload | Step::Closed) => {}
            }
        }
    }

    /// Waits for more; meanwhile, tickets are sent.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<()>> {
        let filled = self.arrived.poll_fill(&mut self.io, cx, room);
        if filled.is_pending() && self.writing.holds_tickets {
            // If that fails, so does the next write.
            self.writing.holds_tickets = self.sealed.poll_send(&mut self.io, cx).is_pending();
        }
        match ready!(filled) {
            Ok(0) => {
                let text = "the peer closed the connection without a TLS close_notify";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)))
            }
            Ok(_) => Poll::Ready(Ok(())),
            Err(e) => Poll::Ready(Err(e)),
        }
    }

    /// Does what is wanted in a session whose handshake is over.
    fn perform(&mut self, wanted: Wanted<'_>) -> io::Result<()> {
        loop {
            match self.step(wanted, None) {
                Ok(Step::Done) => return Ok(()),
                Ok(Step::Again | Step::Payload) => {}
                Ok(Step::Closed) if !self.writing.closed => {}
                Ok(Step::Closed | Step::Blocked) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(e) => return Err(handshake_failure::read_error(&e, self.session.is_server())),
            }
        }
    }

    /// Seals what these slices hold, up to [`WRITE_AT_ONCE`] of it. Returns how much.
    fn seal(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut total = 0;
        let offered: usize = bufs.iter().map(|slice| slice.len()).sum();
        // Small slices leave in one record.
        if bufs.len() > 1 && offered <= MAX_RECORD {
            let joined: Vec<u8> = bufs
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            self.perform(Wanted::Seal(&joined))?;
            return Ok(offered);
        }
        for slice in bufs {
            for record in slice.chunks(MAX_RECORD) {
                if total >= WRITE_AT_ONCE || self.sealed.is_full() {
                    return Ok(total);
                }
                match self.perform(Wanted::Seal(record)) {
                    Ok(()) => total += record.len(),
                    // It fails again when it is asked again.
                    Err(_) if total > 0 => return Ok(total),
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(total)
    }
}

impl<T: fmt::Debug> fmt::Debug for TlsStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("transport", &self.io)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<T> {
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
        if buf.remaining() == 0 || this.read_surplus(buf) {
            return Poll::Ready(Ok(()));
        }
        if let Some(e) = this.deferred.take() {
            return Poll::Ready(Err(e));
        }
        let polled = this.poll_read_records(cx, buf);
        this.arrived.return_buffer();
        if !this.writing.holds_tickets && !this.sealed.is_empty() {
            // An answer of the library, as to a change of keys. Where it fails, so does the next write.
            let _ = this.sealed.poll_send(&mut this.io, cx);
        }
        polled
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> SealsRecords for TlsStream<T> {
    type Transport = T;

    fn transport(&mut self) -> Pin<&mut T> {
        Pin::new(&mut self.io)
    }

    fn writing(&mut self) -> &mut Writing {
        &mut self.writing
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sealed.poll_send(&mut self.io, cx)
    }

    fn poll_seal(
        &mut self,
        _cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.seal(bufs))
    }

    fn poll_close_notify(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.writing.closed {
            // An error means that the session is broken or was never established.
            let _ = self.perform(Wanted::CloseNotify);
            self.writing.closed = true;
            self.writing.holds_tickets = false;
        }
        self.poll_send(cx).map(drop)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<T> {
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
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Shutdown for TlsStream<T> {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl<T: UniqueID> UniqueID for TlsStream<T> {
    fn id(&self) -> UniqueIDType {
        self.io.id()
    }
}

impl<T> Ssl for TlsStream<T> {
    fn is_encrypted(&self) -> bool {
        true
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.digest.clone()
    }
}

impl<T: GetTimingDigest> GetTimingDigest for TlsStream<T> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        let mut layers = self.io.get_timing_digest();
        layers.push(Some(self.timing.clone()));
        layers
    }
}

impl<T: GetProxyDigest> GetProxyDigest for TlsStream<T> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.io.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.io.set_proxy_digest(digest);
    }
}

impl<T: GetSocketDigest> GetSocketDigest for TlsStream<T> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
    }

    fn listener(&self) -> crate::metrics::Listener {
        self.io.listener()
    }

    fn set_socket_digest(&mut self, socket_digest: SocketDigest) {
        self.io.set_socket_digest(socket_digest);
    }
}

impl<T: IO> Peek for TlsStream<T> {}
