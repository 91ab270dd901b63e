//! A rate limit as a module.

use super::{ClientNetwork, RateLimit, Verdict};
use async_trait::async_trait;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module, Surroundings};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

type KeyOf = dyn Fn(&RequestHeader) -> Option<Vec<u8>> + Send + Sync;

/// Limits requests by their client, or by a key from their head, before `request_filter`, and tells each
/// client in every response what is left. A client over its limit gets 429 through `fail_to_proxy`.
///
/// ```
/// use pingora_core::modules::http::HttpModules;
/// use pingora_proxy::limits::{Quota, RateLimit, RateLimitModule};
/// use std::time::Duration;
///
/// // In `init_downstream_modules`:
/// # let mut modules = HttpModules::new();
/// let quota = Quota::new(100, Duration::from_secs(60));
/// let by_client = RateLimitModule::by_client(RateLimit::new("client", quota, 10_000));
/// modules.add_module(Box::new(by_client));
/// ```
pub struct RateLimitModule {
    shared: Arc<Shared>,
}

struct Shared {
    limit: RateLimit,
    /// `None`: by client.
    key_of: Option<Box<KeyOf>>,
}

impl RateLimitModule {
    /// Limits each client: an IPv4 address, or the 64 leading bits of an IPv6 one. Clients of Unix sockets are
    /// not limited.
    pub fn by_client(limit: RateLimit) -> Self {
        let key_of = None;
        RateLimitModule {
            shared: Arc::new(Shared { limit, key_of }),
        }
    }

    /// Limits the requests that `key_of` has a key for.
    pub fn by_head(
        limit: RateLimit,
        key_of: impl Fn(&RequestHeader) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let key_of: Option<Box<KeyOf>> = Some(Box::new(key_of));
        RateLimitModule {
            shared: Arc::new(Shared { limit, key_of }),
        }
    }
}

impl fmt::Debug for RateLimitModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RateLimitModule")
            .field(&self.shared.limit)
            .finish()
    }
}

impl HttpModuleBuilder for RateLimitModule {
    fn init(&self) -> Module {
        Box::new(OfRequest {
            shared: self.shared.clone(),
            verdict: None,
        })
    }
}

struct OfRequest {
    shared: Arc<Shared>,
    verdict: Option<Verdict>,
}

impl OfRequest {
    fn count<K: Hash>(&mut self, key: &K) -> Result<()> {
        let verdict = self.shared.limit.take(key);
        self.verdict = Some(verdict);
        if verdict.allowed {
            Ok(())
        } else {
            let why = "the rate limit of its key is used up";
            Err(Error::explain(ErrorType::HTTPStatus(429), why).into_down())
        }
    }
}

#[async_trait]
impl HttpModule for OfRequest {
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        match ClientNetwork::of_session(around.session()) {
            Some(client) if self.shared.key_of.is_none() => self.count(&client),
            _ => Ok(()),
        }
    }

    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        let key_of = self.shared.key_of.as_ref();
        match key_of.and_then(|key_of| key_of(req)) {
            Some(key) => self.count(&key),
            None => Ok(()),
        }
    }

    async fn response_header_filter(
        &mut self,
        resp: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        match self.verdict {
            Some(verdict) if !resp.status.is_informational() => {
                self.shared.limit.announce(verdict, resp)
            }
            _ => Ok(()),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
