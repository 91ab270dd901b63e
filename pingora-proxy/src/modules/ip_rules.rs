//! Letting clients in, or keeping them out, by their address.

use super::{ForwardedFields, order};
use async_trait::async_trait;
use pingora_core::listeners::ConnectionFilter;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module, Surroundings};
use pingora_core::protocols::l4::Networks;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Answers requests of some clients with 403, by their address.
///
/// A client in a denied network is refused. If networks are allowed, every other client is refused too, also
/// one whose address is not known, as on a Unix socket. The address is that of the connection, or of the
/// client that a proxy names by the PROXY protocol; with [`behind`](Self::behind), that of the client behind
/// trusted proxies.
///
/// If only the connection's address matters, set the rules as the service's [`ConnectionFilter`] instead:
/// then the connection is closed before its handshake.
///
/// ```
/// use pingora_core::modules::http::HttpModules;
/// use pingora_proxy::modules::IpRules;
///
/// # fn init(modules: &mut HttpModules) -> pingora_error::Result<()> {
/// let rules = IpRules::new().allow("10.0.0.0/8, ::1".parse()?).deny("10.0.0.66".parse()?);
/// modules.add_module(Box::new(rules));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct IpRules {
    allowed: Option<Arc<Networks>>,
    denied: Arc<Networks>,
    behind: Option<ForwardedFields>,
}

impl IpRules {
    /// Lets everybody in.
    pub fn new() -> Self {
        IpRules::default()
    }

    /// Admits only clients in these networks, unless they are denied. An empty list admits no client.
    /// Replaces the networks of an earlier call.
    pub fn allow(mut self, networks: Networks) -> Self {
        self.allowed = Some(Arc::new(networks));
        self
    }

    /// Keeps clients in these networks out, even if a larger network is allowed, in addition to those of
    /// earlier calls.
    pub fn deny(mut self, networks: Networks) -> Self {
        let all = self.denied.iter().chain(networks.iter());
        self.denied = Arc::new(all.copied().collect());
        self
    }

    /// Judges the client that these find behind trusted proxies; if networks are denied, one whom a trusted
    /// proxy does not name legibly is refused too. No effect on connections.
    pub fn behind(mut self, fields: ForwardedFields) -> Self {
        self.behind = Some(fields);
        self
    }

    /// Whether a client behind a proxy that does not tell its address may be one of those denied.
    fn may_be_denied(&self, client: Option<IpAddr>, peer: Option<IpAddr>) -> bool {
        client.is_none() && peer.is_some() && !self.denied.is_empty()
    }

    /// Whether a client of this address is let in.
    pub fn lets_in(&self, client: Option<IpAddr>) -> bool {
        let is_in = |networks: &Networks| client.is_some_and(|ip| networks.contains(ip));
        let is_allowed = self.allowed.as_ref().is_none_or(|allowed| is_in(allowed));
        is_allowed && !is_in(&self.denied)
    }
}

#[async_trait]
impl ConnectionFilter for IpRules {
    async fn should_accept(&self, addr: Option<&SocketAddr>) -> bool {
        self.lets_in(addr.map(SocketAddr::ip))
    }
}

impl HttpModuleBuilder for IpRules {
    fn order(&self) -> i16 {
        order::IP_RULES
    }

    fn init(&self) -> Module {
        Box::new(Judged(self.clone()))
    }
}

/// The module of one request.
struct Judged(IpRules);

#[async_trait]
impl HttpModule for Judged {
    /// Ahead of all modules' look at the head: they would work for nothing.
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let session = around.session();
        let peer = session.client_addr().and_then(|peer| peer.as_inet());
        let peer = peer.map(SocketAddr::ip);
        let client = match &self.0.behind {
            Some(fields) => fields.client_of(session).address(),
            None => peer,
        };
        if self.0.lets_in(client) && !self.0.may_be_denied(client, peer) {
            Ok(())
        } else {
            refused()
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cold]
fn refused() -> Result<()> {
    let reason = "the client's address is not let in";
    Err(Error::create(
        ErrorType::HTTPStatus(403),
        ErrorSource::Downstream,
        Some(reason.into()),
        None,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_networks_are_denied_by_each_call_and_nobody_hides_from_them() {
        let networks = |text: &str| text.parse::<Networks>().unwrap();
        let rules = IpRules::new()
            .deny(networks("10.0.0.66"))
            .deny(networks("10.0.0.67"));
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (address, lets_in) in [
            ("10.0.0.66", false),
            ("10.0.0.67", false),
            ("10.0.0.68", true),
        ] {
            assert_eq!(rules.lets_in(ip(address)), lets_in, "{address}");
        }
        assert!(rules.may_be_denied(None, ip("10.0.0.1")));
        assert!(!rules.may_be_denied(None, None), "a Unix socket");
        assert!(!rules.may_be_denied(ip("10.0.0.68"), ip("10.0.0.1")));
        assert!(!IpRules::new().may_be_denied(None, ip("10.0.0.1")));
    }

    #[tokio::test]
    async fn denied_goes_over_allowed_and_nothing_allowed_means_everybody() {
        let networks = |text: &str| text.parse::<Networks>().unwrap();
        let open = IpRules::new().deny(networks("10.0.0.66, 2001:db8::/32"));
        let closed = open.clone().allow(networks("10.0.0.0/8, ::1"));
        let nobody = IpRules::new().allow(Networks::none());
        // The address, and whether each lets it in.
        let rows = [
            (Some("10.0.0.1"), true, true),
            (Some("::ffff:10.0.0.1"), true, true),
            (Some("10.0.0.66"), false, false),
            (Some("::ffff:10.0.0.66"), false, false),
            (Some("2001:db8::1"), false, false),
            (Some("1.1.1.1"), true, false),
            (Some("::1"), true, true),
            (None, true, false),
        ];
        for (address, by_open, by_closed) in rows {
            let address: Option<IpAddr> = address.map(|text| text.parse().unwrap());
            assert_eq!(open.lets_in(address), by_open, "{address:?}");
            assert_eq!(closed.lets_in(address), by_closed, "{address:?}");
            assert!(!nobody.lets_in(address), "{address:?}");
            let connection = address.map(|ip| SocketAddr::new(ip, 1));
            let accepts = closed.should_accept(connection.as_ref()).await;
            assert_eq!(accepts, by_closed);
        }
    }
}
