//! A socket without a kernel: two buffers, and the other end is the test itself.

use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, Default)]
struct Buffers {
    /// The bytes that the proxy will read.
    incoming: Vec<u8>,
    /// The bytes that the proxy has written.
    outgoing: Vec<u8>,
    /// Whom a real socket would wake. Kept as a reactor would keep it, and never called: the
    /// harness polls by hand.
    reader: Option<Waker>,
}

/// One connection, seen from outside of the proxy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<Buffers>>);

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, as the proxy gets it.
    pub(crate) fn stream(&self) -> Stream {
        Stream::from(VirtualSocketStream::new(Box::new(MemorySocket(
            self.clone(),
        ))))
    }

    /// Sends `data` to the proxy.
    pub(crate) fn send(&self, data: &[u8]) {
        self.lock().incoming.extend_from_slice(data);
    }

    /// Looks at what the proxy wrote, and forgets it.
    pub(crate) fn receive<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        let mut buffers = self.lock();
        let result = look(&buffers.outgoing);
        buffers.outgoing.clear();
        result
    }
}

#[derive(Debug)]
struct MemorySocket(Wire);

impl VirtualSocket for MemorySocket {
    fn set_socket_option(&self, _opt: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for MemorySocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffers = self.0.lock();
        if buffers.incoming.is_empty() {
            match &mut buffers.reader {
                Some(reader) => reader.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let n = buffers.incoming.len().min(buf.remaining());
        buf.put_slice(&buffers.incoming[..n]);
        buffers.incoming.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemorySocket {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().outgoing.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut buffers = self.0.lock();
        for slice in slices {
            buffers.outgoing.extend_from_slice(slice);
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
