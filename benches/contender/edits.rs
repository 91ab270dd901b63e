//! A proxy with four phases, which inserts three header fields.

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use std::net::SocketAddr;

pub(crate) struct Edits {
    pub(crate) upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Edits {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        if session.req_header().uri.path().starts_with("/private/") {
            session.respond_error(403).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream_request: &mut RequestHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        upstream_request.insert_header("X-Forwarded-Proto", "http")
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        response.insert_header("X-Served-By", "bench")?;
        response.insert_header("X-Frame-Options", "DENY")
    }
}
