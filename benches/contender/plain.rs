//! The least a proxy can be: every request goes to one fixed upstream.

use async_trait::async_trait;
use pingora::prelude::*;
use std::net::SocketAddr;

pub(crate) struct Plain {
    pub(crate) upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Plain {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}
