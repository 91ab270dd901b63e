//! A proxy that implements every phase, notes each call, and panics if it is told to.

use super::*;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora_core::protocols::Digest;
use std::any::Any;
use std::os::fd::RawFd;

/// Counts how often `logging` ran; the context is one per request.
#[derive(Default)]
pub(super) struct Ctx {
    pub(super) calls: usize,
}

pub(super) struct Recorder {
    pub(super) origin: SocketAddr,
    pub(super) log: Log,
    pub(super) panics_in: Option<&'static str>,
    pub(super) module: bool,
}

impl Recorder {
    pub(super) fn to(origin: &Origin) -> Self {
        Recorder {
            origin: origin.address,
            log: Log::default(),
            panics_in: None,
            module: false,
        }
    }

    fn note(&self, phase: &'static str) {
        self.log.note(phase);
        if self.panics_in == Some(phase) {
            panic!("in {phase}");
        }
    }
}

struct Noting(Log);

#[async_trait]
impl HttpModule for Noting {
    async fn request_header_filter(&mut self, _: &mut RequestHeader) -> Result<()> {
        self.0.note("module request header");
        Ok(())
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
        Box::new(Noting(self.0.clone()))
    }
}

#[async_trait]
impl ProxyHttp for Recorder {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::default()
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Ctx) -> Result<Box<HttpPeer>> {
        self.note("upstream_peer");
        peer(self.origin)
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        if self.module {
            modules.add_module(Box::new(Noting(self.log.clone())));
        }
    }

    async fn early_request_filter(&self, _: &mut Session, ctx: &mut Ctx) -> Result<()> {
        ctx.calls += 1;
        self.note("early_request_filter");
        Ok(())
    }

    async fn request_filter(&self, _: &mut Session, _: &mut Ctx) -> Result<bool> {
        self.note("request_filter");
        Ok(false)
    }

    async fn proxy_upstream_filter(&self, _: &mut Session, _: &mut Ctx) -> Result<bool> {
        self.note("proxy_upstream_filter");
        Ok(true)
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        fd: RawFd,
        digest: Option<&Digest>,
        _: &mut Ctx,
    ) -> Result<()> {
        assert!(fd > 2 && digest.is_some());
        self.note(if reused {
            "connected_to_upstream again"
        } else {
            "connected_to_upstream"
        });
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        _: &mut RequestHeader,
        _: &mut Ctx,
    ) -> Result<()> {
        self.note("upstream_request_filter");
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        end: bool,
        _: &mut Ctx,
    ) -> Result<()> {
        self.note(if end {
            "request_body_filter end"
        } else {
            "request_body_filter"
        });
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        _: &mut ResponseHeader,
        _: &mut Ctx,
    ) -> Result<()> {
        self.note("upstream_response_filter");
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        _: &mut ResponseHeader,
        _: &mut Ctx,
    ) -> Result<()> {
        self.note("response_filter");
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut Ctx,
    ) -> Result<Option<Duration>> {
        self.note("upstream_response_body_filter");
        Ok(None)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut Ctx,
    ) -> Result<Option<Duration>> {
        self.note("response_body_filter");
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        _: &mut HeaderMap,
        _: &mut Ctx,
    ) -> Result<()> {
        self.note("upstream_response_trailer_filter");
        Ok(())
    }

    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        _: &mut HeaderMap,
        _: &mut Ctx,
    ) -> Result<Option<Bytes>> {
        self.note("response_trailer_filter");
        Ok(None)
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Ctx) {
        ctx.calls += 1;
        let status = session.response_written().map_or(0, |r| r.status.as_u16());
        let error = e.map_or("-".into(), |e| {
            format!("{}/{}", e.source_str(), e.reason_str())
        });
        self.log.note(format!("logging {status} {error}"));
        if self.panics_in == Some("logging") {
            panic!("in logging");
        }
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, _: &mut Ctx) -> FailToProxy {
        self.note("fail_to_proxy");
        let code = match (e.etype(), session.fault()) {
            (ErrorType::HTTPStatus(code), _) => *code,
            (_, Some(fault)) => fault.status(),
            _ if *e.esource() == ErrorSource::Upstream => 502,
            _ => 500,
        };
        let _ = session.respond_error(code).await;
        FailToProxy {
            error_code: code,
            can_reuse_downstream: true,
        }
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, _: &mut Ctx, e: BError) -> BError {
        self.note("fail_to_connect");
        e
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        _: &mut Session,
        e: BError,
        _: &mut Ctx,
        _: bool,
    ) -> BError {
        self.note("error_while_proxy");
        e
    }

    fn suppress_error_log(&self, _: &Session, _: &Ctx, _: &Error) -> bool {
        self.note("suppress_error_log");
        false
    }

    fn request_summary(&self, session: &Session, _: &Ctx) -> String {
        self.note("request_summary");
        session.as_downstream().request_summary()
    }

    fn persist_connection_context(
        &self,
        _: &Session,
        ctx: &Ctx,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        self.note("persist_connection_context");
        Some(Box::new(ctx.calls))
    }

    fn on_connection_reuse(&self, _: &mut Session, _: &mut Ctx, left: Box<dyn Any + Send + Sync>) {
        assert!(left.downcast_ref::<usize>().is_some());
        self.note("on_connection_reuse");
    }
}
