//! A proxy that implements every phase and has modules on both sides, records each call, and fails, panics,
//! waits or leaves a mark where it is told to.

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module, Surroundings};
use pingora::prelude::*;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyWarnLogContext, RetryPolicy};
use pingora_tests::{PATIENCE, VersionedUpstream};
use std::any::Any;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The action of a call besides being recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It returns an error, if it can.
    Fail,
    Panic,
    /// It waits until it is released.
    Wait,
    /// It leaves a mark in everything that it may change. Every call does.
    Mark,
}

/// The results of the tries, up to the last one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tries {
    /// The number of tries that fail to connect.
    pub(crate) unreachable: usize,
    /// The number of tries that fail after that, before the response.
    pub(crate) reset: usize,
    /// Whether failed tries are retried.
    pub(crate) again: bool,
}

/// The record that all parts of one proxy write into.
#[derive(Default)]
pub(crate) struct Journal {
    calls: Mutex<Vec<String>>,
    /// Whether a call is waiting, and whether it may continue.
    gate: Mutex<(bool, bool)>,
    opened: Condvar,
}

impl Journal {
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, wanted: &str) -> usize {
        self.calls().iter().filter(|call| *call == wanted).count()
    }

    pub(crate) fn clear(&self) {
        self.calls.lock().unwrap().clear();
    }

    /// Whether a call waits.
    pub(crate) fn waits(&self) -> bool {
        self.gate.lock().unwrap().0
    }

    pub(crate) fn let_go(&self) {
        self.gate.lock().unwrap().1 = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let mut gate = self.gate.lock().unwrap();
        if !std::mem::replace(&mut gate.0, true) {
            let waiting = self
                .opened
                .wait_timeout_while(gate, PATIENCE, |gate| !gate.1);
            assert!(!waiting.unwrap().1.timed_out(), "let go in time");
        }
    }
}

/// Records a call, in a phase or in a module.
#[derive(Clone)]
pub(crate) struct Pen {
    pub(crate) journal: Arc<Journal>,
    pub(crate) act: Option<(&'static str, Act)>,
}

impl Pen {
    pub(crate) fn at(&self, site: &str) -> Result<()> {
        self.journal.calls.lock().unwrap().push(site.to_string());
        match self.act.filter(|(at, _)| *at == site) {
            Some((_, Act::Fail)) => Error::e_explain(HTTPStatus(418), "told to fail"),
            // Like a panic, but without a line from the panic hook in the output of the tests.
            Some((_, Act::Panic)) => std::panic::resume_unwind(Box::new("told to panic")),
            Some((_, Act::Wait)) => {
                self.journal.wait();
                Ok(())
            }
            Some((_, Act::Mark)) | None => Ok(()),
        }
    }

    /// Records a call that can't fail.
    fn note(&self, site: &str) {
        let _ = self.at(site);
    }

    fn marks(&self) -> bool {
        self.act.is_some_and(|(_, act)| act == Act::Mark)
    }

    fn mark_request(&self, site: &str, request: &mut RequestHeader) -> Result<()> {
        if self.marks() {
            request.insert_header(name_of(site), "1")
        } else {
            Ok(())
        }
    }

    /// Records a call that may change the client's request.
    fn at_session(&self, site: &str, session: &mut Session) -> Result<()> {
        self.mark_request(site, session.req_header_mut())?;
        self.at(site)
    }

    /// Records a call that sees a piece of a body.
    fn at_piece(&self, site: &str, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        if self.marks() && end {
            let mut piece = body.take().unwrap_or_default().to_vec();
            piece.extend_from_slice(format!("<{site}>").as_bytes());
            *body = Some(piece.into());
        }
        self.at(site)
    }

    fn at_response(&self, site: &str, response: &mut ResponseHeader) -> Result<()> {
        if self.marks() {
            response.insert_header(name_of(site), "1")?;
        }
        self.at(site)
    }

    fn at_trailers(&self, site: &str, trailers: &mut HeaderMap) -> Result<()> {
        if self.marks() {
            let name: http::HeaderName = name_of(site).parse().unwrap();
            trailers.insert(name, "1".parse().unwrap());
        }
        self.at(site)
    }
}

/// The field in which a call leaves its mark.
pub(crate) fn name_of(site: &str) -> String {
    format!("x-{}", site.replace(['_', ' ', ':'], "-"))
}

/// A module on one side.
struct Noting {
    side: &'static str,
    pen: Pen,
}

impl Noting {
    fn site(&self, hook: &str) -> String {
        format!("{} modules: {hook}", self.side)
    }
}

#[async_trait]
impl HttpModule for Noting {
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        assert_eq!(around.upstream().is_some(), self.side == "upstream");
        Ok(())
    }

    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        let site = self.site("request head");
        self.pen.mark_request(&site, req)?;
        self.pen.at(&site)
    }

    async fn request_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        self.pen.at_piece(&self.site("request body"), body, end)
    }

    async fn response_header_filter(&mut self, resp: &mut ResponseHeader, _: bool) -> Result<()> {
        self.pen.at_response(&self.site("response head"), resp)
    }

    fn response_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        self.pen.at_piece(&self.site("response body"), body, end)
    }

    fn response_trailer_filter(
        &mut self,
        trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        let trailers = trailers.get_or_insert_default();
        let site = self.site("response trailers");
        self.pen.at_trailers(&site, trailers)?;
        // A module's last output is body data.
        let words = format!("<{}>", self.site("response body"));
        Ok(self.pen.marks().then(|| words.into()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl HttpModuleBuilder for Noting {
    fn init(&self) -> Module {
        Box::new(Noting {
            side: self.side,
            pen: self.pen.clone(),
        })
    }
}

pub(crate) struct Recorder {
    pub(crate) upstream: VersionedUpstream,
    /// An address that refuses connections.
    pub(crate) refusing: SocketAddr,
    pub(crate) tries: Tries,
    pub(crate) pen: Pen,
}

/// How often an upstream was chosen.
#[derive(Default)]
pub(crate) struct Ctx {
    chosen: usize,
}

#[async_trait]
impl ProxyHttp for Recorder {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        self.pen.note("new_ctx");
        Ctx::default()
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(Noting {
            side: "downstream",
            pen: self.pen.clone(),
        }));
    }

    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(Noting {
            side: "upstream",
            pen: self.pen.clone(),
        }));
    }

    fn on_connection_reuse(
        &self,
        session: &mut Session,
        _: &mut Ctx,
        _: Box<dyn Any + Send + Sync>,
    ) {
        let _ = self.pen.at_session("on_connection_reuse", session);
    }

    fn allow_spawning_subrequest(&self, _: &Session, _: &Ctx) -> bool {
        self.pen.note("allow_spawning_subrequest");
        false
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut Ctx) -> Result<()> {
        self.pen.at_session("early_request_filter", session)
    }

    async fn request_filter(&self, session: &mut Session, _: &mut Ctx) -> Result<bool> {
        self.pen.at_session("request_filter", session)?;
        let answers = session.req_header().uri.path() == "/answered";
        if answers {
            session.respond_error(403).await?;
        }
        Ok(answers)
    }

    fn request_cache_filter(&self, session: &mut Session, _: &mut Ctx) -> Result<()> {
        self.pen.at_session("request_cache_filter", session)
    }

    fn is_purge(&self, _: &Session, _: &Ctx) -> bool {
        self.pen.note("is_purge");
        false
    }

    async fn proxy_upstream_filter(&self, session: &mut Session, _: &mut Ctx) -> Result<bool> {
        self.pen.at_session("proxy_upstream_filter", session)?;
        Ok(true)
    }

    fn retry_policy<'a>(&'a self, _: &Session, _: &Ctx) -> Option<&'a RetryPolicy> {
        self.pen.note("retry_policy");
        None
    }

    fn allow_retry(&self, _: &Session, _: &Ctx, _: &Error, _: usize) -> bool {
        self.pen.note("allow_retry");
        true
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        self.pen.at_session("upstream_peer", session)?;
        ctx.chosen += 1;
        let mut upstream = self.upstream;
        if ctx.chosen <= self.tries.unreachable {
            upstream.address = self.refusing;
        }
        Ok(Box::new(upstream.peer()))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        _: &mut Ctx,
        mut e: Box<Error>,
    ) -> Box<Error> {
        let _ = self.pen.at_session("fail_to_connect", session);
        e.set_retry(self.tries.again);
        e
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        _: bool,
        _: &HttpPeer,
        _: RawFd,
        _: Option<&Digest>,
        _: &mut Ctx,
    ) -> Result<()> {
        self.pen.at_session("connected_to_upstream", session)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        req: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if ctx.chosen <= self.tries.unreachable + self.tries.reset && self.tries.reset > 0 {
            req.set_uri("/reset-head".parse().unwrap());
        }
        self.pen.mark_request("upstream_request_filter", req)?;
        self.pen
            .mark_request("client-late", session.req_header_mut())?;
        self.pen.at("upstream_request_filter")
    }

    fn body_filters(&self, _: &Session, _: &Ctx) -> Option<bool> {
        self.pen.note("body_filters");
        None
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut Ctx,
    ) -> Result<()> {
        self.pen.at_piece("request_body_filter", body, end)
    }

    async fn adjust_upstream_modules(
        &self,
        session: &mut Session,
        _: &ResponseHeader,
        _: bool,
        _: &mut Ctx,
    ) -> Result<()> {
        self.pen.at_session("adjust_upstream_modules", session)
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        resp: &mut ResponseHeader,
        _: &mut Ctx,
    ) -> Result<()> {
        self.pen.at_response("upstream_response_filter", resp)
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        resp: &mut ResponseHeader,
        _: &mut Ctx,
    ) -> Result<()> {
        self.pen.at_response("response_filter", resp)
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut Ctx,
    ) -> Result<Option<Duration>> {
        self.pen
            .at_piece("upstream_response_body_filter", body, end)?;
        Ok(None)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut Ctx,
    ) -> Result<Option<Duration>> {
        self.pen.at_piece("response_body_filter", body, end)?;
        Ok(None)
    }

    async fn async_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut Ctx,
    ) -> Result<()> {
        self.pen.at_piece("async_response_body_filter", body, end)
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        _: &mut Ctx,
    ) -> Result<()> {
        self.pen
            .at_trailers("upstream_response_trailer_filter", trailers)
    }

    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        _: &mut Ctx,
    ) -> Result<Option<Bytes>> {
        self.pen.at_trailers("response_trailer_filter", trailers)?;
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut e: Box<Error>,
        _: &mut Ctx,
        _: bool,
    ) -> Box<Error> {
        let _ = self.pen.at_session("error_while_proxy", session);
        e.set_retry(self.tries.again);
        e
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Ctx,
        _: &Error,
        context: ProxyWarnLogContext,
    ) -> bool {
        assert_eq!(context, ProxyWarnLogContext::UpstreamRetry);
        self.pen.note("suppress_proxy_warn_log");
        false
    }

    fn request_summary(&self, session: &Session, _: &Ctx) -> String {
        self.pen.note("request_summary");
        session.as_downstream().request_summary()
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, _: &mut Ctx) -> FailToProxy {
        self.pen.note("fail_to_proxy");
        FailToProxy::by_default(session, e)
    }

    fn suppress_error_log(&self, _: &Session, _: &Ctx, _: &Error) -> bool {
        self.pen.note("suppress_error_log");
        false
    }

    async fn logging(&self, _: &mut Session, _: Option<&Error>, _: &mut Ctx) {
        self.pen.note("logging");
    }

    fn persist_connection_context(
        &self,
        _: &Session,
        _: &Ctx,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        self.pen.note("persist_connection_context");
        Some(Box::new(()))
    }
}
