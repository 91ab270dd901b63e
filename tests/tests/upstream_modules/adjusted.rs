//! A module that a response enables.

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::modules::http::compression::{ResponseCompression, ResponseCompressionBuilder};
use pingora::prelude::*;
use pingora_tests::{Ask, Origin, Version, VersionedUpstream, h2c_proxy};
use std::time::Duration;

/// Compresses responses that the upstream marks as suitable, before all filters.
struct Compressing(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Compressing {
    type CTX = usize;
    fn new_ctx(&self) -> usize {
        0
    }

    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(ResponseCompressionBuilder::enable(0));
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut usize) -> Result<Box<HttpPeer>> {
        assert!(session.upstream_modules_ctx.is_empty(), "it is not made");
        Ok(Box::new(self.0.peer()))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        req: &mut RequestHeader,
        _: &mut usize,
    ) -> Result<()> {
        req.remove_header("accept-encoding");
        Ok(())
    }

    async fn adjust_upstream_modules(
        &self,
        session: &mut Session,
        upstream_response: &ResponseHeader,
        end_of_stream: bool,
        _: &mut usize,
    ) -> Result<()> {
        if !end_of_stream && upstream_response.headers.get("content-length").is_some() {
            let modules = &mut session.upstream_modules_ctx;
            let compression = modules.get_mut::<ResponseCompression>().unwrap();
            compression.adjust_level(6);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        resp: &mut ResponseHeader,
        _: &mut usize,
    ) -> Result<()> {
        resp.insert_header("content-type", "text/plain")
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        seen: &mut usize,
    ) -> Result<Option<Duration>> {
        *seen += body.as_ref().map_or(0, Bytes::len);
        Ok(None)
    }

    async fn logging(&self, _: &mut Session, e: Option<&Error>, seen: &mut usize) {
        assert!(e.is_none() && *seen < 1000, "the filter saw {seen} bytes");
    }
}

#[tokio::test]
async fn compression_is_turned_on_by_a_response() {
    let body = "a".repeat(5000);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\n{body}"
    );
    let origin = Origin::answering(answer).await;
    let proxy = h2c_proxy(Compressing(VersionedUpstream {
        address: origin.address(),
        version: Version::H1,
    }));
    let proxy = proxy.await;
    for version in [Version::H1, Version::H2] {
        let ask = Ask::get("/x").with("accept-encoding", "gzip");
        let answer = ask.answered_over(version, proxy.address()).await;
        assert_eq!(
            answer.header("content-encoding"),
            Some("gzip"),
            "{answer:?}"
        );
        assert!(answer.body.starts_with(&[0x1f, 0x8b]) && answer.body.len() < 1000);
        assert_eq!(origin.last_request().header("accept-encoding"), None);
    }
}
