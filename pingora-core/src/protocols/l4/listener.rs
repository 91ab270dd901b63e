//! Listening sockets of both families.

use super::stream::Stream;
use crate::protocols::digest::SocketDigest;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use tokio::net::{TcpListener, UnixListener};

/// A listening socket, registered with the runtime it was created on.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix domain socket.
    Unix(UnixListener),
}

impl Listener {
    /// Waits for a connection and accepts it.
    ///
    /// accept(2) returns the peer's address, so the kernel need not be queried for it again.
    /// Cancel-safe: a dropped future loses no connection.
    ///
    /// # Errors
    /// Errors of accept(2). Some concern a single connection that is gone already
    /// (`ConnectionAborted`), some the process (out of descriptors): the caller distinguishes them.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Stream::with_peer(stream.into(), peer))
            }
            Listener::Unix(listener) => {
                let (stream, peer) = listener.accept().await?;
                if peer.is_unnamed() {
                    // The kernel can't provide any more either.
                    return Ok(stream.into());
                }
                let digest = SocketDigest::with_peer_addr(stream.as_raw_fd(), peer.into());
                Ok(Stream::with_digest(stream.into(), digest))
            }
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Unix(listener) => listener.as_raw_fd(),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Listener::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Listener::Unix(listener)
    }
}
