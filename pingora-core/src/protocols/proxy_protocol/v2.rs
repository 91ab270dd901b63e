//! Version 2: binary.

use super::tlv;
use super::{FIXED, InvalidProxyHeader, ProxyHeader, UNIX};
use crate::protocols::l4::socket::SocketAddr;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr as InetSocketAddr};
use std::os::unix::net::SocketAddr as UnixSocketAddr;

/// The beginning of a header.
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

pub(super) const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;

/// A kind of addresses: the upper four bits are the family, the lower ones streams (1) or datagrams (2).
pub(super) const UNSPECIFIED: u8 = 0x00;
pub(super) const INET: u8 = 0x10;
pub(super) const INET6: u8 = 0x20;
pub(super) const UNIX_FAMILY: u8 = 0x30;
pub(super) const STREAM: u8 = 1;
pub(super) const DATAGRAM: u8 = 2;

type Parsed = Result<Option<(ProxyHeader, usize)>, InvalidProxyHeader>;

pub(super) fn parse(bytes: &[u8], longest: usize) -> Parsed {
    let compared = bytes.len().min(SIGNATURE.len());
    if bytes.get(..compared) != SIGNATURE.get(..compared) {
        return Err(InvalidProxyHeader("neither version begins like this"));
    }
    let command = bytes.get(SIGNATURE.len()).copied();
    if !matches!(command, None | Some(LOCAL | PROXY)) {
        return Err(InvalidProxyHeader("an unknown version or command"));
    }
    let Some(&[_, command, family, high, low]) = bytes.get(SIGNATURE.len() - 1..FIXED) else {
        return Ok(None);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > longest {
        return Err(InvalidProxyHeader("the header is too long"));
    }
    let Some(header) = bytes.get(..length) else {
        return Ok(None);
    };
    let content = header.get(FIXED..).unwrap_or_default();
    let read = match (command, family) {
        // The rest of its content must be ignored.
        (LOCAL, _) => ProxyHeader::local(),
        (_, UNSPECIFIED) => ProxyHeader::unknown(),
        _ => proxied(header, family, content)?,
    };
    Ok(Some((read, length)))
}

fn proxied(header: &[u8], family: u8, content: &[u8]) -> Result<ProxyHeader, InvalidProxyHeader> {
    const TOO_SHORT: InvalidProxyHeader =
        InvalidProxyHeader("shorter than the addresses that it should hold");
    let is_datagram = match family & 0x0f {
        STREAM => false,
        DATAGRAM => true,
        _ => return Err(InvalidProxyHeader("an unknown transport")),
    };
    let (addresses, tlvs) = match family & 0xf0 {
        INET => {
            let (addresses, tlvs) = content.split_first_chunk::<12>().ok_or(TOO_SHORT)?;
            (inet(addresses), tlvs)
        }
        INET6 => {
            let (addresses, tlvs) = content.split_first_chunk::<36>().ok_or(TOO_SHORT)?;
            (inet6(addresses), tlvs)
        }
        UNIX_FAMILY => {
            let (source, rest) = content.split_at_checked(UNIX).ok_or(TOO_SHORT)?;
            let (destination, tlvs) = rest.split_at_checked(UNIX).ok_or(TOO_SHORT)?;
            ((unix(source)?, unix(destination)?), tlvs)
        }
        _ => return Err(InvalidProxyHeader("an unknown family of addresses")),
    };
    let is_checksummed = tlv::check(header, tlvs)?;
    Ok(ProxyHeader {
        is_local: false,
        is_datagram,
        addresses: Some(addresses),
        tlvs: tlv::kept(tlvs),
        is_checksummed,
    })
}

fn inet(bytes: &[u8; 12]) -> (SocketAddr, SocketAddr) {
    let [a, b, c, d, e, f, g, h, p, q, r, s] = *bytes;
    let end = |ip: Ipv4Addr, port| InetSocketAddr::from((ip, u16::from_be_bytes(port))).into();
    (
        end(Ipv4Addr::new(a, b, c, d), [p, q]),
        end(Ipv4Addr::new(e, f, g, h), [r, s]),
    )
}

fn inet6(bytes: &[u8; 36]) -> (SocketAddr, SocketAddr) {
    let ip = |from: usize| {
        let octets = bytes.get(from..).and_then(|rest| rest.first_chunk::<16>());
        Ipv6Addr::from(octets.copied().unwrap_or_default())
    };
    let port = |from: usize| {
        let octets = bytes.get(from..).and_then(|rest| rest.first_chunk::<2>());
        u16::from_be_bytes(octets.copied().unwrap_or_default())
    };
    (
        InetSocketAddr::from((ip(0), port(32))).into(),
        InetSocketAddr::from((ip(16), port(34))).into(),
    )
}

/// A path up to its terminator, or an abstract name after a NUL.
fn unix(bytes: &[u8]) -> Result<SocketAddr, InvalidProxyHeader> {
    use std::os::unix::ffi::OsStrExt;
    let address = match bytes.split_first() {
        #[cfg(target_os = "linux")]
        Some((0, name)) if name.iter().any(|byte| *byte != 0) => {
            use std::os::linux::net::SocketAddrExt;
            let end = name.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            UnixSocketAddr::from_abstract_name(name.get(..=end).unwrap_or(name))
        }
        _ => {
            let path = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            UnixSocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))
        }
    };
    let address = address.map_err(|_| InvalidProxyHeader("not the address of a Unix socket"))?;
    Ok(SocketAddr::Unix(address))
}
