//! The code of `docs/phases.md`.

use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module, Surroundings};
use pingora::prelude::*;
use std::any::Any;

#[derive(Default)]
struct MyCtx {
    tenant: String,
}

fn sign(tenant: &str, _: &RequestHeader) -> String {
    tenant.to_string()
}

#[derive(Default)]
struct Signature {
    tenant: String,
}

#[async_trait]
impl HttpModule for Signature {
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        if let Some(ctx) = around.context::<MyCtx>() {
            self.tenant.clone_from(&ctx.tenant);
        }
        Ok(())
    }

    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        let signature = sign(&self.tenant, req);
        req.insert_header("X-Signature", signature)
    }

    // as_any, as_any_mut
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct SignatureBuilder;

impl HttpModuleBuilder for SignatureBuilder {
    fn init(&self) -> Module {
        Box::new(Signature::default())
    }
}

struct Proxy;

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = MyCtx;
    fn new_ctx(&self) -> MyCtx {
        MyCtx::default()
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut MyCtx) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new("10.0.0.1:80", false, String::new())))
    }

    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(SignatureBuilder));
    }
}

mod waiting {
    use async_trait::async_trait;
    use bytes::Bytes;
    use pingora::prelude::*;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(1);

    struct Agent;

    impl Agent {
        async fn judge(&self, piece: Bytes) -> Result<Bytes> {
            Ok(piece)
        }
    }

    struct Proxy {
        agent: Agent,
    }

    #[async_trait]
    impl ProxyHttp for Proxy {
        type CTX = ();
        fn new_ctx(&self) {}

        async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
            Error::e_explain(ConnectError, "not asked")
        }

        async fn async_response_body_filter(
            &self,
            _session: &mut Session,
            body: &mut Option<Bytes>,
            _end_of_stream: bool,
            _ctx: &mut Self::CTX,
        ) -> Result<()> {
            if let Some(piece) = body.take() {
                let judged = tokio::time::timeout(PATIENCE, self.agent.judge(piece)).await;
                *body = Some(judged.or_err(ReadTimedout, "the agent is silent")??);
            }
            Ok(())
        }
    }
}
