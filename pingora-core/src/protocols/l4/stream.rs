//! A connected socket, TCP or Unix, or something that behaves like one.

pub use super::buffers::{
    DEFAULT_L4_READ_BUFFER_SIZE, DEFAULT_L4_WRITE_BUFFER_SIZE, L4BufferSettings,
};

use super::Tracer;
use super::ext::TcpKeepalive;
use super::plain::{Direction, Plain};
use super::virt::{VirtualSockOpt, VirtualSocketStream};
use crate::metrics::Listener;
use crate::protocols::digest::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, ProxyDigest, SocketDigest, TimingDigest,
};
use crate::protocols::proxy_protocol::ProxyHeader;
use crate::protocols::{Peek, Shutdown, Ssl, UniqueID, UniqueIDType};
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pingora_error::{ErrorType, OrErr, Result};
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr as InetSocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

#[derive(Debug)]
pub(crate) enum Socket {
    Plain(Plain),
    Virtual(VirtualSocketStream),
}

/// Calls the same method on any kind of socket.
macro_rules! each_socket {
    ($socket:expr, $plain:ident => $one:expr, $virtual:ident => $other:expr) => {
        match $socket {
            Socket::Plain($plain) => $one,
            Socket::Virtual($virtual) => $other,
        }
    };
}

impl<S: Into<Plain>> From<S> for Socket {
    fn from(socket: S) -> Self {
        Socket::Plain(socket.into())
    }
}

impl Socket {
    /// The descriptor; -1 if there is none.
    fn fd(&self) -> RawFd {
        each_socket!(self, s => s.as_raw_fd(), _virtual => -1)
    }
}

/// A connection of the transport layer.
///
/// It buffers nothing: reads go into, and writes come from, the caller's memory, so an idle
/// connection holds no memory except this structure. The one exception is data passed to
/// [`rewind`](Stream::rewind), until it is read.
pub struct Stream {
    socket: Socket,
    /// Bytes to read before those of the socket. Boxed, because it is rare.
    rewound: Option<Box<Bytes>>,
    proxy_digest: Option<Arc<ProxyDigest>>,
    /// The address of the other end, if accepting or connecting returned it.
    peer: Option<InetSocketAddr>,
    /// Created on first use: it is three times as large as everything else.
    socket_digest: OnceLock<Arc<SocketDigest>>,
    /// The time at which the connection was established.
    pub established_ts: SystemTime,
    /// Notified of the end of this connection.
    pub tracer: Option<Tracer>,
    /// The time at which the first bytes after [`set_rx_timestamp`](Stream::set_rx_timestamp)
    /// arrived.
    pub rx_ts: Option<SystemTime>,
    stamp_next_read: bool,
    /// Where it is counted; the default for a connection to an upstream.
    listener: Listener,
}

impl Stream {
    fn new(socket: Socket) -> Self {
        Stream {
            socket,
            rewound: None,
            proxy_digest: None,
            peer: None,
            socket_digest: OnceLock::new(),
            established_ts: SystemTime::now(),
            tracer: None,
            rx_ts: None,
            stamp_next_read: false,
            listener: Listener::default(),
        }
    }

    /// A stream whose addresses are already known.
    pub(crate) fn with_digest(socket: Socket, digest: SocketDigest) -> Self {
        let mut stream = Self::new(socket);
        stream.set_socket_digest(digest);
        stream
    }

    /// A stream whose other end is already known.
    pub(crate) fn with_peer(socket: Socket, peer: InetSocketAddr) -> Self {
        let mut stream = Self::new(socket);
        stream.peer = Some(peer);
        stream
    }

    /// Counts the connection as one that came over this listener.
    pub(crate) fn count_for(&mut self, listener: Listener) {
        debug_assert_eq!(self.listener, Listener::default(), "counted once");
        self.listener = listener;
        listener.connection_begins();
    }

    /// From now on the ends of the connection are those that the header names, if it names any.
    pub(crate) fn set_proxy_header(&mut self, header: ProxyHeader) {
        let mut digest = SocketDigest::behind_proxy(self.socket.fd(), self.peer, header);
        digest.set_listener(self.listener);
        self.peer = digest.peer_addr().and_then(|peer| peer.as_inet().copied());
        self.set_socket_digest(digest);
    }

    /// Sends small segments at once (`TCP_NODELAY`). Does nothing on a Unix socket.
    ///
    /// # Errors
    /// `ConnectError` if the kernel refuses.
    pub fn set_nodelay(&mut self) -> Result<()> {
        each_socket!(
            &self.socket,
            s => s.set_nodelay(),
            s => s.set_socket_option(VirtualSockOpt::NoDelay)
        )
        .or_err(ErrorType::ConnectError, "setting TCP_NODELAY")
    }

    /// Enables probes on an idle connection. Does nothing on a Unix socket.
    ///
    /// # Errors
    /// `ConnectError` if the kernel refuses.
    pub fn set_keepalive(&mut self, ka: &TcpKeepalive) -> Result<()> {
        each_socket!(
            &self.socket,
            s => s.set_keepalive(ka),
            s => s
                .set_socket_option(VirtualSockOpt::KeepAlive(ka.clone()))
                .or_err(ErrorType::ConnectError, "setting keep-alive")
        )
    }

    /// Records in [`rx_ts`](Stream::rx_ts) when the next bytes arrive.
    ///
    /// The time is taken when this process reads them, not by the network card or the kernel.
    ///
    /// # Errors
    /// None at present.
    pub fn set_rx_timestamp(&mut self) -> Result<()> {
        self.stamp_next_read = true;
        Ok(())
    }

    /// Gives bytes back: they are read again, before anything else.
    pub fn rewind(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let bytes = match self.rewound.take() {
            Some(later) => [data, later.as_ref()].concat().into(),
            None => Bytes::copy_from_slice(data),
        };
        self.rewound = Some(Box::new(bytes));
    }

    /// Whether reading this stream means reading its descriptor, and nothing else.
    pub fn is_plain(&self) -> bool {
        let has_descriptor = !matches!(self.socket, Socket::Virtual(_));
        has_descriptor && self.rewound.is_none() && !self.stamp_next_read
    }

    /// Tries a caller's own system call that reads from the descriptor, or writes to it, until it
    /// does something other than blocking; while pending, the task is woken as for a read or a
    /// write.
    pub(crate) fn poll_call(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        each_socket!(
            &mut self.socket,
            s => s.poll_call(cx, direction, call),
            _virtual => Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
        )
    }

    /// Whether there is nothing to read, as far as the reactor knows; `None` if it is unknown.
    pub(crate) fn is_quiet(&self) -> Option<bool> {
        match &self.socket {
            Socket::Plain(socket) if self.rewound.is_none() => socket.is_quiet(),
            _ => None,
        }
    }

    /// Registers the connection with the reactor of the calling runtime, if it is not registered yet:
    /// for code that is going to poll it from elsewhere.
    ///
    /// # Errors
    /// If there is no reactor, or it accepts no more.
    pub(crate) fn register(&mut self) -> io::Result<()> {
        each_socket!(&mut self.socket, s => s.register(), _virtual => Ok(()))
    }

    fn read_rewound(&mut self, buf: &mut ReadBuf<'_>) {
        if let Some(bytes) = &mut self.rewound {
            let n = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..n]);
            bytes.advance(n);
            if bytes.is_empty() {
                self.rewound = None;
            }
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("socket", &self.socket)
            .field("tracer", &self.tracer)
            .finish_non_exhaustive()
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::new(stream.into())
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::new(stream.into())
    }
}

impl From<VirtualSocketStream> for Stream {
    fn from(stream: VirtualSocketStream) -> Self {
        Self::new(Socket::Virtual(stream))
    }
}

impl AsRawFd for Stream {
    /// The descriptor; -1 for a virtual socket, which has none.
    fn as_raw_fd(&self) -> RawFd {
        self.socket.fd()
    }
}

impl UniqueID for Stream {
    fn id(&self) -> UniqueIDType {
        match &self.socket {
            // It has no descriptor: its memory address is just as unique while it exists.
            Socket::Virtual(s) => std::ptr::from_ref(s).addr() as UniqueIDType,
            _ => self.socket.fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.rewound.is_some() {
            this.read_rewound(buf);
            return Poll::Ready(Ok(()));
        }
        let result = each_socket!(
            &mut this.socket,
            s => s.poll_read(cx, buf),
            s => Pin::new(s).poll_read(cx, buf)
        );
        if this.stamp_next_read && result.is_ready() {
            this.stamp_next_read = false;
            this.rx_ts = Some(SystemTime::now());
        }
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each_socket!(
            &mut self.socket,
            s => s.poll_write(cx, buf),
            s => Pin::new(s).poll_write(cx, buf)
        )
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_socket!(
            &mut self.socket,
            _plain => Poll::Ready(Ok(())),
            s => Pin::new(s).poll_flush(cx)
        )
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_socket!(
            &mut self.socket,
            s => Poll::Ready(s.shutdown()),
            s => Pin::new(s).poll_shutdown(cx)
        )
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each_socket!(
            &mut self.socket,
            s => s.poll_write_vectored(cx, bufs),
            s => Pin::new(s).poll_write_vectored(cx, bufs)
        )
    }

    fn is_write_vectored(&self) -> bool {
        each_socket!(&self.socket, _plain => true, s => s.is_write_vectored())
    }
}

#[async_trait]
impl Shutdown for Stream {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl Ssl for Stream {}

#[async_trait]
impl Peek for Stream {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        // The bytes that were read are put back, even if the caller drops the future half-way.
        let mut peeked = Peeked {
            stream: self,
            taken: Vec::with_capacity(buf.len()),
        };
        peeked.fill(buf.len()).await?;
        buf.copy_from_slice(&peeked.taken);
        Ok(true)
    }
}

/// Bytes read by [`Peek::try_peek`], returned to the stream on drop.
struct Peeked<'a> {
    stream: &'a mut Stream,
    taken: Vec<u8>,
}

impl Peeked<'_> {
    async fn fill(&mut self, wanted: usize) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            while self.taken.len() < wanted {
                let mut chunk = [0u8; 256];
                let room = chunk.len().min(wanted - self.taken.len());
                let mut buf = ReadBuf::new(&mut chunk[..room]);
                ready!(Pin::new(&mut *self.stream).poll_read(cx, &mut buf))?;
                if buf.filled().is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                self.taken.extend_from_slice(buf.filled());
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

impl Drop for Peeked<'_> {
    fn drop(&mut self) {
        self.stream.rewind(&self.taken);
    }
}

impl GetTimingDigest for Stream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest {
            established_ts: self.established_ts,
            ..Default::default()
        })]
    }
}

impl GetProxyDigest for Stream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.proxy_digest.clone()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.proxy_digest = Some(Arc::new(digest));
    }
}

impl GetSocketDigest for Stream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        let fd = self.socket.fd();
        if fd < 0 {
            // A virtual socket has the digest that it was given, if any.
            return self.socket_digest.get().cloned();
        }
        let digest = self.socket_digest.get_or_init(|| {
            let mut digest = match self.peer {
                Some(peer) => SocketDigest::with_peer_addr(fd, peer.into()),
                None => SocketDigest::from_raw_fd(fd),
            };
            digest.set_listener(self.listener);
            Arc::new(digest)
        });
        Some(digest.clone())
    }

    fn listener(&self) -> Listener {
        self.listener
    }

    fn set_socket_digest(&mut self, socket_digest: SocketDigest) {
        self.socket_digest = OnceLock::from(Arc::new(socket_digest));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(digest) = self.socket_digest.get() {
            digest.set_closed();
        }
        if self.listener != Listener::default() {
            self.listener.connection_ends();
        }
        if let Some(tracer) = self.tracer.take() {
            tracer.0.on_disconnected();
        }
    }
}

#[cfg(test)]
mod tests;
