//! A module and phases that record their calls.

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module, Surroundings};
use pingora::prelude::*;
use pingora::proxy::subrequest::Ctx;
use pingora_tests::{
    Ask, Message, Origin, TestServer, Version, VersionedUpstream, eventually, h2c_proxy,
};
use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The calls, in order.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Each line at its first occurrence.
    pub(crate) fn order(&self) -> Vec<String> {
        let mut order: Vec<String> = Vec::new();
        for line in self.lines() {
            if !order.contains(&line) {
                order.push(line);
            }
        }
        order
    }

    pub(crate) fn count(&self, wanted: &str) -> usize {
        self.lines().iter().filter(|line| *line == wanted).count()
    }
}

/// Records each call, marks the messages that it sees, and fails where the request's `x-fail` says
/// so.
struct Marking {
    journal: Journal,
    fails_in: Option<String>,
    /// The number of times that the request began.
    tries: usize,
}

impl Marking {
    fn enter(&self, hook: &str) -> Result<()> {
        self.journal.note(format!("module {hook}"));
        if self.fails_in.as_deref() == Some(hook) {
            Err(Error::explain(HTTPStatus(418), "the module refuses"))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl HttpModule for Marking {
    fn request_begins(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        assert_eq!(around.session().req_header().headers.get("x-try"), None);
        assert!(around.session().client_addr().is_some());
        let connection = around.upstream().unwrap();
        assert!(
            connection
                .socket_digest
                .as_ref()
                .unwrap()
                .peer_addr()
                .is_some()
        );
        around.context_mut::<Context>().unwrap().tries_seen += 1;
        self.tries += 1;
        let fails_in = around.session().get_header("x-fail");
        self.fails_in = fails_in.map(|value| value.to_str().unwrap().to_string());
        self.enter("request begins")
    }

    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        self.enter("request header")?;
        req.remove_header("content-length");
        req.insert_header("x-try", self.tries.to_string())?;
        if self.tries > 1 {
            req.set_uri("/echo-trailers".parse().unwrap());
        }
        Ok(())
    }

    fn request_body_begins(&mut self) {
        self.journal.note("module request body begins");
    }

    async fn request_body_filter(&mut self, body: &mut Option<Bytes>, _end: bool) -> Result<()> {
        self.enter("request body")?;
        *body = body.take().map(|body| body.to_ascii_uppercase().into());
        Ok(())
    }

    fn response_discarded(&mut self) {
        self.journal.note("module response discarded");
    }

    async fn response_header_filter(&mut self, resp: &mut ResponseHeader, end: bool) -> Result<()> {
        self.enter("response header")?;
        let seen = format!("{} {end}", resp.status.as_u16());
        resp.insert_header("x-module", seen)?;
        if !end {
            resp.remove_header("content-length");
        }
        Ok(())
    }

    fn response_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        self.enter("response body")?;
        if end {
            let mut whole = body.take().unwrap_or_default().to_vec();
            whole.extend_from_slice(b"+body");
            *body = Some(whole.into());
        }
        Ok(())
    }

    fn response_trailer_filter(
        &mut self,
        trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        self.enter("response trailer")?;
        let trailers = trailers.get_or_insert_default();
        trailers.insert("x-added", "module".parse().unwrap());
        Ok(Some(Bytes::from_static(b"+trailer")))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct MarkingBuilder(Journal);

impl HttpModuleBuilder for MarkingBuilder {
    fn init(&self) -> Module {
        Box::new(Marking {
            journal: self.0.clone(),
            fails_in: None,
            tries: 0,
        })
    }
}

#[derive(Default)]
struct Context {
    /// The value that the module on the upstream side left here.
    tries_seen: usize,
}

/// A proxy whose phases record their calls as well.
struct Noting {
    upstream: VersionedUpstream,
    journal: Journal,
}

#[async_trait]
impl ProxyHttp for Noting {
    type CTX = Context;
    fn new_ctx(&self) -> Context {
        Context::default()
    }

    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(MarkingBuilder(self.journal.clone())));
    }

    fn allow_spawning_subrequest(&self, session: &Session, _: &Context) -> bool {
        !session.is_subrequest()
    }

    async fn request_filter(&self, session: &mut Session, _: &mut Context) -> Result<bool> {
        assert!(session.upstream_modules_ctx.get::<Marking>().is_some());
        if session.get_header("x-spawn").is_some()
            && let Some(spawner) = session.subrequest_spawner.clone()
        {
            let ctx = Ctx::builder().build();
            let task = spawner.spawn_background_subrequest(session, ctx);
            task.await.or_err(InternalError, "a sub-request panicked")?;
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Context) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.peer()))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        req: &mut RequestHeader,
        _: &mut Context,
    ) -> Result<()> {
        assert!(req.headers.get("x-try").is_none(), "each try begins anew");
        self.journal.note("upstream_request_filter");
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut Context,
    ) -> Result<()> {
        self.journal.note("request_body_filter");
        Ok(())
    }

    async fn adjust_upstream_modules(
        &self,
        session: &mut Session,
        upstream_response: &ResponseHeader,
        _end_of_stream: bool,
        _: &mut Context,
    ) -> Result<()> {
        assert!(upstream_response.headers.get("x-module").is_none());
        self.journal.note("adjust_upstream_modules");
        match session.get_header("x-fail-to-adjust") {
            Some(_) => Error::e_explain(HTTPStatus(418), "not to be adjusted"),
            None => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        resp: &mut ResponseHeader,
        _: &mut Context,
    ) -> Result<()> {
        assert!(resp.headers.get("x-module").is_some());
        self.journal.note("upstream_response_filter");
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut Context,
    ) -> Result<Option<Duration>> {
        self.journal.note("upstream_response_body_filter");
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        _: &mut Context,
    ) -> Result<()> {
        assert_eq!(trailers["x-added"], "module");
        self.journal.note("upstream_response_trailer_filter");
        Ok(())
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut e: Box<Error>,
        _: &mut Context,
        _: bool,
    ) -> Box<Error> {
        e.set_retry(session.get_header("x-retry").is_some());
        e
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Context) {
        let modules = &session.upstream_modules_ctx;
        let tries = modules.get::<Marking>().map_or(0, |module| module.tries);
        assert_eq!(ctx.tries_seen, tries);
        self.journal
            .note(format!("logging {tries} {}", e.is_some()));
    }
}

pub(crate) struct Behind {
    pub(crate) origin: Origin,
    pub(crate) proxy: TestServer,
    pub(crate) journal: Journal,
}

pub(crate) async fn behind(version: Version) -> Behind {
    let origin = match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    };
    let journal = Journal::default();
    let proxy = h2c_proxy(Noting {
        upstream: VersionedUpstream {
            address: origin.address(),
            version,
        },
        journal: journal.clone(),
    });
    let proxy = proxy.await;
    Behind {
        origin,
        proxy,
        journal,
    }
}

impl Behind {
    /// Sends a request, and waits until it was logged.
    pub(crate) async fn ask(&self, from: Version, ask: &Ask) -> Message {
        let answer = ask.answered_over(from, self.proxy.address()).await;
        let logged = || {
            let lines = self.journal.lines();
            lines.iter().any(|line| line.starts_with("logging"))
        };
        eventually("the request is logged", logged).await;
        answer
    }

    pub(crate) fn logged(&self) -> Vec<String> {
        let mut lines = self.journal.lines();
        lines.retain(|line| line.starts_with("logging"));
        lines
    }
}
