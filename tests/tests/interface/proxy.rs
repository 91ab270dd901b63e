//! `pingora_proxy`: every phase, the session, the ways to make a service.

use crate::any;
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream as MessageStream;
use http::HeaderMap;
use pingora_cache::key::HashBinary;
use pingora_cache::{
    CacheKey, CacheMeta, ForcedFreshness, HitHandler, HttpCache, PurgeAction, RespCacheable,
};
use pingora_core::apps::HttpServerApp;
use pingora_core::apps::HttpServerOptions;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::modules::http::{HttpModuleCtx, HttpModules};
use pingora_core::protocols::Digest;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession as HttpSession;
use pingora_core::protocols::http::compression::ResponseCompressionCtx;
use pingora_core::protocols::http::subrequest::server::SubrequestHandle;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::subrequest::Ctx as SubrequestCtx;
use pingora_proxy::subrequest::Ctx;
use pingora_proxy::*;
use std::any::Any;
use std::borrow::Cow;
use std::ops::Range;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::task::JoinHandle;

fn the_multi_range_info(it: &mut MultiRangeInfo) {
    let _: &Vec<Range<usize>> = &it.ranges;
    let _: &String = &it.boundary;
    let _: &Option<String> = &it.content_type;
    let _: MultiRangeInfo = MultiRangeInfo::new(any::<Vec<Range<usize>>>());
    it.set_content_type(String::new());
    it.set_total_length(1);
    let _: usize = it.calculate_multipart_length();
    is_eq::<MultiRangeInfo>();
    is_partial_eq::<MultiRangeInfo>();
}

fn the_range_type(it: &mut RangeType) {
    match it {
        RangeType::None => {}
        RangeType::Single(a) => {
            let _: &mut Range<usize> = a;
        }
        RangeType::Multi(a) => {
            let _: &mut MultiRangeInfo = a;
        }
        RangeType::Invalid => {}
    }
    let _: RangeType = RangeType::new_multi(any::<Vec<Range<usize>>>());
    is_eq::<RangeType>();
    is_partial_eq::<RangeType>();
}

fn the_purge_status(it: &mut PurgeStatus) {
    match it {
        PurgeStatus::NoCache => {}
        PurgeStatus::Found => {}
        PurgeStatus::NotFound => {}
        PurgeStatus::Error(a) => {
            let _: &mut Box<Error> = a;
        }
    }
}

fn the_fail_to_proxy(it: &mut FailToProxy) {
    let _ = FailToProxy {
        error_code: any::<u16>(),
        can_reuse_downstream: any::<bool>(),
    };
    let _: &u16 = &it.error_code;
    let _: &bool = &it.can_reuse_downstream;
}

struct OwnProxyHttp;
#[async_trait]
impl ProxyHttp for OwnProxyHttp {
    type CTX = Vec<u8>;
    fn new_ctx(&self) -> Self::CTX {
        any()
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        any()
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {
        any()
    }

    fn init_upstream_modules(&self, _modules: &mut HttpModules) {
        any()
    }
    async fn adjust_upstream_modules(
        &self,
        _session: &mut Session,
        _upstream_response: &ResponseHeader,
        _end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        any()
    }
    async fn request_filter(&self, _session: &mut Session, _ctx: &mut Self::CTX) -> Result<bool>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    async fn early_request_filter(&self, _session: &mut Session, _ctx: &mut Self::CTX) -> Result<()>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    fn allow_spawning_subrequest(&self, _session: &Session, _ctx: &Self::CTX) -> bool
    where
        Self::CTX: Send + Sync,
    {
        any()
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    fn request_cache_filter(&self, _session: &mut Session, _ctx: &mut Self::CTX) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        any()
    }

    fn cache_key_callback(&self, _session: &Session, _ctx: &mut Self::CTX) -> Result<CacheKey> {
        any()
    }

    fn cache_miss(&self, _session: &mut Session, _ctx: &mut Self::CTX) {
        any()
    }

    async fn cache_hit_filter(
        &self,
        _session: &mut Session,
        _meta: &CacheMeta,
        _hit_handler: &mut HitHandler,
        _is_fresh: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<Option<ForcedFreshness>>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    async fn proxy_upstream_filter(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<bool>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    fn response_cache_filter(
        &self,
        _session: &Session,
        _resp: &ResponseHeader,
        _ctx: &mut Self::CTX,
    ) -> Result<RespCacheable> {
        any()
    }

    fn cache_vary_filter(
        &self,
        _meta: &CacheMeta,
        _ctx: &mut Self::CTX,
        _req: &RequestHeader,
    ) -> Option<HashBinary> {
        any()
    }

    fn cache_not_modified_filter(
        &self,
        _session: &Session,
        _resp: &ResponseHeader,
        _ctx: &mut Self::CTX,
    ) -> Result<bool> {
        any()
    }

    fn range_header_filter(
        &self,
        _session: &mut Session,
        _resp: &mut ResponseHeader,
        _ctx: &mut Self::CTX,
    ) -> RangeType {
        any()
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        _upstream_request: &mut RequestHeader,
        _ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        _upstream_response: &mut ResponseHeader,
        _ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        _upstream_response: &mut ResponseHeader,
        _ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        any()
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        _upstream_trailers: &mut HeaderMap,
        _ctx: &mut Self::CTX,
    ) -> Result<()> {
        any()
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>>
    where
        Self::CTX: Send + Sync,
    {
        any()
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _upstream_trailers: &mut HeaderMap,
        _ctx: &mut Self::CTX,
    ) -> Result<Option<Bytes>>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    async fn logging(&self, _session: &mut Session, _e: Option<&Error>, _ctx: &mut Self::CTX)
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    fn persist_connection_context(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        any()
    }

    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
        _prev_ctx: Box<dyn Any + Send + Sync>,
    ) {
        any()
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Self::CTX, _error: &Error) -> bool {
        any()
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        any()
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        _session: &mut Session,
        _e: Box<Error>,
        _ctx: &mut Self::CTX,
        _client_reused: bool,
    ) -> Box<Error> {
        any()
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        _ctx: &mut Self::CTX,
        _e: Box<Error>,
    ) -> Box<Error> {
        any()
    }

    async fn fail_to_proxy(
        &self,
        _session: &mut Session,
        _e: &Error,
        _ctx: &mut Self::CTX,
    ) -> FailToProxy
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    fn should_serve_stale(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
        _error: Option<&Error>,
    ) -> bool {
        any()
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        _digest: Option<&Digest>,
        _ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        any()
    }

    fn request_summary(&self, _session: &Session, _ctx: &Self::CTX) -> String {
        any()
    }

    fn is_purge(&self, _session: &Session, _ctx: &Self::CTX) -> bool {
        any()
    }

    fn purge_action(&self, _session: &Session, _ctx: &Self::CTX) -> PurgeAction {
        any()
    }

    fn purge_response_filter(
        &self,
        _session: &Session,
        _ctx: &mut Self::CTX,
        _purge_status: PurgeStatus,
        _purge_response: &mut Cow<'static, ResponseHeader>,
    ) -> Result<()> {
        any()
    }
}

fn the_proxy_warn_log_context(it: &mut ProxyWarnLogContext) {
    match it {
        ProxyWarnLogContext::UpstreamRetry => {}
        ProxyWarnLogContext::DownstreamCache => {}
    }
    is_eq::<ProxyWarnLogContext>();
    is_partial_eq::<ProxyWarnLogContext>();
}

fn the_http_proxy(it: &mut HttpProxy<OwnProxyHttp>) {
    let _: &Option<HttpServerOptions> = &it.server_options;
    let _: &Option<H2Options> = &it.h2_options;
    let _: &HttpModules = &it.downstream_modules;
    let _: &HttpModules = &it.upstream_modules;
    let _ = HttpProxy::new(OwnProxyHttp, any::<Arc<ServerConf>>());
    let _: u64 = it.unexpected_data_connection_count();
    let _: Arc<AtomicU64> = it.unexpected_data_connection_counter();
    it.handle_init_modules();
    is_http_server_app::<HttpProxy<OwnProxyHttp>>();
}

async fn the_session(it: &mut Session) {
    let _: &Box<ServerSession> = &it.downstream_session;
    let _: &HttpCache = &it.cache;
    let _: &ResponseCompressionCtx = &it.upstream_compression;
    let _: &bool = &it.ignore_downstream_range;
    let _: &bool = &it.upstream_headers_mutated_for_cache;
    let _: &Option<Box<Ctx>> = &it.subrequest_ctx;
    let _: &Option<SubrequestSpawner> = &it.subrequest_spawner;
    let _: &HttpModuleCtx = &it.downstream_modules_ctx;
    let _: &HttpModuleCtx = &it.upstream_modules_ctx;
    let _: Session = Session::new_h1(any::<Stream>());
    let _: Session = Session::new_h1_with_modules(any::<Stream>(), any::<&HttpModules>());
    let _: &mut HttpSession = it.as_downstream_mut();
    let _: &HttpSession = it.as_downstream();
    let _: Result<()> = it.respond_error(502).await;
    let _: Result<()> = it.respond_error_with_body(502, Bytes::new()).await;
    let _: Result<()> = it
        .write_response_header(any::<Box<ResponseHeader>>(), true)
        .await;
    let _: Result<(), Box<Error>> = it
        .write_response_header_ref(any::<&ResponseHeader>(), true)
        .await;
    let _: Result<()> = it.write_response_body(any::<Option<Bytes>>(), true).await;
    let _: Result<()> = it.send_downstream_proxy_task(any::<HttpTask>()).await;
    it.set_proxy_tasks_enabled(true);
    let _: bool = it.has_pending_downstream_tasks();
    let _: Result<bool> = it.write_downstream_proxy_tasks().await;
    let _: Result<bool> = it.write_response_tasks(any::<Vec<HttpTask>>()).await;
    it.mark_upstream_headers_mutated_for_cache();
    let _: bool = it.upstream_headers_mutated_for_cache();
    let _: usize = it.upstream_body_bytes_received();
    let _: Option<usize> = it.upstream_body_bytes_sent();
    let _: Duration = it.upstream_write_pending_time();
    let _: bool = it.is_process_shutting_down();
    let _: Result<Option<Box<dyn MessageStream<Item = Result<Bytes>> + Unpin + Send + Sync>>> =
        it.downstream_custom_message();
}

fn the_subrequest_spawner(it: &mut SubrequestSpawner) {
    let _: SubrequestSpawner = SubrequestSpawner::new(any::<Arc<HttpProxy<OwnProxyHttp>>>());
    let _: JoinHandle<()> =
        it.spawn_background_subrequest(any::<&HttpSession>(), any::<SubrequestCtx>());
    let _: (PreparedSubrequest, SubrequestHandle) =
        it.create_subrequest(any::<&HttpSession>(), any::<SubrequestCtx>());
}

async fn the_prepared_subrequest(it: &mut PreparedSubrequest) {
    any::<PreparedSubrequest>().run().await;
    let _: &HttpSession = it.session();
    let _: &mut HttpSession = it.session_mut();
}

fn the_proxy_service_builder() {
    let _: ProxyServiceBuilder<OwnProxyHttp, ()> =
        ProxyServiceBuilder::new(&any::<Arc<ServerConf>>(), OwnProxyHttp);
    let _: ProxyServiceBuilder<OwnProxyHttp, ()> =
        any::<ProxyServiceBuilder<OwnProxyHttp, ()>>().name("a");
    let _: ProxyServiceBuilder<OwnProxyHttp, ()> = any::<ProxyServiceBuilder<OwnProxyHttp, ()>>()
        .custom((), any::<ProcessCustomSession<OwnProxyHttp, ()>>());
    let _: ProxyServiceBuilder<OwnProxyHttp, ()> =
        any::<ProxyServiceBuilder<OwnProxyHttp, ()>>().client_options(any::<ConnectorOptions>());
    let _: ProxyServiceBuilder<OwnProxyHttp, ()> =
        any::<ProxyServiceBuilder<OwnProxyHttp, ()>>().server_options(any::<HttpServerOptions>());
    let _: ProxyServiceBuilder<OwnProxyHttp, ()> =
        any::<ProxyServiceBuilder<OwnProxyHttp, ()>>().runtime_opts_override(|_| None);
    let _: Service<HttpProxy<OwnProxyHttp, ()>> =
        any::<ProxyServiceBuilder<OwnProxyHttp, ()>>().build();
}

fn functions_and_constants() {
    let _: RangeType = range_header_filter(
        any::<&RequestHeader>(),
        any::<&mut ResponseHeader>(),
        any::<Option<usize>>(),
    );
    let _: HttpProxy<OwnProxyHttp> = http_proxy(&any::<Arc<ServerConf>>(), OwnProxyHttp);
    let _: Service<HttpProxy<OwnProxyHttp, ()>> =
        http_proxy_service(&any::<Arc<ServerConf>>(), OwnProxyHttp);
    let _: Service<HttpProxy<OwnProxyHttp, ()>> =
        http_proxy_service_with_name(&any::<Arc<ServerConf>>(), OwnProxyHttp, "a");
    let _: Service<HttpProxy<OwnProxyHttp, ()>> = http_proxy_service_with_name_custom(
        &any::<Arc<ServerConf>>(),
        OwnProxyHttp,
        "a",
        (),
        any::<ProcessCustomSession<OwnProxyHttp, ()>>(),
    );
}

fn is_eq<T: Eq>() {}
fn is_partial_eq<T: PartialEq>() {}
fn is_http_server_app<T: HttpServerApp>() {}
