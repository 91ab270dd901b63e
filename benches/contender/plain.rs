//! The least a proxy can be: every request goes to one fixed upstream.

use async_trait::async_trait;
use pingora::prelude::*;
use std::net::SocketAddr;

/// Requests at a time on one connection to the upstream; as many as HAProxy allows by default.
const STREAMS: usize = 100;

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
            peer.options.max_h2_streams = STREAMS;
        }
        Ok(Box::new(peer))
    }
}
