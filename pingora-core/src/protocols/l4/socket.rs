//! Addresses of both families in one type.

use crate::sys::text::address_text;
use nix::sys::socket::{SockaddrLike, SockaddrStorage, getpeername, getsockname};
use pingora_error::{BError, Error, ErrorType};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{SocketAddr as StdSockAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::os::fd::RawFd;
use std::os::unix::net::SocketAddr as StdUnixSockAddr;
use std::str::FromStr;

/// Marks the Unix address that stands for a name that could not be resolved: a relative path that no
/// socket has. The reason follows.
const UNRESOLVED: &str = "\u{1}unresolved: ";

/// Longest path of a Unix address, in bytes (`sun_path` without its terminator).
const MAX_UNIX_PATH: usize = 107;

/// The address of a TCP or Unix socket.
///
/// In text form, an address of the internet family is `127.0.0.1:80` or `[::1]:80`, an address of
/// the Unix family is its path. Parsing accepts both, and `unix:` before a path.
#[derive(Clone, Debug)]
pub enum SocketAddr {
    /// IPv4 or IPv6, with a port.
    Inet(StdSockAddr),
    /// A Unix domain socket: a path, an abstract name, or unnamed.
    Unix(StdUnixSockAddr),
}

/// The key by which Unix addresses are compared: the kind, then the bytes.
fn unix_key(addr: &StdUnixSockAddr) -> (u8, &[u8]) {
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        if let Some(name) = addr.as_abstract_name() {
            return (2, name);
        }
    }
    match addr.as_pathname() {
        Some(path) => (1, path.as_os_str().as_encoded_bytes()),
        None => (0, &[]),
    }
}

impl SocketAddr {
    /// The address, if it is one of the internet family.
    pub fn as_inet(&self) -> Option<&StdSockAddr> {
        match self {
            SocketAddr::Inet(addr) => Some(addr),
            SocketAddr::Unix(_) => None,
        }
    }

    /// The address, if it is one of the Unix family.
    pub fn as_unix(&self) -> Option<&StdUnixSockAddr> {
        match self {
            SocketAddr::Inet(_) => None,
            SocketAddr::Unix(addr) => Some(addr),
        }
    }

    /// Changes the port. A Unix address has none and is left unchanged.
    pub fn set_port(&mut self, port: u16) {
        if let SocketAddr::Inet(addr) = self {
            addr.set_port(port);
        }
    }

    /// Queries the kernel for the address of a socket: the other end's if `peer_addr`, else its
    /// own.
    ///
    /// `None` if `fd` is not a socket of a known family, or is not connected. Also `None` for a
    /// Unix socket without a name, such as a client's: it has no address.
    pub fn from_raw_fd(fd: RawFd, peer_addr: bool) -> Option<SocketAddr> {
        let storage: SockaddrStorage = if peer_addr {
            getpeername(fd)
        } else {
            getsockname(fd)
        }
        .ok()?;
        Self::from_storage(&storage)
    }

    fn from_storage(storage: &SockaddrStorage) -> Option<SocketAddr> {
        if let Some(v4) = storage.as_sockaddr_in() {
            return Some(SocketAddr::Inet(SocketAddrV4::from(*v4).into()));
        }
        if let Some(v6) = storage.as_sockaddr_in6() {
            return Some(SocketAddr::Inet(SocketAddrV6::from(*v6).into()));
        }
        if storage.family() != Some(nix::sys::socket::AddressFamily::Unix) {
            return None;
        }
        let unix = storage.as_unix_addr();
        #[cfg(target_os = "linux")]
        if let Some(name) = unix.and_then(|u| u.as_abstract()) {
            use std::os::linux::net::SocketAddrExt;
            return StdUnixSockAddr::from_abstract_name(name)
                .ok()
                .map(SocketAddr::Unix);
        }
        let path = unix.and_then(|u| u.path())?;
        if path.as_os_str().is_empty() {
            return None;
        }
        StdUnixSockAddr::from_pathname(path)
            .ok()
            .map(SocketAddr::Unix)
    }

    /// A stand-in for an unknown address, because its name could not be resolved. It stores the
    /// reason (as much of it as fits) for the code that tries to connect.
    pub(crate) fn unresolved(reason: &str) -> SocketAddr {
        let mut text = format!("{UNRESOLVED}{}", reason.replace('\0', " "));
        let mut end = text.len().min(MAX_UNIX_PATH);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        match StdUnixSockAddr::from_pathname(text) {
            Ok(addr) => SocketAddr::Unix(addr),
            // This can't happen, because the text fits; this address can't be connected to either.
            Err(_) => SocketAddr::Inet(StdSockAddr::from(([0, 0, 0, 0], 0))),
        }
    }

    /// The reason given to [`SocketAddr::unresolved`], if this is such an address.
    pub(crate) fn unresolved_reason(&self) -> Option<&str> {
        self.as_unix()?
            .as_pathname()?
            .to_str()?
            .strip_prefix(UNRESOLVED)
    }
}

/// Adds the name that was looked up to `error`, the result of resolving `address`, if it can be determined:
/// if the address is text, or text with a port. The system's resolver names nothing.
pub fn name_error<A>(address: &A, error: io::Error) -> io::Error {
    /// The standard library's text before the resolver's reason.
    const LOOKUP: &str = "failed to lookup address information: ";
    let Some(name) = address_text(address) else {
        return error;
    };
    let reason = error.to_string();
    let reason = reason.strip_prefix(LOOKUP).unwrap_or(&reason);
    io::Error::new(error.kind(), format!("{name:?}: {reason}"))
}

impl fmt::Display for SocketAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketAddr::Inet(addr) => addr.fmt(f),
            SocketAddr::Unix(addr) => {
                if let Some(reason) = self.unresolved_reason() {
                    return write!(f, "(unresolved: {reason})");
                }
                match unix_key(addr) {
                    (1, path) => write!(f, "{}", String::from_utf8_lossy(path)),
                    (2, name) => write!(f, "@{}", name.escape_ascii()),
                    _ => f.write_str("(unnamed)"),
                }
            }
        }
    }
}

impl PartialEq for SocketAddr {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SocketAddr {}

impl PartialOrd for SocketAddr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SocketAddr {
    /// Internet addresses sort before Unix ones.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (SocketAddr::Inet(a), SocketAddr::Inet(b)) => a.cmp(b),
            (SocketAddr::Unix(a), SocketAddr::Unix(b)) => unix_key(a).cmp(&unix_key(b)),
            (SocketAddr::Inet(_), SocketAddr::Unix(_)) => Ordering::Less,
            (SocketAddr::Unix(_), SocketAddr::Inet(_)) => Ordering::Greater,
        }
    }
}

impl Hash for SocketAddr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            SocketAddr::Inet(addr) => addr.hash(state),
            SocketAddr::Unix(addr) => unix_key(addr).hash(state),
        }
    }
}

impl From<StdSockAddr> for SocketAddr {
    fn from(addr: StdSockAddr) -> Self {
        SocketAddr::Inet(addr)
    }
}

impl From<tokio::net::unix::SocketAddr> for SocketAddr {
    fn from(addr: tokio::net::unix::SocketAddr) -> Self {
        SocketAddr::Unix(addr.into())
    }
}

impl From<StdUnixSockAddr> for SocketAddr {
    fn from(addr: StdUnixSockAddr) -> Self {
        SocketAddr::Unix(addr)
    }
}

impl FromStr for SocketAddr {
    type Err = BError;

    /// # Errors
    /// `InternalError` for text that is neither `IP:PORT` nor a path. Names are not resolved.
    fn from_str(text: &str) -> Result<Self, BError> {
        let path = text
            .strip_prefix("unix:")
            .or(text.starts_with('/').then_some(text));
        match path {
            Some(path) => StdUnixSockAddr::from_pathname(path)
                .map(SocketAddr::Unix)
                .map_err(|e| {
                    let context = format!("{text:?} is not the address of a Unix socket");
                    Error::because(ErrorType::InternalError, context, e)
                }),
            None => text
                .parse()
                .map(SocketAddr::Inet)
                .map_err(|e: std::net::AddrParseError| {
                    let context = format!("{text:?} is neither IP:PORT nor a path");
                    Error::because(ErrorType::InternalError, context, e)
                }),
        }
    }
}

impl ToSocketAddrs for SocketAddr {
    type Iter = std::iter::Once<StdSockAddr>;

    /// # Errors
    /// `InvalidInput` for a Unix address: it has no counterpart in the internet family.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self {
            SocketAddr::Inet(addr) => Ok(std::iter::once(*addr)),
            SocketAddr::Unix(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                NotInet(self.clone()),
            )),
        }
    }
}

/// The error for a Unix address that is looked up as an internet address. It stores the address, so
/// that callers that accept either kind find it in the error.
#[derive(Debug)]
pub(crate) struct NotInet(pub(crate) SocketAddr);

impl fmt::Display for NotInet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is the address of a Unix socket", self.0)
    }
}

impl std::error::Error for NotInet {}

#[cfg(test)]
mod tests;
