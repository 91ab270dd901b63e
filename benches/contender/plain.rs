//! The least a proxy can be: every request goes to one fixed upstream.

use async_trait::async_trait;
use pingora::prelude::*;
use std::net::SocketAddr;

pub(crate) struct Plain {
    pub(crate) upstream: SocketAddr,
    /// The upstream speaks HTTP/2 in cleartext.
    pub(crate) upstream_h2c: bool,
}

#[async_trait]
impl ProxyHttp for Plain {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream, false, String::new());
        if self.upstream_h2c {
            peer.options.set_http_version(2, 2);
        }
        Ok(Box::new(peer))
    }
}
