//! Ports for those that can't be told port 0.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The first port that is given.
const FIRST: u16 = 10_000;
/// The range is not worth having with fewer.
const FEWEST: u16 = 1_000;

/// A port on which nobody listens now. For programs that can't be told port 0; for an address that
/// refuses connections, keep nobody from it.
///
/// The kernel doesn't give it to others in between, neither to one that connects nor to one that asks for port 0, and
/// this process gets each port once. Another process may get the same by chance.
pub fn free_port() -> u16 {
    static RANGE: LazyLock<RangeInclusive<u16>> = LazyLock::new(range);
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let count = u64::from(RANGE.end() - RANGE.start()) + 1;
    for _ in 0..10_000 {
        let chance = RandomState::new().hash_one(()) % count;
        let port = RANGE.start() + u16::try_from(chance).expect("it is within the range");
        if is_free(port) && given.insert(port) {
            return port;
        }
    }
    panic!("no port is free in {:?}", *RANGE);
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

/// The ports below those that the kernel gives; all of them if it gives nearly all.
fn range() -> RangeInclusive<u16> {
    let kernels = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let kernels = kernels.unwrap_or_default();
    let lowest = kernels.split_whitespace().next();
    let lowest = lowest.map_or(Ok(32_768), str::parse).unwrap_or(u16::MAX);
    if lowest < FIRST + FEWEST {
        return FIRST..=u16::MAX;
    }
    FIRST..=lowest - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_gives_a_free_port_to_nobody_else() {
        let range = range();
        let ports: HashSet<u16> = (0..200).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 200, "each is given once");
        assert!(ports.iter().all(|port| range.contains(port)), "{ports:?}");
        let kernels = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let kernels = kernels.local_addr().unwrap().port();
        assert!(!range.contains(&kernels) || *range.end() == u16::MAX);
    }
}
