//! Networks of addresses, for lists of trusted or admitted clients.

use pingora_error::{BError, Error, ErrorType, Result};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The addresses with the same leading bits, such as `10.0.0.0/8` or `2001:db8::/32`; a single address is
/// written without a slash.
///
/// An IPv4 address that is mapped into IPv6 (`::ffff:10.0.0.1`) counts as the address that it stands
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    /// The number of leading bits.
    bits: u8,
}

impl Network {
    /// The network of this address with this many leading bits.
    ///
    /// # Errors
    /// `InternalError` if there are more bits than an address has, or if the address has non-zero bits
    /// after them: the author may have meant that address, or its network.
    pub fn new(address: IpAddr, bits: u8) -> Result<Self> {
        let most = width(address);
        if bits > most {
            return refused(format!("{address}/{bits}: there are {most} bits at most"));
        }
        let first = masked(address, bits);
        if first != address {
            return refused(format!(
                "{address}/{bits} is an address in a network: write {first}/{bits}, or {address} alone"
            ));
        }
        Ok(match (address, address.to_canonical()) {
            (IpAddr::V6(_), canonical @ IpAddr::V4(_)) if bits >= 96 => Network {
                address: canonical,
                bits: bits - 96,
            },
            _ => Network { address, bits },
        })
    }

    /// Whether the address is one of the network's.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                mask_v4(self.bits) & (own.to_bits() ^ other.to_bits()) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                mask_v6(self.bits) & (own.to_bits() ^ other.to_bits()) == 0
            }
            _ => false,
        }
    }
}

fn refused<T>(reason: String) -> Result<T> {
    Error::e_explain(ErrorType::InternalError, reason)
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn mask_v4(bits: u8) -> u32 {
    let rest = 32u32.saturating_sub(bits.into());
    u32::MAX.checked_shl(rest).unwrap_or(0)
}

fn mask_v6(bits: u8) -> u128 {
    let rest = 128u32.saturating_sub(bits.into());
    u128::MAX.checked_shl(rest).unwrap_or(0)
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & mask_v4(bits)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & mask_v6(bits)).into(),
    }
}

impl From<IpAddr> for Network {
    /// A single address.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Network {
            address,
            bits: width(address),
        }
    }
}

impl FromStr for Network {
    type Err = BError;

    /// # Errors
    /// `InternalError` with the reason.
    fn from_str(text: &str) -> Result<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let Ok(parsed) = address.parse::<IpAddr>() else {
            return refused(format!("{text:?} is no network: {address:?} is no address"));
        };
        let Some(bits) = bits else {
            return Ok(parsed.into());
        };
        let is_number = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        match bits.parse() {
            Ok(bits) if is_number => Network::new(parsed, bits),
            _ => refused(format!(
                "{text:?} is no network: {bits:?} is no number of bits"
            )),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == width(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.bits)
        }
    }
}

/// A list of networks.
///
/// ```
/// use pingora_core::protocols::l4::Networks;
///
/// let trusted: Networks = "10.0.0.0/8, 2001:db8::/32, 192.0.2.7".parse()?;
/// assert!(trusted.contains("10.1.2.3".parse().unwrap()));
/// assert!(!trusted.contains("192.0.2.8".parse().unwrap()));
/// # Ok::<(), pingora_core::BError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// No network, and therefore no address.
    pub const fn none() -> Self {
        Networks(Vec::new())
    }

    /// The networks that are not reachable from the internet: loopback, link-local, private ones (RFC
    /// 1918) and unique local ones (RFC 4193).
    pub fn private() -> Self {
        let v4 = |a, b, bits| Network {
            address: Ipv4Addr::new(a, b, 0, 0).into(),
            bits,
        };
        let v6 = |first, last, bits| Network {
            address: Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last).into(),
            bits,
        };
        Networks(vec![
            v4(127, 0, 8),
            v4(10, 0, 8),
            v4(172, 16, 12),
            v4(192, 168, 16),
            v4(169, 254, 16),
            v6(0, 1, 128),
            v6(0xfc00, 0, 7),
            v6(0xfe80, 0, 10),
        ])
    }

    /// Whether the address is in one of them. Takes time proportional to the number of networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// All networks, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Networks(networks.into_iter().collect())
    }
}

impl FromStr for Networks {
    type Err = BError;

    /// Networks separated by commas or spaces.
    ///
    /// # Errors
    /// `InternalError` with the first item that is not a network.
    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_>>().map(Networks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        let rows = [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("10.0.0.0/8", "::10.1.1.1", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "1.2.3.4", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.0", false),
            ("192.0.2.0/31", "192.0.2.1", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("2001:db8::1/128", "2001:db8::1", true),
        ];
        for (network, address, holds) in rows {
            let network: Network = network.parse().unwrap();
            let found = network.contains(address.parse().unwrap());
            assert_eq!(found, holds, "{network} {address}");
            assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.0/-1",
            "10.0.0/8",
            "example.com",
            "10.0.0.1:80",
            "[::1]",
            "10.0.0.0 /8",
            "10.0.0.0/999999999999",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
        let error = "10.0.0.1/8".parse::<Network>().unwrap_err();
        assert!(error.to_string().contains("write 10.0.0.0/8"), "{error}");
        assert!("10.0.0.0/8, nonsense".parse::<Networks>().is_err());
    }

    #[test]
    fn a_list_holds_what_one_of_its_networks_holds() {
        let list: Networks = "10.0.0.0/8,192.0.2.1 ::1".parse().unwrap();
        for (address, holds) in [("10.2.3.4", true), ("192.0.2.1", true), ("::2", false)] {
            assert_eq!(list.contains(address.parse().unwrap()), holds, "{address}");
        }
        assert!(!Networks::none().contains([127, 0, 0, 1].into()));
        let private = Networks::private();
        for address in [
            "127.0.0.1",
            "172.31.0.1",
            "fd00::1",
            "fe80::1",
            "::1",
            "192.168.1.1",
        ] {
            assert!(private.contains(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "::2", "192.169.1.1"] {
            assert!(!private.contains(address.parse().unwrap()), "{address}");
        }
    }
}
