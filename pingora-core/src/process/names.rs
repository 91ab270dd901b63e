//! The names of sockets in the table, and what a socket reports about itself.

use nix::sys::socket::{SockType, SockaddrStorage, getsockname, getsockopt, sockopt};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

/// The kind of a socket's payload. Each kind has its own port space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketKind {
    /// It listens for connections.
    Stream,
    /// It receives datagrams.
    Datagram,
}

/// The names of the sockets with one address, in order: `addr`, `addr#2`, `addr#3` ...
pub(super) fn names(bind: &str) -> impl Iterator<Item = String> {
    std::iter::once(bind.to_string()).chain((2..).map(move |n: u32| format!("{bind}#{n}")))
}

/// The kind of the socket, and its address in the form that an endpoint would use.
///
/// # Errors
/// The reason why it can't be used here.
pub(super) fn recognised(socket: &OwnedFd) -> Result<(SocketKind, String), String> {
    let kind = match getsockopt(socket, sockopt::SockType) {
        Err(nix::Error::ENOTSOCK) => return Err("it is not a socket".into()),
        Err(e) => return Err(e.to_string()),
        Ok(SockType::Datagram) => SocketKind::Datagram,
        Ok(_) if getsockopt(socket, sockopt::AcceptConn).unwrap_or(false) => SocketKind::Stream,
        Ok(_) => return Err("it does not listen for connections".into()),
    };
    let bound: SockaddrStorage = getsockname(socket.as_raw_fd()).map_err(|e| e.to_string())?;
    let address = written(&bound).ok_or("its address is of no known kind")?;
    Ok((kind, address))
}

fn written(address: &SockaddrStorage) -> Option<String> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::from(SocketAddrV4::from(*v4)).to_string());
    }
    if let Some(v6) = address.as_sockaddr_in6() {
        return Some(SocketAddr::from(SocketAddrV6::from(*v6)).to_string());
    }
    let unix = address.as_unix_addr()?;
    match (unix.path(), unix.as_abstract()) {
        (Some(path), _) => Some(path.to_str()?.to_string()),
        (None, Some(name)) => Some(format!("@{}", std::str::from_utf8(name).ok()?)),
        (None, None) => None,
    }
}
