//! The connection with its guard: counts what passes.

use super::budget::{Allowance, Budget, Offence};
use super::frames::{FrameScanner, kind};
use crate::protocols::http::v2::ledger::Ledger;
use crate::protocols::http::v2::server::PREFACE;
use crate::protocols::tls::{SslDigest, TlsRef};
use crate::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, ProxyDigest, Shutdown,
    SocketDigest, Ssl, Stream, TimingDigest, UniqueID, UniqueIDType,
};
use crate::runtime::local::with_scratch;
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What the guard of a connection has seen, for whoever drives it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// 0: nothing; else one of the numbers below.
    offence: AtomicU8,
    received: AtomicU64,
}

const RESETS: u8 = 1;
const OVERHEAD: u8 = 2;

impl Watch {
    /// What the peer did too often. The connection is to be ended.
    pub(crate) fn offence(&self) -> Option<Offence> {
        match self.offence.load(Ordering::Relaxed) {
            RESETS => Some(Offence::Resets),
            OVERHEAD => Some(Offence::Overhead),
            _ => None,
        }
    }

    /// Bytes that came from the peer so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn note(&self, offence: Offence) {
        let code = match offence {
            Offence::Resets => RESETS,
            Offence::Overhead => OVERHEAD,
        };
        self.offence.store(code, Ordering::Relaxed);
    }
}

/// A connection of HTTP/2 whose frames are counted. Once the peer has done something too often,
/// nothing more is read: the first attempt is put off, so that whoever drives the connection can
/// say goodbye; the next one fails.
#[derive(Debug)]
pub(crate) struct Guarded {
    io: Stream,
    /// Read by somebody else already.
    ahead: Bytes,
    incoming: FrameScanner,
    outgoing: FrameScanner,
    budget: Budget,
    watch: Arc<Watch>,
    ledger: Option<Arc<Ledger>>,
    stopped: bool,
    /// What is read by a TLS library has to go into memory that is initialised, which the framing's
    /// is not: filling that with zeros would cost more than copying what has arrived.
    through_scratch: bool,
}

impl Guarded {
    /// Guards a server's connection of which `ahead` was read already. What is written is told to the
    /// connection's `ledger`.
    pub(crate) fn server(
        io: Stream,
        ahead: Bytes,
        allowance: Allowance,
        ledger: Option<Arc<Ledger>>,
    ) -> (Self, Arc<Watch>) {
        let watch = Arc::new(Watch::default());
        let guarded = Guarded {
            through_scratch: io.get_ssl().is_some(),
            io,
            ahead,
            incoming: FrameScanner::new(PREFACE.len()),
            outgoing: FrameScanner::new(0),
            budget: Budget::new(allowance, Instant::now()),
            watch: watch.clone(),
            ledger,
            stopped: false,
        };
        (guarded, watch)
    }

    fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return match self.through_scratch {
                true => self.poll_read_through_scratch(cx, buf),
                false => Pin::new(&mut self.io).poll_read(cx, buf),
            };
        }
        let n = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..n).unwrap_or_default());
        self.ahead.advance(n);
        Poll::Ready(Ok(()))
    }

    fn poll_read_through_scratch(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with_scratch(|scratch| {
            let room = buf.remaining().min(scratch.len());
            let mut read = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            buf.put_slice(read.filled());
            Poll::Ready(Ok(()))
        })
    }

    fn count_sent(&mut self, bufs: &[IoSlice<'_>], mut n: usize) {
        let mut payload = 0;
        for buf in bufs {
            let sent = buf.get(..n.min(buf.len())).unwrap_or_default();
            n -= sent.len();
            let budget = &mut self.budget;
            let scanned = self.outgoing.scan(sent, |head| {
                if head.kind == kind::DATA {
                    payload += head.length as usize;
                }
                budget.sent(head, Instant::now)
            });
            if let Err(offence) = scanned {
                self.watch.note(offence);
            }
            if n == 0 {
                break;
            }
        }
        if let Some(ledger) = self.ledger.as_ref().filter(|_| payload > 0) {
            ledger.wrote(payload);
        }
    }

    fn note_blocked(&self, blocked: bool) {
        if let Some(ledger) = &self.ledger {
            ledger.note_blocked(blocked);
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.watch.offence().is_some() {
            if this.stopped {
                let what = "the peer was told to calm down";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, what)));
            }
            this.stopped = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(this.poll_read_some(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        let received = &this.watch.received;
        received.store(
            received.load(Ordering::Relaxed) + new.len() as u64,
            Ordering::Relaxed,
        );
        let budget = &mut this.budget;
        let scanned = this
            .incoming
            .scan(new, |head| budget.received(head, Instant::now));
        if let Err(offence) = scanned {
            this.watch.note(offence);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note_blocked(written.is_pending());
        let n = ready!(written)?;
        self.count_sent(&[IoSlice::new(buf)], n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note_blocked(written.is_pending());
        let n = ready!(written)?;
        self.count_sent(bufs, n);
        Poll::Ready(Ok(n))
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

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.io).await;
    }
}

impl UniqueID for Guarded {
    fn id(&self) -> UniqueIDType {
        self.io.id()
    }
}

impl Ssl for Guarded {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.io.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.io.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.io.selected_alpn_proto()
    }
}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.io.get_timing_digest()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.io.get_proxy_digest()
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
    }
}

impl Peek for Guarded {}
