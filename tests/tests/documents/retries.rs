//! `docs/retries.md`.

mod policy {
    use async_trait::async_trait;
    use pingora::prelude::*;
    use pingora::proxy::{RetryBudget, RetryPolicy};
    use std::time::Duration;

    struct Proxy {
        policy: RetryPolicy,
    }

    impl Proxy {
        fn new() -> Self {
            let policy = RetryPolicy::new(3)
                .on_status([502, 503])
                .per_try_timeout(Duration::from_secs(2))
                .budget(RetryBudget::new(0.2, 10));
            Proxy { policy }
        }
    }

    #[async_trait]
    impl ProxyHttp for Proxy {
        type CTX = ();
        fn new_ctx(&self) {}

        fn retry_policy<'a>(&'a self, _session: &Session, _ctx: &()) -> Option<&'a RetryPolicy> {
            Some(&self.policy)
        }

        async fn upstream_peer(
            &self,
            session: &mut Session,
            _ctx: &mut (),
        ) -> Result<Box<HttpPeer>> {
            // What has failed already is known, so that the next try can go elsewhere.
            let place = session.failed_tries().len();
            let address = if place == 0 {
                "10.0.0.1:80"
            } else {
                "10.0.0.2:80"
            };
            Ok(Box::new(HttpPeer::new(address, false, String::new())))
        }
    }
}

mod hedged {
    use pingora::proxy::{RetryBudget, RetryPolicy};
    use std::time::Duration;

    fn policy() -> RetryPolicy {
        let policy = RetryPolicy::new(2)
            .hedge_after(Duration::from_millis(200))
            .budget(RetryBudget::new(0.05, 10));
        policy
    }
}

mod buffered {
    use async_trait::async_trait;
    use pingora::prelude::*;
    use pingora::proxy::Spooling;

    struct Proxy {
        buffers: Spooling,
    }

    #[async_trait]
    impl ProxyHttp for Proxy {
        type CTX = bool;
        fn new_ctx(&self) -> bool {
            false
        }

        async fn request_filter(&self, session: &mut Session, is_large: &mut bool) -> Result<bool> {
            let body = session.buffer_request_body(&self.buffers).await?;
            *is_large = body.in_memory().starts_with(b"{\"model\": \"large\"");
            Ok(false)
        }

        async fn upstream_peer(
            &self,
            _: &mut Session,
            is_large: &mut bool,
        ) -> Result<Box<HttpPeer>> {
            let address = if *is_large {
                "10.0.0.2:80"
            } else {
                "10.0.0.1:80"
            };
            Ok(Box::new(HttpPeer::new(address, false, String::new())))
        }
    }

    fn proxy() -> Proxy {
        // 10 MB for each body, 16 KiB of it in memory.
        let buffers = Spooling::new(10_000_000).in_memory(16 * 1024);
        Proxy { buffers }
    }
}
