//! The local address and port of an upstream connection.

use pingora_error::{Error, ErrorType, Result};
use std::net::SocketAddr;

/// The local end of a connection that is about to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BindTo {
    /// The local address. With port 0 the kernel chooses the port; with `None` it chooses the
    /// address, too.
    pub addr: Option<SocketAddr>,
    port_range: Option<(u16, u16)>,
    fallback: bool,
}

impl BindTo {
    /// Restricts the ports that the kernel chooses from to `low..=high`
    /// (`IP_LOCAL_PORT_RANGE`, Linux 6.3 and later). `None` lifts the restriction.
    ///
    /// # Errors
    /// `SocketError` if `low` is 0 or greater than `high`.
    pub fn set_port_range(&mut self, range: Option<(u16, u16)>) -> Result<()> {
        if let Some((low, high)) = range
            && (low == 0 || low > high)
        {
            return Error::e_explain(
                ErrorType::SocketError,
                format!("local port range {low}-{high}: must be 1 or more, and ascending"),
            );
        }
        self.port_range = range;
        Ok(())
    }

    /// Whether to connect from any port if the range is exhausted, or if the kernel does not
    /// support port ranges. Off by default.
    pub fn set_fallback(&mut self, fallback: bool) {
        self.fallback = fallback;
    }

    /// The range of local ports, lowest and highest.
    pub fn port_range(&self) -> Option<(u16, u16)> {
        self.port_range
    }

    /// Whether a port outside of the range is preferred over a failed connection.
    pub fn will_fallback(&self) -> bool {
        self.fallback && self.port_range.is_some()
    }
}

impl From<SocketAddr> for BindTo {
    /// This address, and its port, or any port if it is 0.
    fn from(addr: SocketAddr) -> Self {
        BindTo {
            addr: Some(addr),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_range_is_checked() {
        let mut bind = BindTo::default();
        for bad in [(0, 10), (20, 10)] {
            assert!(bind.set_port_range(Some(bad)).is_err(), "{bad:?}");
        }
        bind.set_fallback(true);
        assert!(!bind.will_fallback(), "nothing to fall back from");
        bind.set_port_range(Some((40000, 40000))).unwrap();
        assert!(bind.will_fallback());
        bind.set_port_range(None).unwrap();
        assert_eq!(bind.port_range(), None);
    }
}
