//! Headers of the PROXY protocol, versions 1 and 2: with one of them, a proxy tells the next server at the
//! beginning of a connection whose connection it passes on. Reading and writing; no I/O.
//!
//! The format is HAProxy's (`doc/proxy-protocol.txt`). What can be read in two ways is refused.

mod checksum;
mod encode;
mod tlv;
mod v1;
mod v2;

pub use tlv::{ProxyTls, ProxyTlvs, kind};

use super::l4::socket::SocketAddr;
use std::fmt;
use std::net::SocketAddr as InetSocketAddr;

/// The longest header of version 1, its line end included, in bytes.
pub const LONGEST_V1: usize = 107;

/// The longest header of version 2, in bytes.
pub const LONGEST_V2: usize = FIXED + u16::MAX as usize;

/// The part of a header of version 2 whose length does not vary, in bytes: signature, version and command,
/// family, length of the rest.
const FIXED: usize = 16;
/// Bytes of the address of a Unix socket.
const UNIX: usize = 108;

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text: addresses of TCP and nothing else.
    V1,
    /// Binary: addresses of every kind, and values beside them.
    V2,
}

/// A header that breaks the rules, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidProxyHeader(pub(crate) &'static str);

impl fmt::Display for InvalidProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidProxyHeader {}

/// What a proxy says of a connection that it passes on, or makes.
///
/// ```
/// use pingora_core::protocols::proxy_protocol::{ProxyHeader, ProxyVersion};
///
/// let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n";
/// let (header, length) = ProxyHeader::parse(line, 107).unwrap().expect("it is complete");
/// assert_eq!(header.source().unwrap().to_string(), "192.0.2.1:56324");
/// assert!(line[length..].starts_with(b"GET"));
///
/// let passed_on = header.encode(ProxyVersion::V2);
/// let (again, _) = ProxyHeader::parse(&passed_on, 4096).unwrap().expect("it is complete");
/// assert_eq!(again.source(), header.source());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    is_local: bool,
    is_datagram: bool,
    /// Of the client, and of what it connected to.
    addresses: Option<(SocketAddr, SocketAddr)>,
    /// As they travel; well-formed.
    tlvs: Vec<u8>,
    is_checksummed: bool,
}

impl ProxyHeader {
    const fn empty(is_local: bool) -> Self {
        ProxyHeader {
            is_local,
            is_datagram: false,
            addresses: None,
            tlvs: Vec::new(),
            is_checksummed: false,
        }
    }

    /// A connection that the proxy makes on its own account, such as a health check (`LOCAL`). Version 1 says
    /// `UNKNOWN`.
    pub const fn local() -> Self {
        Self::empty(true)
    }

    /// The connection of a client whose address can't be told (`UNSPEC`, `UNKNOWN`).
    pub const fn unknown() -> Self {
        Self::empty(false)
    }

    /// A connection from `source` to `destination`.
    ///
    /// Two addresses of the internet whose families differ are both written as IPv6 ones, that of IPv4 mapped
    /// into it. An internet and a Unix address can't be told together: the header is
    /// [`unknown`](Self::unknown).
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let addresses = match (source, destination) {
            (SocketAddr::Inet(source), SocketAddr::Inet(destination)) => {
                let (source, destination) = of_one_family(source, destination);
                Some((source.into(), destination.into()))
            }
            (source @ SocketAddr::Unix(_), destination @ SocketAddr::Unix(_)) => {
                Some((source, destination))
            }
            _ => None,
        };
        ProxyHeader {
            addresses,
            ..Self::unknown()
        }
    }

    /// Reads the header that `bytes` begin with, of at most `longest` bytes; with it, how many bytes it takes.
    /// `None` where it is not complete yet. Both versions are known by their first bytes.
    ///
    /// # Errors
    /// When it is no header, breaks a rule, or is longer than `longest`: as early as that can be told.
    pub fn parse(
        bytes: &[u8],
        longest: usize,
    ) -> Result<Option<(Self, usize)>, InvalidProxyHeader> {
        match bytes.first() {
            None => Ok(None),
            Some(b'P') => v1::parse(bytes, longest),
            Some(_) => v2::parse(bytes, longest),
        }
    }

    /// Whether the proxy made the connection on its own account. Such a header has neither addresses nor
    /// values.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Whether the client sent datagrams (UDP).
    pub fn is_datagram(&self) -> bool {
        self.is_datagram
    }

    /// The client's address. `None` where there is none, or the proxy can't tell it.
    pub fn source(&self) -> Option<&SocketAddr> {
        self.addresses.as_ref().map(|(source, _)| source)
    }

    /// The address that the client connected to.
    pub fn destination(&self) -> Option<&SocketAddr> {
        self.addresses.as_ref().map(|(_, destination)| destination)
    }
}

/// The same addresses in one family.
fn of_one_family(
    source: InetSocketAddr,
    destination: InetSocketAddr,
) -> (InetSocketAddr, InetSocketAddr) {
    let canonical = |address: InetSocketAddr| match address.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => InetSocketAddr::from((ip, address.port())),
        std::net::IpAddr::V6(_) => address,
    };
    let (source, destination) = (canonical(source), canonical(destination));
    let mapped = |address: InetSocketAddr| match address {
        InetSocketAddr::V4(v4) => InetSocketAddr::from((v4.ip().to_ipv6_mapped(), address.port())),
        InetSocketAddr::V6(_) => address,
    };
    if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (mapped(source), mapped(destination))
    }
}

#[cfg(test)]
mod tests;
