//! An address that has no listener, for sure.

use std::net::SocketAddr;
use tokio::net::TcpSocket;

/// An address of 127.0.0.1 that refuses connections as long as this lives: the port is taken, so that
/// no other process gets it, and not listened on.
#[derive(Debug)]
pub struct Refusing(TcpSocket);

impl Refusing {
    /// Takes a port. To be called inside a runtime.
    ///
    /// # Panics
    /// When none is free.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a port is free");
        Self(socket)
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket has an address")
    }
}

impl Default for Refusing {
    fn default() -> Self {
        Self::new()
    }
}
