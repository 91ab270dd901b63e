//! A small HTTP server: answers requests with a function, for metrics, status pages and the like.

use super::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use crate::metrics::{RequestEnd, RequestMeter};
use crate::modules::http::{HttpModules, ModuleBuilder};
use crate::process::{ShutdownWatch, is_shutting_down};
use crate::protocols::http::v2::server::H2Options;
use crate::protocols::http::{HttpTask, ServerSession};
use async_trait::async_trait;
use bytes::Bytes;
use http::Response;
use pingora_error::{ErrorSource, Result};
use pingora_http::ResponseHeader;
use std::fmt;
use std::sync::Arc;

/// Answers requests with complete responses.
#[async_trait]
pub trait ServeHttp {
    /// The response to the request in `http_session`, whose body can be read from there. Its
    /// `Content-Length` is set from the body unless it has one.
    async fn response(&self, http_session: &mut ServerSession) -> Response<Vec<u8>>;
}

/// Serves the responses of a [`ServeHttp`], through modules if there are any.
pub struct HttpServer<SV> {
    app: SV,
    modules: HttpModules,
    /// How connections are treated; `None`: with the defaults.
    pub server_options: Option<HttpServerOptions>,
    /// How HTTP/2 connections are set up; `None`: with the defaults.
    pub h2_options: Option<H2Options>,
}

impl<SV: fmt::Debug> fmt::Debug for HttpServer<SV> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer")
            .field("app", &self.app)
            .finish_non_exhaustive()
    }
}

impl<SV> HttpServer<SV> {
    /// A server for this application, without modules.
    pub fn new_app(app: SV) -> Self {
        HttpServer {
            app,
            modules: HttpModules::new(),
            server_options: None,
            h2_options: None,
        }
    }

    /// Adds a filter over requests and responses.
    pub fn add_module(&mut self, module: ModuleBuilder) {
        self.modules.add_module(module);
    }
}

/// The modules of an application without any.
static NO_MODULES: HttpModules = HttpModules::new();

async fn serve(
    app: &(impl ServeHttp + Sync),
    modules: &HttpModules,
    session: &mut ServerSession,
) -> Result<()> {
    let mut modules = modules.build_ctx();
    modules
        .request_header_filter(session.req_header_mut())
        .await?;
    let (parts, body) = app.response(session).await.into_parts();
    let mut header: ResponseHeader = parts.into();
    if !header.headers.contains_key(http::header::CONTENT_LENGTH) {
        header.set_content_length(body.len())?;
    }
    if !header.headers.contains_key(http::header::DATE) {
        let date = crate::protocols::http::date::get_cached_date();
        header.insert_header(http::header::DATE, date)?;
    }
    let no_body = body.is_empty();
    modules.response_header_filter(&mut header, no_body).await?;
    session.send_downstream_proxy_task(HttpTask::Header(Box::new(header), no_body));
    if !no_body {
        let mut data = Some(Bytes::from(body));
        modules.response_body_filter(&mut data, true)?;
        session.send_downstream_proxy_task(HttpTask::Body(data, true));
    }
    session.write_downstream_proxy_tasks().await.map(|_| ())
}

/// Reads one request, and answers it.
async fn process(
    app: &(impl ServeHttp + Sync),
    modules: &HttpModules,
    mut session: ServerSession,
    shutdown: &ShutdownWatch,
) -> Option<ReusedHttpStream> {
    let read = session.read_request().await;
    let mut meter = match &read {
        Ok(false) => return None,
        _ => RequestMeter::begin(session.listener()),
    };
    match read {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => {
            let summary = session.request_summary();
            log::info!("a request is refused: {error}, {summary}");
            let status = session.fault().map_or(0, |fault| fault.status());
            if status != 0 && session.respond_error(status).await.is_ok() {
                session.shutdown().await;
            }
            count_end(&mut meter, &session);
            return None;
        }
    }
    session.set_keepalive(if is_shutting_down(shutdown) {
        None
    } else {
        Some(60)
    });
    if let Err(error) = serve(app, modules, &mut session).await {
        // A client that leaves does not merit a warning.
        let level = match error.esource() {
            ErrorSource::Downstream => log::Level::Info,
            _ => log::Level::Warn,
        };
        let summary = session.request_summary();
        log::log!(level, "a response failed: {error}, {summary}");
        session.respond_error(500).await.ok()?;
    }
    count_end(&mut meter, &session);
    let settings = HttpPersistentSettings::for_session(&session);
    let reusable = session.finish().await.ok().flatten()?;
    Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
}

fn count_end(meter: &mut RequestMeter, session: &ServerSession) {
    // One that was slow on purpose, such as a stream of events, is not worth being remembered.
    let _ = meter.end(&RequestEnd {
        version: session.req_header().line().version,
        status: session.response_written().map(|head| head.status),
        received: session.body_bytes_read(),
        sent: session.body_bytes_sent(),
    });
}

#[async_trait]
impl<SV: ServeHttp + Send + Sync + 'static> HttpServerApp for HttpServer<SV> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        process(&self.app, &self.modules, session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.h2_options.clone()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.server_options.as_ref()
    }
}

/// Any value that answers requests is an application: without modules, with the default options.
#[async_trait]
impl<S: ServeHttp + Send + Sync + 'static> HttpServerApp for S {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        process(&**self, &NO_MODULES, session, shutdown).await
    }
}
