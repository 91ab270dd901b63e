//! The addresses of a name that has several.

use super::connect::Connect;
use super::socket::SocketAddr;
use super::stream::Stream;
use async_trait::async_trait;
use pingora_error::{Error, ErrorType, Result};
use std::net::SocketAddr as InetSocketAddr;

/// The maximum number of addresses of one name that are tried.
const MOST: usize = 8;

/// Several addresses that lead to the same server. If connecting to one fails, or takes long, the next
/// is tried.
///
/// A peer that is created from a name stores them in its options, in place of a custom connector,
/// because the fields of a peer are a kept interface.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Addresses(Box<[InetSocketAddr]>);

impl Addresses {
    /// Built from a resolver's results, best first, in the order of RFC 8305 section 4, in which the
    /// two families alternate. `None` if there is at most one address. At most eight are kept.
    pub(crate) fn of(found: &[InetSocketAddr]) -> Option<Self> {
        let mut distinct: Vec<InetSocketAddr> = Vec::with_capacity(found.len().min(MOST));
        for address in found {
            if !distinct.contains(address) {
                distinct.push(*address);
            }
        }
        let begins_with_v6 = distinct.first()?.is_ipv6();
        let (one, other): (Vec<_>, Vec<_>) = distinct
            .into_iter()
            .partition(|address| address.is_ipv6() == begins_with_v6);
        let (mut one, mut other) = (one.into_iter(), other.into_iter());
        let mut ordered = Vec::new();
        while ordered.len() < MOST {
            let before = ordered.len();
            ordered.extend(one.next());
            ordered.extend(other.next());
            if ordered.len() == before {
                break;
            }
        }
        ordered.truncate(MOST);
        (ordered.len() > 1).then(|| Addresses(ordered.into()))
    }
}

#[async_trait]
impl Connect for Addresses {
    /// Never called by a connector, which knows the peer's other socket options.
    async fn connect(&self, addr: &SocketAddr) -> Result<Stream> {
        match addr {
            SocketAddr::Inet(addr) => Ok(super::ext::connect(addr, None).await?.into()),
            SocketAddr::Unix(_) => {
                Error::e_explain(ErrorType::ConnectError, "a name leads to no Unix socket")
            }
        }
    }

    fn addresses(&self) -> &[InetSocketAddr] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(found: &[&str]) -> Vec<String> {
        let found: Vec<_> = found.iter().map(|text| text.parse().unwrap()).collect();
        let addresses = Addresses::of(&found);
        let text = |addresses: Addresses| addresses.0.iter().map(ToString::to_string).collect();
        addresses.map_or_else(Vec::new, text)
    }

    #[test]
    fn families_alternate_and_the_first_stays_first() {
        let rows: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["1.1.1.1:1"], &[]),
            (&["1.1.1.1:1", "1.1.1.1:1"], &[]),
            (&["[::1]:1", "127.0.0.1:1"], &["[::1]:1", "127.0.0.1:1"]),
            (
                &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"],
            ),
            (
                &["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"],
                &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"],
            ),
        ];
        for (found, expected) in rows {
            assert_eq!(ordered(found), *expected, "{found:?}");
        }
        let many: Vec<String> = (1..=20).map(|n| format!("1.1.1.{n}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(ordered(&many), many[..MOST]);
    }
}
