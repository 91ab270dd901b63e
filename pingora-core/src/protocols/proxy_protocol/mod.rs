//! Headers of the PROXY protocol, versions 1 and 2: at the beginning of a connection, a proxy uses one to
//! tell the next server about the connection that it forwards. Reading and writing; no I/O.
//!
//! The format is HAProxy's (`doc/proxy-protocol.txt`). Ambiguous input is refused.

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
    /// A line of text: TCP addresses and nothing else.
    V1,
    /// Binary: addresses of every kind, and additional values.
    V2,
}

/// A header that breaks the rules, and the rule it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidProxyHeader(pub(crate) &'static str);

impl fmt::Display for InvalidProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidProxyHeader {}

/// A proxy's description of a connection that it forwards, or makes.
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
    /// The addresses of the client, and of its destination.
    addresses: Option<(SocketAddr, SocketAddr)>,
    /// In wire format; well-formed.
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

    /// A connection that the proxy makes on its own behalf, such as a health check (`LOCAL`). Version 1
    /// writes `UNKNOWN`.
    pub const fn local() -> Self {
        Self::empty(true)
    }

    /// The connection of a client whose address is unknown (`UNSPEC`, `UNKNOWN`).
    pub const fn unknown() -> Self {
        Self::empty(false)
    }

    /// A connection from `source` to `destination`.
    ///
    /// If the two internet addresses belong to different families, both are written as IPv6 addresses, with
    /// the IPv4 one mapped. An internet and a Unix address can't be combined: the header is
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

    /// Reads the header at the beginning of `bytes`, of at most `longest` bytes, and returns it with its
    /// length. `None` if it is incomplete. The version is detected from the first bytes.
    ///
    /// # Errors
    /// If it is not a header, breaks a rule, or is longer than `longest`: as early as that can be
    /// detected.
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

    /// Whether the proxy made the connection on its own behalf. Such a header has neither addresses nor
    /// values.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Whether the client sent datagrams (UDP).
    pub fn is_datagram(&self) -> bool {
        self.is_datagram
    }

    /// The client's address. `None` if there is none, or the proxy does not know it.
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
