//! The phases of cached requests, as `docs/phases.md` lists them.

use super::support::{Caching, Scripted, leak, ok};
use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use pingora::cache::key::HashBinary;
use pingora::cache::{
    CacheKey, CacheMeta, CacheMetaDefaults, ForcedFreshness, HitHandler, PurgeAction, RespCacheable,
};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::proxy::{PurgeStatus, RangeType, range_header_filter};
use pingora_tests::{Ask, Version, eventually, h2c_proxy};
use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PAGE: &str = include_str!("../../../docs/phases.md");

/// Records the phases, and does what `Caching` does.
struct Recorder {
    caching: Caching,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl Recorder {
    fn note(&self, phase: &'static str) -> &Caching {
        let mut calls = self.calls.lock().unwrap();
        // Bodies come in pieces.
        if !(phase.contains("body") && calls.contains(&phase)) {
            calls.push(phase);
        }
        &self.caching
    }
}

#[async_trait]
impl ProxyHttp for Recorder {
    type CTX = ();

    fn new_ctx(&self) {}

    fn request_cache_filter(&self, session: &mut Session, ctx: &mut ()) -> Result<()> {
        self.note("request_cache_filter")
            .request_cache_filter(session, ctx)
    }

    fn cache_key_callback(&self, session: &Session, ctx: &mut ()) -> Result<CacheKey> {
        self.note("cache_key_callback")
            .cache_key_callback(session, ctx)
    }

    fn cache_miss(&self, session: &mut Session, ctx: &mut ()) {
        self.note("cache_miss").cache_miss(session, ctx);
    }

    async fn cache_hit_filter(
        &self,
        _: &mut Session,
        _: &CacheMeta,
        _: &mut HitHandler,
        _: bool,
        _: &mut (),
    ) -> Result<Option<ForcedFreshness>> {
        self.note("cache_hit_filter");
        Ok(None)
    }

    async fn proxy_upstream_filter(&self, _: &mut Session, _: &mut ()) -> Result<bool> {
        self.note("proxy_upstream_filter");
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut ()) -> Result<Box<HttpPeer>> {
        self.note("upstream_peer").upstream_peer(session, ctx).await
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        _: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        self.note("upstream_response_filter");
        Ok(())
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        resp: &ResponseHeader,
        ctx: &mut (),
    ) -> Result<RespCacheable> {
        self.note("response_cache_filter")
            .response_cache_filter(session, resp, ctx)
    }

    fn cache_vary_filter(
        &self,
        meta: &CacheMeta,
        ctx: &mut (),
        req: &RequestHeader,
    ) -> Option<HashBinary> {
        self.note("cache_vary_filter")
            .cache_vary_filter(meta, ctx, req)
    }

    fn cache_not_modified_filter(
        &self,
        session: &Session,
        resp: &ResponseHeader,
        ctx: &mut (),
    ) -> Result<bool> {
        self.note("cache_not_modified_filter")
            .cache_not_modified_filter(session, resp, ctx)
    }

    fn range_header_filter(
        &self,
        session: &mut Session,
        resp: &mut ResponseHeader,
        _: &mut (),
    ) -> RangeType {
        self.note("range_header_filter");
        range_header_filter(session.req_header(), resp, None)
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        _: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        self.note("response_filter");
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        self.note("upstream_response_body_filter");
        Ok(None)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        self.note("response_body_filter");
        Ok(None)
    }

    fn should_serve_stale(&self, session: &mut Session, ctx: &mut (), e: Option<&Error>) -> bool {
        self.note("should_serve_stale")
            .should_serve_stale(session, ctx, e)
    }

    fn is_purge(&self, session: &Session, ctx: &()) -> bool {
        self.caching.is_purge(session, ctx)
    }

    fn purge_action(&self, session: &Session, ctx: &()) -> PurgeAction {
        self.note("purge_action").purge_action(session, ctx)
    }

    fn purge_response_filter(
        &self,
        session: &Session,
        ctx: &mut (),
        status: PurgeStatus,
        answer: &mut Cow<'static, ResponseHeader>,
    ) -> Result<()> {
        self.note("purge_response_filter")
            .purge_response_filter(session, ctx, status, answer)
    }

    async fn logging(&self, _: &mut Session, _: Option<&Error>, _: &mut ()) {
        self.note("logging");
    }
}

/// What the page says of a case.
fn on_page(case: &str) -> Vec<String> {
    let begin = format!("| {case} | ");
    let row = PAGE.lines().find_map(|line| line.strip_prefix(&begin));
    let row = row.expect("the page has the case").trim_end_matches(" |");
    row.replace('`', "")
        .split(" → ")
        .map(str::to_string)
        .collect()
}

fn stale_at_once(status: StatusCode) -> Option<Duration> {
    (status == StatusCode::OK).then_some(Duration::ZERO)
}

#[tokio::test]
async fn cached_requests_run_what_the_page_says() {
    let origin = Scripted::new(|request, number| match (request.target(), number % 2) {
        ("/confirmed", 1) => b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_vec(),
        ("/failing", 1) => b"HTTP/1.1 503 Out\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => ok("ETag: \"a\"\r\n", "body"),
    })
    .await;
    let get = Ask::get("/");
    let plain = |path: &str| Ask::get(path);
    for (case, warms, ask, is_stale) in [
        ("a miss", false, get.clone(), false),
        ("a hit", true, get.clone(), false),
        (
            "a hit that the client has",
            true,
            get.clone().with("If-None-Match", "\"a\""),
            false,
        ),
        ("a stale one, confirmed", true, plain("/confirmed"), true),
        ("a stale one, for a 503", true, plain("/failing"), true),
        ("a purge", true, Ask::by("PURGE", "/"), false),
    ] {
        if !warms || is_stale {
            // Each begins with an even number of requests.
            while origin.asked() % 2 == 1 {
                let server = h2c_proxy(Caching::of(origin.address())).await;
                plain("/even")
                    .answered_over(Version::H1, server.address())
                    .await;
            }
        }
        let mut caching = Caching::of(origin.address());
        if is_stale {
            caching.defaults = leak(CacheMetaDefaults::new(stale_at_once, 0, 60));
        }
        let calls = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder {
            caching,
            calls: calls.clone(),
        };
        let server = h2c_proxy(recorder).await;
        let logged = || calls.lock().unwrap().last() == Some(&"logging");
        if warms {
            let warm = Ask {
                method: "GET".into(),
                fields: Vec::new(),
                ..ask.clone()
            };
            warm.answered_over(Version::H1, server.address()).await;
            eventually("it is logged", logged).await;
            calls.lock().unwrap().clear();
        }
        ask.answered_over(Version::H1, server.address()).await;
        eventually("it is logged", logged).await;
        assert_eq!(*calls.lock().unwrap(), on_page(case), "{case}");
    }
}
