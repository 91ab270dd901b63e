//! Listening sockets of both families.

use super::stream::Stream;
use crate::protocols::digest::SocketDigest;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use tokio::net::{TcpListener, UnixListener};

/// A listening socket, registered with the runtime it was made on.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix domain socket.
    Unix(UnixListener),
}

impl Listener {
    /// Waits for a connection and takes it.
    ///
    /// The peer's address comes with the connection, so the kernel need not be asked for it again.
    /// Cancel-safe: a dropped future loses no connection.
    ///
    /// # Errors
    /// Those of accept(2). Some concern a single connection that is gone already
    /// (`ConnectionAborted`), some the process (out of descriptors): the caller tells them apart.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Stream::with_peer(stream.into(), peer))
            }
            Listener::Unix(listener) => {
                let (stream, peer) = listener.accept().await?;
                if peer.is_unnamed() {
                    // The kernel has no more to say of it either.
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
