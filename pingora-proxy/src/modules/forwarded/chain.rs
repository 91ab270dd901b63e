//! The addresses between the client and this proxy.

use pingora_core::protocols::l4::Networks;
use std::fmt::Write;
use std::net::IpAddr;

/// The most addresses that are believed: more proxies than any way has.
const MOST: usize = 16;

/// The addresses of the client and of the proxies behind it, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain(Vec<Hop>);

/// One hop that made a request, as the next hop saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    Address(IpAddr),
    /// A name that stands for an address, or none at all.
    Hidden,
}

impl Chain {
    /// The connected peer alone.
    pub(super) fn of(peer: Option<IpAddr>) -> Self {
        Chain(vec![peer.map_or(Hop::Hidden, Hop::Address)])
    }

    /// Goes on towards the client: takes in the hops that trusted proxies name, the last one first, up to the
    /// first that is no trusted proxy. `Err` is a hop that can't be read: a client that is not known, behind which
    /// nothing is believed. The proxy that wrote it down must not pass for the client.
    pub(super) fn extend_by(
        &mut self,
        last_first: impl Iterator<Item = Result<Hop, ()>>,
        trusted: &Networks,
    ) {
        let mut towards_client = vec![];
        for hop in last_first.take(MOST) {
            let hop = hop.unwrap_or(Hop::Hidden);
            towards_client.push(hop);
            match hop {
                Hop::Address(address) if trusted.contains(address) => {}
                _ => break,
            }
        }
        towards_client.reverse();
        towards_client.append(&mut self.0);
        self.0 = towards_client;
    }

    /// The client's address; `None` if it is not told.
    pub(super) fn client(&self) -> Option<IpAddr> {
        match self.0.first() {
            Some(Hop::Address(address)) => Some(*address),
            _ => None,
        }
    }

    /// How many hops there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// `X-Forwarded-For`; `None` if there is nothing to say.
    pub(super) fn as_x_forwarded_for(&self) -> Option<String> {
        let mut list = String::new();
        for hop in &self.0 {
            let separator = if list.is_empty() { "" } else { ", " };
            let _ = match hop {
                Hop::Address(address) => write!(list, "{separator}{address}"),
                // One that the peer of a Unix socket leaves is no news.
                Hop::Hidden if self.0.len() == 1 => return None,
                Hop::Hidden => write!(list, "{separator}unknown"),
            };
        }
        Some(list)
    }

    /// `Forwarded` (RFC 7239 section 4), with what the client asked for in the client's element.
    pub(super) fn as_forwarded(&self, scheme: &str, host: &[u8]) -> Vec<u8> {
        let mut value = Vec::new();
        for (place, hop) in self.0.iter().enumerate() {
            let node = match hop {
                Hop::Address(IpAddr::V4(address)) => address.to_string(),
                Hop::Address(IpAddr::V6(address)) => format!("\"[{address}]\""),
                Hop::Hidden => "unknown".to_string(),
            };
            let separator = if place == 0 { "" } else { ", " };
            value.extend_from_slice(format!("{separator}for={node}").as_bytes());
            if place == 0 {
                value.extend_from_slice(b";proto=");
                value.extend_from_slice(scheme.as_bytes());
                if !host.is_empty() {
                    value.extend_from_slice(b";host=\"");
                    for byte in host {
                        if matches!(byte, b'"' | b'\\') {
                            value.push(b'\\');
                        }
                        value.push(*byte);
                    }
                    value.push(b'"');
                }
            }
        }
        value
    }
}
