//! The code of `docs/limits.md`.

use pingora::listeners::ListenerConfig;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::protocols::http::aliases::{AliasPolicy, OnAlias};
use pingora::proxy::HttpProxy;
use pingora::services::listening::Service;

fn endpoint<P>(service: &mut Service<HttpProxy<P>>, settings: TlsSettings)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    service.add_listener(
        ListenerConfig::tcp("[::]:443")
            .tls(settings)
            .connections(20_000)
            .connections_per_client(100),
    );
}

fn aliases<P>(service: &mut Service<HttpProxy<P>>)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let proxy = service.app_logic_mut().unwrap();
    proxy.set_alias_policy(
        AliasPolicy::standard()
            .protect("x-tenant")
            .relied_on(OnAlias::Refuse)
            .others(OnAlias::Drop),
    );
}

mod rates {
    use async_trait::async_trait;
    use pingora::prelude::*;
    use pingora::proxy::limits::{Quota, RateLimit};
    use std::time::Duration;

    struct Gateway {
        limit: RateLimit,
    }

    fn gateway() -> Gateway {
        let quota = Quota::new(100, Duration::from_secs(60));
        let limit = RateLimit::new("client", quota, 10_000);
        Gateway { limit }
    }

    #[async_trait]
    impl ProxyHttp for Gateway {
        type CTX = ();
        fn new_ctx(&self) {}

        async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
            self.limit.refuse(session).await
        }

        async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
            Ok(Box::new(HttpPeer::new("10.0.0.1:80", false, String::new())))
        }
    }
}

mod at_once {
    use async_trait::async_trait;
    use pingora::prelude::*;
    use pingora::proxy::limits::{RequestLimit, UnderWay};

    struct Gateway {
        limit: RequestLimit,
    }

    #[async_trait]
    impl ProxyHttp for Gateway {
        /// Keeps the request's place until it is over.
        type CTX = Option<UnderWay>;

        fn new_ctx(&self) -> Self::CTX {
            None
        }

        async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
            *ctx = self.limit.enter(session).await?;
            Ok(ctx.is_none())
        }

        async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> Result<Box<HttpPeer>> {
            Ok(Box::new(HttpPeer::new("10.0.0.1:80", false, String::new())))
        }
    }
}
