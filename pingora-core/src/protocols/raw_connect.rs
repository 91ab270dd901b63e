//! What a proxy on the way to the upstream answers to CONNECT (RFC 9110 section 9.3.6).

use pingora_http::ResponseHeader;
use std::any::Any;
use std::fmt;

/// The answer of the proxy that a connection passes through.
pub struct ProxyDigest {
    /// The proxy's response to CONNECT.
    pub response: Box<ResponseHeader>,
    /// What the user's hook made of it.
    pub user_data: Option<Box<dyn Any + Send + Sync>>,
}

impl ProxyDigest {
    /// A digest of `response`.
    pub fn new(
        response: Box<ResponseHeader>,
        user_data: Option<Box<dyn Any + Send + Sync>>,
    ) -> Self {
        ProxyDigest {
            response,
            user_data,
        }
    }
}

impl fmt::Debug for ProxyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyDigest")
            .field("status", &self.response.status)
            .finish_non_exhaustive()
    }
}

/// A proxy refused to connect to the upstream.
#[derive(Debug)]
pub struct ConnectProxyError {
    /// The proxy's response to CONNECT.
    pub response: Box<ResponseHeader>,
}

impl ConnectProxyError {
    /// An error that carries `response`, boxed as the error type wants its causes.
    pub fn boxed_new(response: Box<ResponseHeader>) -> Box<Self> {
        Box::new(ConnectProxyError { response })
    }
}

impl fmt::Display for ConnectProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the proxy answered CONNECT with status {}",
            self.response.status.as_u16()
        )
    }
}

impl std::error::Error for ConnectProxyError {}
