//! The code of `docs/modules.md`.

use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::protocols::l4::Networks;
use pingora::proxy::modules::{CorsCheck, ForwardedFields, RequestId};

struct Proxy {
    balancers: Networks,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(ForwardedFields::trusting(self.balancers.clone())));
        modules.add_module(Box::new(RequestId::new()));
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let check = session.downstream_modules_ctx.get_mut::<CorsCheck>();
        if let Some(answer) = check.and_then(CorsCheck::preflight) {
            session.write_response_header(answer, true).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new("10.0.0.1:80", false, String::new())))
    }
}

mod redirects {
    use pingora::http::StatusCode;
    use pingora::proxy::modules::Redirects;

    fn redirects() -> Redirects {
        let redirects = Redirects::new().to_https().below(
            "/blog",
            "https://blog.example",
            StatusCode::PERMANENT_REDIRECT,
        );
        redirects
    }
}
