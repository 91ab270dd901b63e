use crate::say;
use async_trait::async_trait;
use pingora::listeners::BoundAddresses;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use std::net::SocketAddr;

/// Prints, once a service listens, its address and what to try.
pub struct Announcement {
    addresses: BoundAddresses,
    text: Box<dyn Fn(SocketAddr) -> String + Send + Sync>,
}

impl Announcement {
    /// Announces the first of these addresses, followed by the result of `text` for an address at which a
    /// client on this machine can reach it.
    pub fn new(
        addresses: BoundAddresses,
        text: impl Fn(SocketAddr) -> String + Send + Sync + 'static,
    ) -> Self {
        Announcement {
            addresses,
            text: Box::new(text),
        }
    }
}

#[async_trait]
impl BackgroundService for Announcement {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let addresses = self.addresses.wait().await.unwrap_or_default();
        if let Some(address) = addresses.first() {
            say(format_args!("listening on {address}"));
            say((self.text)(reachable(*address)));
        }
    }
}

/// A server may listen on "all addresses", but a client can't connect to that.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => [127, 0, 0, 1].into(),
            SocketAddr::V6(_) => [0, 0, 0, 0, 0, 0, 0, 1].into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_an_address_that_it_can_connect_to() {
        let told = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(told("0.0.0.0:6188"), "127.0.0.1:6188");
        assert_eq!(told("[::]:6188"), "[::1]:6188");
        assert_eq!(told("10.0.0.1:80"), "10.0.0.1:80");
    }
}
