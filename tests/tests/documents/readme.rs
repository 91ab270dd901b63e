//! The code of the README.

use async_trait::async_trait;
use pingora::prelude::*;

struct Balancer {
    upstreams: LoadBalancer<RoundRobin>,
}

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        match self.upstreams.select(b"", 256) {
            Some(upstream) => Ok(Box::new(HttpPeer::new(upstream, false, String::new()))),
            None => Error::e_explain(ErrorType::HTTPStatus(503), "no upstream is healthy"),
        }
    }
}
