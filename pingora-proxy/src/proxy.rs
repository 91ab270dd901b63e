//! The proxy as an application: from the head of a request to the next request on its connection.

use crate::cache::Next;
use crate::defaults::{self, KnownDefaults, Noted};
use crate::error_page::send_error_page;
use crate::failures::{self, FailureCounts, FaultSide, panicked};
use crate::phase::{watched, watched_as};
use crate::subrequest::{Ctx as SubrequestCtx, Subrequest, SubrequestSpawner, UnderWay};
use crate::{ProcessCustomSession, ProxyHttp, Session};
use async_trait::async_trait;
use futures::FutureExt;
use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{Method, Version};
use pingora_cache::NoCacheReason;
use pingora_core::apps::{
    HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, is_shutting_down,
};
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_core::modules::http::{HttpModules, Surroundings};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::aliases::{AliasPolicy, OnAlias};
use pingora_core::protocols::http::authority::authority_of_server;
use pingora_core::protocols::http::client::HttpSession as ClientSession;
use pingora_core::protocols::http::custom::ClientSessionCustom;
use pingora_core::protocols::http::h1::{self, BodyLength};
use pingora_core::protocols::http::hop_by_hop::{self, H1UpgradePolicy, HttpUpstreamRequestPolicy};
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::protocols::http::websocket::{self, Bridge};
use pingora_core::runtime::watchdog;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::outcome::Outcome;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_http::{ControlField, RequestHeader};
use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// How long an idle connection to a client is kept, in seconds.
const KEEPALIVE_SECONDS: u64 = 60;

/// The proxy as an application: runs the phases of a [`ProxyHttp`] for each request.
///
/// Made by [`http_proxy_service`](crate::http_proxy_service) or
/// [`ProxyServiceBuilder`](crate::ProxyServiceBuilder).
pub struct HttpProxy<SV, C = ()>
where
    C: CustomConnector,
{
    pub(crate) inner: SV,
    pub(crate) connector: Connector<C>,
    /// Options for connections; `None` for the defaults.
    pub server_options: Option<HttpServerOptions>,
    /// Options for HTTP/2 connections; `None` for the defaults.
    pub h2_options: Option<H2Options>,
    /// Filters over requests and responses; see [`ProxyHttp::init_downstream_modules`].
    pub downstream_modules: HttpModules,
    /// Filters over the exchanges with upstreams; see [`ProxyHttp::init_upstream_modules`].
    pub upstream_modules: HttpModules,
    pub(crate) max_retries: usize,
    pub(crate) on_custom: Option<ProcessCustomSession<SV, C>>,
    known: KnownDefaults,
    pub(crate) subrequests: UnderWay,
    failures: Arc<FailureCounts>,
    /// `None`: the standard one.
    pub(crate) aliases: Option<Box<AliasPolicy>>,
}

impl<SV, C: CustomConnector> fmt::Debug for HttpProxy<SV, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProxy")
            .field("connector", &self.connector)
            .finish_non_exhaustive()
    }
}

impl<SV> HttpProxy<SV> {
    /// A proxy with these phases. Its connector is set up from the configuration. Call
    /// [`HttpProxy::handle_init_modules`] before it serves.
    pub fn new(inner: SV, conf: Arc<ServerConf>) -> Self {
        let connector = Connector::new(Some(ConnectorOptions::from_server_conf(&conf)));
        HttpProxy::assemble(inner, connector, &conf)
    }
}

impl<SV, C: CustomConnector> HttpProxy<SV, C> {
    pub(crate) fn assemble(inner: SV, connector: Connector<C>, conf: &ServerConf) -> Self {
        HttpProxy {
            inner,
            connector,
            server_options: None,
            h2_options: None,
            downstream_modules: HttpModules::new(),
            upstream_modules: HttpModules::new(),
            max_retries: conf.max_retries,
            on_custom: None,
            known: KnownDefaults::default(),
            subrequests: UnderWay::default(),
            failures: Arc::default(),
            aliases: None,
        }
    }

    /// How to treat field names that servers may confuse with others, such as `X_Forwarded_For`, in requests
    /// that go upstream. [`AliasPolicy::standard`] by default. It holds if a peer's
    /// [`HttpUpstreamRequestPolicy`] strips hop-by-hop fields.
    ///
    /// A program's own fields, which it sets or removes in its filters, belong into it:
    ///
    /// ```
    /// # use pingora_core::protocols::http::aliases::AliasPolicy;
    /// # use pingora_proxy::HttpProxy;
    /// # fn set_up<P>(proxy: &mut HttpProxy<P>) {
    /// // In a service: `service.app_logic_mut()` is the proxy, until it is shared.
    /// proxy.set_alias_policy(AliasPolicy::standard().protect("x-tenant"));
    /// # }
    /// ```
    pub fn set_alias_policy(&mut self, policy: AliasPolicy) {
        let is_standard = policy == AliasPolicy::standard();
        self.aliases = (!is_standard).then(|| Box::new(policy));
    }

    /// The number of failed requests so far, by the side at fault. Faults of clients (leaving, breaking
    /// the rules) are logged at the level `info`, all others at `error`.
    pub fn failure_counts(&self) -> Arc<FailureCounts> {
        self.failures.clone()
    }

    /// The number of idle connections to upstreams that sent unsolicited data and were therefore closed.
    pub fn unexpected_data_connection_count(&self) -> u64 {
        self.connector.unexpected_data_connection_count()
    }

    /// The counter behind [`HttpProxy::unexpected_data_connection_count`].
    pub fn unexpected_data_connection_counter(&self) -> Arc<AtomicU64> {
        self.connector.unexpected_data_connection_counter()
    }

    /// Opens `count` connections to `peer` in advance, for the first requests to it; see
    /// [`set_warm_up`](pingora_core::services::listening::Service::set_warm_up). They belong to the
    /// runtime that this is called on: without work stealing, to the calling thread. At most
    /// [`ServerConf`]'s `upstream_keepalive_pool_size` are kept.
    ///
    /// # Errors
    /// The first connect error; the other connections are kept.
    pub async fn connect_in_advance<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
        count: usize,
    ) -> Result<()> {
        self.connector.connect_in_advance(peer, count).await
    }

    /// Lets the phases add their modules.
    pub fn handle_init_modules(&mut self)
    where
        SV: ProxyHttp,
    {
        self.inner
            .init_downstream_modules(&mut self.downstream_modules);
        self.inner.init_upstream_modules(&mut self.upstream_modules);
    }
}

/// How a request ended.
struct Ended {
    error: Option<BError>,
    /// Whether the client's connection may carry another request.
    reuse: bool,
}

impl<SV, C> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    /// Runs all phases of a request that was read, up to its answer, in the order of the phase chart.
    async fn phases(self: &Arc<Self>, session: &mut Session, ctx: &mut SV::CTX) -> Result<()> {
        watched!(
            session,
            "early_request_filter",
            self.inner.early_request_filter(session, ctx)
        )?;
        if !session.is_body_empty() {
            // If a phase reads part of the body, the upstream gets that part from this copy.
            session.enable_retry_buffering();
        }
        if !session.downstream_modules_ctx.is_empty() {
            let mut around = Surroundings::new(&session.downstream_session, ctx);
            session.downstream_modules_ctx.request_begins(&mut around)?;
            let request = session.downstream_session.req_header_mut();
            session
                .downstream_modules_ctx
                .request_header_filter(request)
                .await?;
        }
        if watched!(
            session,
            "request_filter",
            self.inner.request_filter(session, ctx)
        )? {
            return Ok(());
        }
        session.introduce_module();
        self.inner.request_cache_filter(session, ctx)?;
        if self.inner.is_purge(session, ctx) {
            return Box::pin(self.purge(session, ctx)).await;
        }
        if session.cache.was_enabled()
            && Box::pin(self.through_cache(session, ctx)).await? == Next::Answered
        {
            return Ok(());
        }
        if !watched!(
            session,
            "proxy_upstream_filter",
            self.inner.proxy_upstream_filter(session, ctx)
        )? {
            if session.cache.was_enabled() {
                session.cache.disable(NoCacheReason::DeclinedToUpstream);
            }
            if session.response_written().is_none() {
                // Rare, and its header would make room for itself in every request's future.
                Box::pin(session.respond_error(502)).await?;
            }
            return Ok(());
        }
        self.proxy(session, ctx).await
    }

    /// Runs the phases, and answers the request if they fail.
    async fn serve(
        self: &Arc<Self>,
        session: &mut Session,
        ctx: &mut SV::CTX,
        left: Option<Box<dyn Any + Send + Sync>>,
        refused: Option<BError>,
    ) -> Ended {
        // A panic in a phase affects only this request. Session and context live outside the part that is
        // unwound.
        let phases = AssertUnwindSafe(async {
            if let Some(left) = left {
                self.inner.on_connection_reuse(session, ctx, left);
            }
            match refused {
                Some(error) => Err(error),
                None => {
                    self.allow_spawning(session, ctx);
                    self.phases(session, ctx).await
                }
            }
        });
        let served = phases
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(panicked(&*panic)));
        match served {
            Ok(()) => Ended {
                error: None,
                reuse: true,
            },
            Err(error) => Box::pin(self.fail(session, ctx, error)).await,
        }
    }

    /// Equips a request that may spawn sub-requests.
    fn allow_spawning(self: &Arc<Self>, session: &mut Session, ctx: &SV::CTX) {
        if !self.inner.allow_spawning_subrequest(session, ctx) {
            return;
        }
        let parent = session.as_subrequest();
        if !parent.is_some_and(|parent| parent.is_nested_deepest()) {
            let spawner = SubrequestSpawner::new(self.clone());
            let spawner = spawner.counted(self.subrequests.clone(), session.shutting_down);
            session.subrequest_spawner = Some(spawner);
        }
    }

    #[cold]
    async fn fail(&self, session: &mut Session, ctx: &mut SV::CTX, error: BError) -> Ended {
        let told = failures::caught(|| {
            session.end_attempt(|| Outcome::Cancelled);
            // Requests that wait for this one need not wait for its end.
            if session.cache.was_enabled() {
                session.cache.disable(reason_of(&error));
            }
            if session.response_written().is_none() {
                session.discard_response();
            }
        });
        told.unwrap_or_else(|panic| log::error!("{panic}"));
        let answer = self.inner.fail_to_proxy(session, &error, ctx);
        let answer = AssertUnwindSafe(answer).catch_unwind().await;
        let (status, intact) = match answer {
            Ok(answer) => {
                let status = answer.error_code;
                if status > 0 && session.response_written().is_none() {
                    send_error_page(session, status).await;
                }
                (status, answer.can_reuse_downstream)
            }
            Err(panic) => {
                log::error!("{}", panicked(&*panic));
                (500, send_error_page(session, 500).await)
            }
        };
        let failure = FaultSide::of(&error, status);
        self.failures.count(failure);
        session.count_failure(failure, &error, status);
        let line = std::panic::catch_unwind(AssertUnwindSafe(|| {
            if !self.inner.suppress_error_log(session, ctx, &error) {
                let summary = self.inner.request_summary(session, ctx);
                let (level, what) = (failure.level(), failure.describe());
                log::log!(level, "{what}: {error}, status: {status}, {summary}");
            }
        }));
        if let Err(panic) = line {
            log::error!("{}: {error}, status: {status}", panicked(&*panic));
        }
        Ended {
            error: Some(error),
            reuse: intact && response_is_whole(session),
        }
    }

    /// The whole life of a request whose head was read or refused, except the end of its connection. With
    /// what the connection's next request is to know; `None` if there can't be one.
    ///
    /// The session is borrowed, because to move it costs as much as a phase.
    async fn process(
        self: &Arc<Self>,
        session: &mut Session,
        left: Option<Box<dyn Any + Send + Sync>>,
        refused: Option<BError>,
    ) -> Option<HttpPersistentSettings> {
        let mut ctx = match failures::caught(|| self.inner.new_ctx()) {
            Ok(ctx) => ctx,
            Err(error) => {
                Box::pin(self.give_up(session, error)).await;
                return None;
            }
        };
        let outcome = self.serve(session, &mut ctx, left, refused).await;
        self.known.learn(session.noted);
        session.count_end();
        let name = watchdog::is_on().then(|| session.name());
        let logging = self
            .inner
            .logging(session, outcome.error.as_deref(), &mut ctx);
        let logging = watched_as(name, "logging", logging);
        if let Err(panic) = AssertUnwindSafe(logging).catch_unwind().await {
            log::error!("in the logging phase: {}", panicked(&*panic));
        }
        if let Some(error) = outcome.error {
            session.on_proxy_failure(error);
        }
        outcome.reuse.then(|| self.settings_for_next(session, &ctx))
    }

    /// Answers a request that got no context, without which no phase can run.
    #[cold]
    async fn give_up(&self, session: &mut Session, error: BError) {
        let failure = FaultSide::of(&error, 500);
        self.failures.count(failure);
        log::log!(failure.level(), "{}: {error}", failure.describe());
        session.count_failure(failure, &error, 500);
        send_error_page(session, 500).await;
        session.count_end();
        session.on_proxy_failure(error);
    }

    fn settings_for_next(&self, session: &Session, ctx: &SV::CTX) -> HttpPersistentSettings {
        let mut settings = HttpPersistentSettings::for_session(session);
        if session.will_keepalive() {
            let leave = || self.inner.persist_connection_context(session, ctx);
            match std::panic::catch_unwind(AssertUnwindSafe(leave)) {
                Ok(Some(left)) => settings.set_user_context(left),
                Ok(None) => {}
                Err(panic) => log::error!("{}", panicked(&*panic)),
            }
        }
        settings
    }
}

/// Ends a request on its connection. Returns the connection if it can carry another request.
async fn finish(
    mut downstream: Box<ServerSession>,
    settings: Option<HttpPersistentSettings>,
) -> Option<ReusedHttpStream> {
    let Some(settings) = settings else {
        downstream.shutdown().await;
        return None;
    };
    let reusable = downstream.finish().await.ok().flatten()?;
    Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
}

/// Why a failed request stores nothing.
fn reason_of(error: &Error) -> NoCacheReason {
    match error.esource() {
        ErrorSource::Upstream => NoCacheReason::UpstreamError,
        _ => NoCacheReason::InternalError,
    }
}

/// Whether the client got a complete answer.
fn response_is_whole(session: &mut Session) -> bool {
    session.is_response_complete() && !session.has_pending_downstream_tasks()
}

/// Turns the client's request into the upstream's. Does everything except the user's filter and the
/// framing of the body.
pub(crate) fn prepare_request<S: ClientSessionCustom>(
    request: &mut RequestHeader,
    upstream: &ClientSession<S>,
    peer: &HttpPeer,
    aliases: Option<&AliasPolicy>,
) -> Result<Option<Box<Bridge>>> {
    let policy = peer
        .get_peer_options()
        .map(|o| o.http_upstream_request_policy);
    let policy = policy.unwrap_or_default();
    let over = match upstream.as_http2() {
        Some(_) => Version::HTTP_2,
        None => Version::HTTP_11,
    };
    let on_alias = match aliases {
        None => OnAlias::Drop,
        Some(aliases) => {
            if policy.strip_hop_by_hop {
                aliases.apply(request)?;
            }
            aliases.on_relied_on()
        }
    };
    hop_by_hop::prepare_aliased_request(request, &policy, over, on_alias)?;
    let bridge = translate_request(request, upstream, &policy)?;
    address_request(request, peer)?;
    Ok(bridge)
}

/// Sends a request without copying it first, if the copy would never be seen: the filter is known to be
/// the default, and both sides speak HTTP/1. `false`: the caller has to make a copy.
pub(crate) fn send_unseen<S: ClientSessionCustom>(
    session: &mut Session,
    upstream: &mut ClientSession<S>,
    peer: &HttpPeer,
    aliases: Option<&AliasPolicy>,
) -> Result<bool> {
    let is_seen = !session.noted.is_default(defaults::UPSTREAM_REQUEST)
        || !session.upstream_modules_ctx.is_empty();
    let version = session.downstream_session.req_header().line().version;
    let is_translated = version == Version::HTTP_2
        || session.version() == Version::HTTP_2
        || !matches!(upstream, ClientSession::H1(_));
    if is_seen || is_translated || !session.is_body_empty() {
        return Ok(false);
    }
    let Some(mut request) = session.downstream_session.req_header_mut().lend() else {
        return Ok(false);
    };
    prepare_request(&mut request, upstream, peer, aliases)?;
    upstream.queue_request_header(&request)?;
    Ok(true)
}

/// Converts a request from the client's version of HTTP to the upstream's.
fn translate_request<S: ClientSessionCustom>(
    request: &mut RequestHeader,
    upstream: &ClientSession<S>,
    policy: &HttpUpstreamRequestPolicy,
) -> Result<Option<Box<Bridge>>> {
    let (from, to_http2) = (
        request.line().version,
        upstream.version() == Version::HTTP_2,
    );
    let mut bridge = None;
    if from == Version::HTTP_2 {
        if websocket::connect_protocol(request).is_some() {
            if policy.h1_upgrade == H1UpgradePolicy::Deny {
                let context = "upgrades are not let through to this upstream";
                return Err(Error::explain(ErrorType::HTTPStatus(501), context).into_down());
            }
            if !to_http2 {
                let nonce = std::array::from_fn(|_| fastrand::u8(..));
                bridge = Some(Box::new(Bridge::to_upgrade(request, nonce)?));
            }
        }
        // `Host` alone identifies the host: filters read and write it.
        if request.line().method != Method::CONNECT || to_http2 {
            request.strip_authority();
        }
    } else if to_http2 && websocket::asks_for_upgrade(request) {
        bridge = Some(Box::new(Bridge::to_connect(request)?));
    }
    request.set_version(if to_http2 {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    });
    Ok(bridge)
}

/// Makes sure that a body with no known length, or no longer a known one, goes out in chunks.
pub(crate) fn frame_request(request: &mut RequestHeader, session: &mut Session) -> Result<()> {
    if session.is_body_empty() {
        return Ok(());
    }
    let length = h1::outgoing_request_length(request).unwrap_or(BodyLength::Empty);
    if length == BodyLength::Empty {
        request.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

/// An HTTP/1.0 client need not name a host, but our own version requires one (RFC 9112 section 3.2).
fn address_request(request: &mut RequestHeader, peer: &HttpPeer) -> Result<()> {
    let mut named = false;
    request.for_each_control_field(|field, _| named |= field == ControlField::Host);
    if named {
        return Ok(());
    }
    request.insert_header(HOST, authority_of_server(peer.sni(), peer.address()))
}

/// A request that can't be sent is our fault, unless the cause is a `Host` that the client chose: HTTP/1
/// allows some, such as `a%41`, that HTTP/2 framing can't express.
#[cold]
pub(crate) fn blame_host(error: BError, client: &RequestHeader, request: &RequestHeader) -> BError {
    let (chosen, sent) = (client.headers.get(HOST), request.headers.get(HOST));
    match chosen {
        Some(host) if chosen == sent && Authority::try_from(host.as_bytes()).is_err() => {
            let context = "the upstream speaks HTTP/2, which can't be asked for this Host";
            Error::because(ErrorType::InvalidHTTPHeader, context, error).into_down()
        }
        _ => error,
    }
}

#[async_trait]
impl<SV, C> HttpServerApp for HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    async fn process_new_http(
        self: &Arc<Self>,
        mut downstream: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let left = downstream.take_connection_user_context();
        let refused = match downstream.read_request().await {
            Ok(true) => None,
            Ok(false) => return None,
            Err(error) => Some(error),
        };
        let shutting_down = is_shutting_down(shutdown);
        downstream.set_keepalive(if shutting_down {
            None
        } else {
            Some(KEEPALIVE_SECONDS)
        });
        let noted = Noted::of_proxy::<SV>(self.known.phases());
        let (down, up) = (&self.downstream_modules, &self.upstream_modules);
        let mut session = Session::new(Box::new(downstream), down, up, noted);
        session.shutting_down = shutting_down;
        let settings = self.process(&mut session, left, refused).await;
        finish(session.downstream_session, settings).await
    }

    async fn process_custom_session(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        match &self.on_custom {
            Some(serve) => serve(self.clone(), stream, shutdown).await,
            None => {
                log::warn!(
                    "a client chose a protocol that this proxy was given nothing to serve with"
                );
                None
            }
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.h2_options.clone()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.server_options.as_ref()
    }

    async fn http_drained(&self) {
        self.subrequests.ended().await;
    }
}

#[async_trait]
impl<SV, C> Subrequest for HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    async fn process_subrequest(
        self: Arc<Self>,
        mut downstream: Box<ServerSession>,
        sub_req_ctx: Box<SubrequestCtx>,
    ) {
        let refused = downstream.read_request().await.err();
        let noted = Noted::of_proxy::<SV>(self.known.phases());
        let (down, up) = (&self.downstream_modules, &self.upstream_modules);
        let mut session = Session::new(downstream, down, up, noted);
        session.shutting_down = sub_req_ctx.shutting_down;
        session.subrequest_ctx = Some(sub_req_ctx);
        let settings = self.process(&mut session, None, refused).await;
        finish(session.downstream_session, settings).await;
    }
}

#[cfg(test)]
mod tests;
