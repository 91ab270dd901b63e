//! Writing headers.

use super::checksum::crc32c;
use super::tlv::{CHECKSUM, kind};
use super::v2::{DATAGRAM, INET, INET6, LOCAL, PROXY, SIGNATURE, STREAM, UNIX_FAMILY, UNSPECIFIED};
use super::{FIXED, ProxyHeader, ProxyVersion, UNIX};
use crate::protocols::l4::socket::SocketAddr;
use std::net::SocketAddr as InetSocketAddr;

impl ProxyHeader {
    /// The header in wire format. Version 1 can only carry TCP addresses: for others it is written as `UNKNOWN`,
    /// and it omits the values.
    pub fn encode(&self, version: ProxyVersion) -> Vec<u8> {
        match version {
            ProxyVersion::V1 => self.encode_v1(),
            ProxyVersion::V2 => self.encode_v2(),
        }
    }

    fn encode_v1(&self) -> Vec<u8> {
        let line = match &self.addresses {
            Some((SocketAddr::Inet(source), SocketAddr::Inet(destination)))
                if !self.is_datagram =>
            {
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                format!(
                    "PROXY {family} {} {} {} {}\r\n",
                    source.ip(),
                    destination.ip(),
                    source.port(),
                    destination.port()
                )
            }
            _ => "PROXY UNKNOWN\r\n".to_string(),
        };
        line.into_bytes()
    }

    fn encode_v2(&self) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.push(if self.is_local { LOCAL } else { PROXY });
        let transport = if self.is_datagram { DATAGRAM } else { STREAM };
        let mut content = Vec::new();
        let family = match &self.addresses {
            Some(addresses) => transport | write_addresses(addresses, &mut content),
            None => UNSPECIFIED,
        };
        // Receivers ignore everything else in a header without addresses.
        let has_values = self.addresses.is_some();
        if has_values {
            content.extend_from_slice(&self.tlvs);
        }
        let is_checksummed = has_values && self.is_checksummed;
        let length = content.len() + if is_checksummed { CHECKSUM } else { 0 };
        debug_assert!(length <= usize::from(u16::MAX), "bounded by `with_tlv`");
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        header.push(family);
        header.extend_from_slice(&length.to_be_bytes());
        debug_assert_eq!(header.len(), FIXED);
        header.extend_from_slice(&content);
        if is_checksummed {
            header.extend_from_slice(&[kind::CRC32C, 0, 4]);
            let checksum = crc32c([&header[..], &[0; 4]]);
            header.extend_from_slice(&checksum.to_be_bytes());
        }
        header
    }
}

/// Writes the addresses; returns their family.
fn write_addresses(addresses: &(SocketAddr, SocketAddr), out: &mut Vec<u8>) -> u8 {
    match addresses {
        (SocketAddr::Inet(source), SocketAddr::Inet(destination)) => {
            for end in [source, destination] {
                match end {
                    InetSocketAddr::V4(end) => out.extend_from_slice(&end.ip().octets()),
                    InetSocketAddr::V6(end) => out.extend_from_slice(&end.ip().octets()),
                }
            }
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
            if source.is_ipv4() { INET } else { INET6 }
        }
        (source, destination) => {
            for end in [source, destination] {
                let mut bytes = unix(end);
                bytes.resize(UNIX, 0);
                out.extend_from_slice(&bytes);
            }
            UNIX_FAMILY
        }
    }
}

/// The path of a Unix socket, or its abstract name after a NUL.
fn unix(address: &SocketAddr) -> Vec<u8> {
    let Some(address) = address.as_unix() else {
        return Vec::new();
    };
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        if let Some(name) = address.as_abstract_name() {
            return [b"\0", name].concat();
        }
    }
    let path = address.as_pathname();
    path.map_or_else(Vec::new, |path| {
        path.as_os_str().as_encoded_bytes().to_vec()
    })
}
