//! A proxy that compresses responses.

use async_trait::async_trait;
use pingora::modules::http::compression::ResponseCompression;
use pingora::prelude::*;
use std::net::SocketAddr;

/// As in the C proxies' configurations.
const LEVEL: u32 = 6;

pub(crate) struct Gzip {
    pub(crate) upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Gzip {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        let modules = &mut session.downstream_modules_ctx;
        if let Some(compression) = modules.get_mut::<ResponseCompression>() {
            compression.adjust_level(LEVEL);
        }
        Ok(false)
    }
}
