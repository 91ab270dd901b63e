//! Reading what trusted proxies have written.

use super::chain::Hop;
use super::{Client, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use http::HeaderValue;
use http::header::{FORWARDED, HeaderName};
use pingora_core::protocols::l4::Networks;
use pingora_http::RequestHeader;
use pingora_http::grammar::is_authority;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// All lines of a field that say something, the last line first.
fn lines_last_first(request: &RequestHeader, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines: Vec<&HeaderValue> = request.headers.get_all(name).iter().collect();
    let lines = lines.into_iter().rev().map(HeaderValue::as_bytes);
    lines.filter(|line| !line.trim_ascii().is_empty())
}

/// The elements of a list without quotes, the last one first. Each is judged by itself: what a client has sent
/// ahead of it must not spoil what a trusted proxy has added.
fn elements_last_first(line: &[u8]) -> impl Iterator<Item = Result<&str, ()>> {
    let parts = line.rsplit(|byte| *byte == b',');
    parts.map(|part| str::from_utf8(part.trim_ascii()).map_err(|_| ()))
}

/// `X-Forwarded-For`, `-Proto` and `-Host`, over what is known without them.
pub(super) fn from_x_forwarded(request: &RequestHeader, own: Client, trusted: &Networks) -> Client {
    let mut client = own;
    let lines = lines_last_first(request, X_FORWARDED_FOR);
    let hops = lines
        .flat_map(elements_last_first)
        .map(|part| part.and_then(hop));
    client.chain.extend_by(hops, trusted);
    if let Some(scheme) = last_of(request, X_FORWARDED_PROTO) {
        client.is_https = scheme.eq_ignore_ascii_case("https");
    }
    if let Some(host) = last_of(request, X_FORWARDED_HOST).and_then(as_host) {
        client.host = Some(host);
    }
    client
}

/// The last element of a list: what the trusted proxy itself says, if those before have said something too.
fn last_of(request: &RequestHeader, name: HeaderName) -> Option<&str> {
    let line = lines_last_first(request, name).next()?;
    elements_last_first(line).next()?.ok()
}

fn as_host(text: &str) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(text).ok()?;
    is_authority(text.as_bytes()).then_some(value)
}

/// An element of `X-Forwarded-For`: an address, which some write with a port.
fn hop(text: &str) -> Result<Hop, ()> {
    if text.eq_ignore_ascii_case("unknown") {
        return Ok(Hop::Hidden);
    }
    address(text).map(Hop::Address).ok_or(())
}

fn address(text: &str) -> Option<IpAddr> {
    let bracketed = |text: &str| {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    let plain = text.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let found = plain.or_else(|| bracketed(text)).or_else(with_port);
    found.map(|address| address.to_canonical())
}

/// One element of `Forwarded`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) node: Option<String>,
    pub(super) proto: Option<String>,
    pub(super) host: Option<String>,
}

/// `Forwarded`, over what is known without it.
pub(super) fn from_forwarded(request: &RequestHeader, own: Client, trusted: &Networks) -> Client {
    let mut client = own;
    let mut elements: Vec<Result<Element, ()>> = vec![];
    for line in lines_last_first(request, FORWARDED) {
        match str::from_utf8(line).map_err(|_| ()).and_then(elements_of) {
            Ok(of_line) => elements.extend(of_line.into_iter().rev().map(Ok)),
            Err(()) => elements.push(Err(())),
        }
    }
    let before = client.chain.len();
    let hops = elements.iter().map(|element| match element {
        Ok(element) => node(element.node.as_deref()),
        Err(()) => Err(()),
    });
    client.chain.extend_by(hops, trusted);
    let believed = client.chain.len() - before;
    // The client's element is the first that is believed.
    let of_client = believed.checked_sub(1).and_then(|at| elements.get(at));
    if let Some(Ok(element)) = of_client {
        if let Some(proto) = &element.proto {
            client.is_https = proto.eq_ignore_ascii_case("https");
        }
        if let Some(host) = element.host.as_deref().and_then(as_host) {
            client.host = Some(host);
        }
    }
    client
}

/// A node (RFC 7239 section 6). One that is obfuscated hides an address.
fn node(text: Option<&str>) -> Result<Hop, ()> {
    let text = text.unwrap_or("unknown");
    let name = text.split(':').next().unwrap_or_default();
    if name.eq_ignore_ascii_case("unknown") || name.starts_with('_') {
        return Ok(Hop::Hidden);
    }
    address(text).map(Hop::Address).ok_or(())
}

/// The elements of one line.
///
/// # Errors
/// When it is no list of elements: then nothing can be told from it.
pub(super) fn elements_of(line: &str) -> Result<Vec<Element>, ()> {
    let mut elements = vec![];
    let mut element = Element::default();
    let mut rest = line.trim_matches([' ', '\t']);
    if rest.is_empty() {
        return Err(());
    }
    loop {
        let (name, after) = rest.split_once('=').ok_or(())?;
        let (value, after) = value_of(after)?;
        let place = match name.to_ascii_lowercase().as_str() {
            "for" => Some(&mut element.node),
            "proto" => Some(&mut element.proto),
            "host" => Some(&mut element.host),
            other if is_token(other) => None,
            _ => return Err(()),
        };
        // Two values in one element could be read in two ways.
        if let Some(place) = place
            && place.replace(value).is_some()
        {
            return Err(());
        }
        let after = after.trim_start_matches([' ', '\t']);
        match after.chars().next() {
            None => {
                elements.push(element);
                return Ok(elements);
            }
            Some(';') => {}
            Some(',') => elements.push(std::mem::take(&mut element)),
            Some(_) => return Err(()),
        }
        rest = after.get(1..).ok_or(())?.trim_start_matches([' ', '\t']);
    }
}

/// A token or a quoted string, and what follows it.
fn value_of(text: &str) -> Result<(String, &str), ()> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return if is_token(value) {
            Ok((value.to_string(), rest))
        } else {
            Err(())
        };
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, quoted.get(at + 1..).ok_or(())?)),
            '\\' => value.push(chars.next().ok_or(())?.1),
            _ => value.push(c),
        }
    }
    Err(())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(pingora_http::grammar::is_token_byte)
}
