//! The code of `docs/proxy_protocol.md`.

use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::proxy::HttpProxy;
use pingora::services::listening::Service;

fn endpoint<P>(service: &mut Service<HttpProxy<P>>, settings: TlsSettings) -> pingora::Result<()> {
    use pingora::listeners::{ListenerConfig, ProxyProtocol};

    let balancers = "10.0.0.0/24, 2001:db8:1::/64".parse()?;
    let endpoint =
        ListenerConfig::tcp("0.0.0.0:443").proxy_protocol(ProxyProtocol::trusting(balancers));
    service.add_listener(endpoint.tls(settings));
    Ok(())
}

fn announce(session: &Session, peer: &mut HttpPeer) {
    use pingora::protocols::proxy_protocol::ProxyVersion;

    let digest = session
        .digest()
        .and_then(|digest| digest.socket_digest.as_ref());
    if let Some(digest) = digest {
        let header = digest.to_proxy_header();
        peer.options.send_proxy_header(&header, ProxyVersion::V2);
    }
}
