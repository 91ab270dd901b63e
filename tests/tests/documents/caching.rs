//! The code of `docs/caching.md`.

use async_trait::async_trait;
use pingora::cache::MemCache;
use pingora::prelude::*;
use pingora::proxy::ReadyCache;
use std::sync::LazyLock;

static STORE: LazyLock<MemCache> = LazyLock::new(|| MemCache::bounded(256 << 20));

struct Edge {
    cache: ReadyCache,
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = ();
    fn new_ctx(&self) {}

    fn ready_cache(&self, _ctx: &()) -> Option<&ReadyCache> {
        Some(&self.cache)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(
            "127.0.0.1:8000",
            false,
            String::new(),
        )))
    }
}
