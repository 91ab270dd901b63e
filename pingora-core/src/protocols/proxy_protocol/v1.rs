//! Version 1: a line of text.

use super::{InvalidProxyHeader, LONGEST_V1, ProxyHeader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The beginning of the line.
pub(super) const BEGINNING: &[u8] = b"PROXY ";

const TOO_LONG: InvalidProxyHeader = InvalidProxyHeader("the line is too long");

type Parsed = Result<Option<(ProxyHeader, usize)>, InvalidProxyHeader>;

pub(super) fn parse(bytes: &[u8], longest: usize) -> Parsed {
    let compared = bytes.len().min(BEGINNING.len());
    if bytes.get(..compared) != BEGINNING.get(..compared) {
        return Err(InvalidProxyHeader("neither version begins like this"));
    }
    let longest = longest.min(LONGEST_V1);
    let window = bytes.get(..longest).unwrap_or(bytes);
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    let Some(end) = window.iter().position(|byte| !printable(byte)) else {
        return incomplete(window, longest);
    };
    match window.get(end..) {
        Some([b'\r', b'\n', ..]) => {
            let line = window.get(BEGINNING.len()..end).unwrap_or_default();
            Ok(Some((header(line)?, end + 2)))
        }
        Some(b"\r") => incomplete(window, longest),
        _ => Err(InvalidProxyHeader("the line holds a control character")),
    }
}

fn incomplete(window: &[u8], longest: usize) -> Parsed {
    if window.len() < longest {
        Ok(None)
    } else {
        Err(TOO_LONG)
    }
}

/// Parses the line after its first word.
fn header(line: &[u8]) -> Result<ProxyHeader, InvalidProxyHeader> {
    const SHAPE: InvalidProxyHeader =
        InvalidProxyHeader("not of the form `TCP4 SOURCE DESTINATION PORT PORT`");
    let line = std::str::from_utf8(line).map_err(|_| SHAPE)?;
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // The rest of the line must be ignored.
        return Ok(ProxyHeader::unknown());
    }
    let mut word = || words.next().ok_or(SHAPE);
    let (source, destination) = (word()?, word()?);
    let (source_port, destination_port) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(SHAPE);
    }
    let end = |text: &str, port| Ok(SocketAddr::new(address(family, text)?, port).into());
    Ok(ProxyHeader {
        addresses: Some((
            end(source, source_port)?,
            end(destination, destination_port)?,
        )),
        ..ProxyHeader::unknown()
    })
}

fn address(family: &str, text: &str) -> Result<IpAddr, InvalidProxyHeader> {
    let address = match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6),
        _ => return Err(InvalidProxyHeader("neither TCP4, TCP6 nor UNKNOWN")),
    };
    address.map_err(|_| InvalidProxyHeader("not an address of the family that is named"))
}

/// A number in canonical form: `080` and `+80` are not.
fn port(text: &str) -> Result<u16, InvalidProxyHeader> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = text == "0" || !text.starts_with('0');
    let number = text.parse().ok().filter(|_| is_number && is_plain);
    number.ok_or(InvalidProxyHeader("not a port"))
}
