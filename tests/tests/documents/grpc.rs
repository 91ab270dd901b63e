//! The code of `docs/grpc.md`.

use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::modules::http::grpc_web::{GrpcWeb, GrpcWebBridge};
use pingora::prelude::*;
use pingora::protocols::ALPN;

struct Calls;

#[async_trait]
impl ProxyHttp for Calls {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new("10.0.0.1:50051", false, String::new());
        peer.options.alpn = ALPN::H2;
        Ok(Box::new(peer))
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(GrpcWeb));
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        if let Some(bridge) = session.downstream_modules_ctx.get_mut::<GrpcWebBridge>() {
            bridge.init();
        }
        Ok(())
    }
}
