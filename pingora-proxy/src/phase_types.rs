//! Types that stand in the signatures of phases.

use crate::Session;
use pingora_error::Error;

/// The decision of [`ProxyHttp::fail_to_proxy`](crate::ProxyHttp::fail_to_proxy).
#[derive(Debug)]
pub struct FailToProxy {
    /// The status sent to the client, or to be sent if nothing was; 0: the client is not answered.
    pub error_code: u16,
    /// Whether the client's connection may carry another request.
    pub can_reuse_downstream: bool,
}

impl FailToProxy {
    /// The decision of the default [`ProxyHttp::fail_to_proxy`](crate::ProxyHttp::fail_to_proxy) about a request that failed with this
    /// error. Writes nothing: the proxy sends the error page if nothing else of a response was sent.
    pub fn by_default(session: &Session, e: &Error) -> Self {
        FailToProxy {
            error_code: crate::status::status_of(session.as_downstream().fault(), e),
            can_reuse_downstream: crate::status::is_intact(e),
        }
    }
}

/// The origin of a warning that [`ProxyHttp::suppress_proxy_warn_log`](crate::ProxyHttp::suppress_proxy_warn_log) is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyWarnLogContext {
    /// An upstream failed and the request is retried.
    UpstreamRetry,
    /// The client is gone while the response is still being read for the cache.
    DownstreamCache,
}
