//! A stream of HTTP/2 as a stream of bytes.

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both directions of a stream, as after CONNECT (RFC 9113 section 8.5).
#[derive(Debug)]
pub struct Tunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
    read: BytesMut,
}

impl Tunnel {
    /// Of these directions.
    pub fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self {
            send,
            receive,
            read: BytesMut::new(),
        }
    }

    /// Ends it by force.
    pub fn reset(mut self) {
        self.send.send_reset(h2::Reason::CANCEL);
    }
}

fn failed(error: h2::Error) -> io::Error {
    if error.is_reset() {
        io::ErrorKind::ConnectionReset.into()
    } else {
        io::Error::other(error)
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.read.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => {
                    // A stream that is over has no window.
                    let _ = self.receive.flow_control().release_capacity(data.len());
                    self.read.extend_from_slice(&data);
                }
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.read.len().min(buffer.remaining());
        let bytes = self.read.split_to(count);
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.send.capacity() == 0 {
            self.send.reserve_capacity(bytes.len());
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = self.send.capacity().min(bytes.len());
        let data = Bytes::copy_from_slice(bytes.get(..count).unwrap_or_default());
        self.send.send_data(data, false).map_err(failed)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Ended or reset already: there is nothing to end.
        let _ = self.send.send_data(Bytes::new(), true);
        Poll::Ready(Ok(()))
    }
}
