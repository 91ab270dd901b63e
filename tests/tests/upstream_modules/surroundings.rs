//! Modules that use the session and the context, on the client's side.

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module, Surroundings};
use pingora::prelude::*;
use pingora_tests::{Ask, Origin, Version, VersionedUpstream, h2c_proxy};
use std::any::Any;

/// Serves the clients of one tenant only, which is determined before the modules run.
struct OneTenant;

impl HttpModule for OneTenant {
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        assert!(around.upstream().is_none() && around.context::<usize>().is_none());
        assert!(around.session().client_addr().is_some());
        let tenant = around.context_mut::<String>().unwrap();
        match tenant.as_str() {
            "blue" => {
                tenant.push_str(", served");
                Ok(())
            }
            _ => Error::e_explain(HTTPStatus(403), "another tenant"),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl HttpModuleBuilder for OneTenant {
    fn init(&self) -> Module {
        Box::new(OneTenant)
    }
}

struct Tenants(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Tenants {
    type CTX = String;
    fn new_ctx(&self) -> String {
        String::new()
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(OneTenant));
    }

    async fn early_request_filter(&self, session: &mut Session, tenant: &mut String) -> Result<()> {
        let name = session.get_header("x-tenant");
        tenant.push_str(name.map_or("", |name| name.to_str().unwrap()));
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut String) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.peer()))
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        resp: &mut ResponseHeader,
        tenant: &mut String,
    ) -> Result<()> {
        resp.insert_header("x-tenant", tenant.as_str())
    }
}

#[tokio::test]
async fn on_the_clients_side_they_see_session_and_context_too() {
    let origin = Origin::well_behaved().await;
    let proxy = h2c_proxy(Tenants(VersionedUpstream {
        address: origin.address(),
        version: Version::H1,
    }));
    let proxy = proxy.await;
    for version in [Version::H1, Version::H2] {
        for (tenant, status, seen) in [("blue", 200, Some("blue, served")), ("red", 403, None)] {
            let ask = Ask::get("/x").with("x-tenant", tenant);
            let answer = ask.answered_over(version, proxy.address()).await;
            assert_eq!(answer.status(), status, "{answer:?}");
            assert_eq!(answer.header("x-tenant"), seen, "{answer:?}");
        }
    }
}
