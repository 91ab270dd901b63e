//! Several values of one field: each counts.

use super::{PAIRS, VERSIONS, origin};
use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::proxy::modules::{BasicAuth, Cors, ForwardedFields, IpRules};
use pingora_tests::{Ask, Version, VersionedUpstream, h2c_proxy};

/// `ada:lovelace`, and another one.
const ADA: &str = "Basic YWRhOmxvdmVsYWNl";
const EVE: &str = "Basic ZXZlOmV2ZQ==";

/// Refuses requests of which any `x` is `b`, and counts those of a response.
struct Listed(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Listed {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let mut values = session.req_header().headers.get_all("x").iter();
        let is_denied = values.any(|value| value == "b");
        if is_denied {
            session.respond_error(403).await?;
        }
        Ok(is_denied)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.peer()))
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        let count = response.headers.get_all("link").iter().count();
        response.insert_header("x-links", count.to_string())
    }
}

/// The class of Envoy 1.37.1: values are joined before they are matched, so that a rule about one of them
/// meets none. An access list sees each, and the upstream gets them as they came.
#[tokio::test]
async fn an_access_list_sees_each_value_of_a_field() {
    for (down, up) in PAIRS {
        let (origin, upstream) = origin(up).await;
        let proxy = h2c_proxy(Listed(upstream)).await;
        for values in [&["b"][..], &["a", "b"], &["b", "a"], &["a", "a", "b", "c"]] {
            let ask = values.iter().fold(Ask::get("/"), |ask, v| ask.with("x", v));
            let answer = ask.answered_over(down, proxy.address()).await;
            assert_eq!(answer.status(), 403, "{down:?} to {up:?}: {values:?}");
        }
        assert_eq!(origin.begun(), 0);
        let others = Ask::get("/")
            .with("x", "a")
            .with("x", "a, b")
            .with("X", "c");
        let answer = others.answered_over(down, proxy.address()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(origin.last_request().headers("x"), ["a", "a, b", "c"]);
    }
}

struct Guarded {
    upstream: VersionedUpstream,
    fields: ForwardedFields,
}

#[async_trait]
impl ProxyHttp for Guarded {
    type CTX = ();
    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let auth = BasicAuth::new("test").and_then(|auth| auth.user("ada", "lovelace"));
        modules.add_module(Box::new(auth.unwrap()));
        modules.add_module(Box::new(Cors::of(&["https://a.example"]).unwrap()));
        let denied = IpRules::new().deny("192.0.2.0/24".parse().unwrap());
        modules.add_module(Box::new(denied.behind(self.fields.clone())));
        modules.add_module(Box::new(self.fields.clone()));
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.peer()))
    }
}

/// The class of Envoy 1.37.1 in the modules: a list in several lines is one list, and of what may be there once,
/// two are refused.
#[tokio::test]
async fn the_modules_see_each_value_of_a_field() {
    const FOR: &str = "x-forwarded-for";
    for down in VERSIONS {
        let (origin, upstream) = origin(Version::H1).await;
        let trusted = "127.0.0.0/8, 10.0.0.0/8".parse().unwrap();
        let fields = ForwardedFields::trusting(trusted);
        let proxy = h2c_proxy(Guarded { upstream, fields }).await;
        let ada = || Ask::get("/").with("authorization", ADA);
        let rows = [
            (ada().with(FOR, "192.0.2.9").with(FOR, "10.0.0.1"), 403),
            (ada().with(FOR, "10.0.0.1").with(FOR, "192.0.2.9"), 403),
            (
                ada()
                    .with(FOR, "203.0.113.5")
                    .with(FOR, "192.0.2.9, 10.0.0.1"),
                403,
            ),
            // Only said by a client that is not trusted.
            (ada().with(FOR, "192.0.2.9").with(FOR, "203.0.113.5"), 200),
            (ada().with("authorization", EVE), 401),
            (
                Ask::get("/")
                    .with("authorization", EVE)
                    .with("authorization", ADA),
                401,
            ),
        ];
        for (ask, status) in rows {
            let answer = ask.answered_over(down, proxy.address()).await;
            assert_eq!(answer.status(), status, "{down:?}: {ask:?}");
        }
        assert_eq!(origin.begun(), 1);
        let pages = ["https://a.example", "https://evil.example"];
        for [first, second] in [pages, [pages[1], pages[0]]] {
            let ask = ada().with("origin", first).with("origin", second);
            let answer = ask.answered_over(down, proxy.address()).await;
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed, None, "{down:?}: {first} {second}");
        }
    }
}
