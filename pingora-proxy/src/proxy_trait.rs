//! The phases of a request, as the user implements them.

use crate::phase::default_phase;
use crate::phase_types::{FailToProxy, ProxyWarnLogContext};
use crate::purge::PurgeStatus;
use crate::range::RangeType;
use crate::retry::RetryPolicy;
use crate::session::Session;
use crate::{ReadyCache, defaults, range};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_cache::key::HashBinary;
use pingora_cache::{
    CacheKey, CacheMeta, ForcedFreshness, HitHandler, NoCacheReason, PurgeAction, RespCacheable,
};
use pingora_core::modules::http::HttpModules;
use pingora_core::modules::http::compression::ResponseCompressionBuilder;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::borrow::Cow;
use std::os::fd::RawFd;
use std::time::Duration;

/// The phases of a request: what a proxy does with it.
///
/// Only [`new_ctx`](ProxyHttp::new_ctx) and [`upstream_peer`](ProxyHttp::upstream_peer) are required. A
/// phase that is not implemented costs nothing. Implement the trait with `#[async_trait]` and write the
/// async phases as plain `async fn`, with the signatures given below; the [crate's page](crate) has an example.
///
/// # The order of the phases
///
/// After the two required methods and those about modules and sub-requests, the methods below stand in this
/// order. Those that are not phases come last.
///
/// ```text
/// early_request_filter ─ downstream modules ─ request_filter ─ (the cache) ─ proxy_upstream_filter
///    ─ upstream_peer ─ (connect) ─ connected_to_upstream ─ upstream_request_filter ─ upstream modules
///    ─ request_body_filter*  ∥  adjust_upstream_modules ─ upstream_response_filter ─ response_filter
///                               ─ upstream_response_body_filter* ─ response_body_filter*
///                               ─ upstream_response_trailer_filter ─ response_trailer_filter
///    ─ logging
///
/// connecting fails:  fail_to_connect   ─ retry? upstream_peer : fail_to_proxy ─ logging
/// anything else:     error_while_proxy ─ retry? upstream_peer : fail_to_proxy ─ logging
/// ```
///
/// While an async phase is pending, its exchange stands still: a phase must not wait for something that
/// another phase of the same request produces.
///
/// A panic in a phase ends only that request, with status 500 and a line in the log.
#[async_trait]
pub trait ProxyHttp {
    /// The state that is kept from phase to phase of one request.
    type CTX;

    /// Creates the context of a new request.
    fn new_ctx(&self) -> Self::CTX;

    /// Decides where this request goes. Called again for each retry.
    ///
    /// # Errors
    /// An error ends the request: [`ProxyHttp::fail_to_proxy`] answers it.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>>;

    /// Adds filters over requests and responses. Called once, when the service is made.
    ///
    /// By default, adds the module that compresses responses, at level 0: it costs nothing until a phase raises
    /// its level, by `session.downstream_modules_ctx.get_mut::<ResponseCompression>()`. An implementation that
    /// replaces the default has to add that module itself if its phases use it.
    ///
    /// The module runs last, after [`ProxyHttp::response_body_filter`], which sees the uncompressed body;
    /// [`Session::upstream_compression`] runs before that filter.
    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(ResponseCompressionBuilder::enable(0));
    }

    /// Adds filters over the exchanges with upstreams. Called once, when the service is made. By default
    /// there are none, which costs nothing.
    ///
    /// They are the last to see the request, after [`ProxyHttp::upstream_request_filter`] and
    /// [`ProxyHttp::request_body_filter`], and the first to see the response: every phase sees it as these
    /// modules leave it. Informational responses pass through them, the bytes of a tunnel don't.
    ///
    /// All tries of a request share [`Session::upstream_modules_ctx`], so that settings made by a phase apply to
    /// each of them. For each further try, the modules first learn that the earlier response was discarded
    /// ([`HttpModule::response_discarded`](pingora_core::modules::http::HttpModule::response_discarded)), and
    /// then see the request's head and body again.
    ///
    /// An error of a module has the consequences that an error of the neighbouring phase would have.
    fn init_upstream_modules(&self, _modules: &mut HttpModules) {}

    /// Whether this request may spawn sub-requests. If so, its
    /// [`subrequest_spawner`](Session::subrequest_spawner) is set. Asked once, ahead of all phases.
    /// `false` by default, which costs nothing.
    ///
    /// Also asked for sub-requests, up to a depth of
    /// [`MOST_NESTED`](pingora_core::protocols::http::subrequest::MOST_NESTED); see
    /// [`subrequest`](crate::subrequest).
    fn allow_spawning_subrequest(&self, _session: &Session, _ctx: &Self::CTX) -> bool
    where
        Self::CTX: Send + Sync,
    {
        false
    }

    default_phase! {
        /// The first of all phases, ahead of the downstream modules.
        ///
        /// `async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()>`
        ///
        /// Use it for time-outs, and for settings that modules depend on.
        fn early_request_filter['life1, 'life2](
            _session: &'life1 mut Session,
            _ctx: &'life2 mut Self::CTX,
        ) -> Result<()> {
            Ok(())
        }
    }

    default_phase! {
        /// Decides about the request before anything is sent.
        ///
        /// `async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool>`
        ///
        /// `Ok(true)` means that this phase has answered the request, through `session`. Use it for
        /// access control, rate limits, and responses of your own.
        fn request_filter['life1, 'life2](
            _session: &'life1 mut Session,
            _ctx: &'life2 mut Self::CTX,
        ) -> Result<bool> {
            Ok(false)
        }
    }

    /// The ready cache of this proxy, usually one of its fields, which the defaults of the cache's phases use;
    /// see [`ReadyCache`]. `None`, the default: there is none, which costs nothing.
    fn ready_cache<'a>(&'a self, _ctx: &Self::CTX) -> Option<&'a ReadyCache> {
        None
    }

    /// Allows this request to be answered from a cache, by calling
    /// [`session.cache.enable`](pingora_cache::HttpCache::enable). By default, the
    /// [ready cache](ProxyHttp::ready_cache) decides, if there is one.
    fn request_cache_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        if let Some(cache) = self.ready_cache(ctx) {
            cache.enable(session);
        }
        Ok(())
    }

    /// The key under which the response is cached: two requests with the same key get the same response. It has
    /// to hold everything by which the origin chooses a response: at least scheme, authority, path and query.
    /// By default, the key of the [ready cache](ProxyHttp::ready_cache).
    ///
    /// # Errors
    /// The request does without the cache. By default, [`ErrorType::InternalError`] if there is no ready cache,
    /// because no key would be safe to guess.
    fn cache_key_callback(&self, session: &Session, ctx: &mut Self::CTX) -> Result<CacheKey> {
        if let Some(cache) = self.ready_cache(ctx) {
            return cache.key(session);
        }
        let context = "cache_key_callback has to be implemented where caching is turned on";
        Error::e_explain(ErrorType::InternalError, context)
    }

    /// Called when the cache has no response, before an upstream is chosen. An implementation turns the cache off
    /// or calls [`session.cache.cache_miss`](pingora_cache::HttpCache::cache_miss), as the default does.
    fn cache_miss(&self, session: &mut Session, _ctx: &mut Self::CTX) {
        session.cache.cache_miss();
    }

    /// Decides about a response found in the cache: `None` leaves it as it is, served if it is fresh.
    ///
    /// `async fn cache_hit_filter(&self, session: &mut Session, meta: &CacheMeta, hit_handler: &mut HitHandler, is_fresh: bool, ctx: &mut Self::CTX) -> Result<Option<ForcedFreshness>>`
    ///
    /// By default, the [ready cache](ProxyHttp::ready_cache) decides, if there is one.
    ///
    /// # Errors
    /// Logged; the stored response counts as absent.
    async fn cache_hit_filter(
        &self,
        session: &mut Session,
        meta: &CacheMeta,
        _hit_handler: &mut HitHandler,
        _is_fresh: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<ForcedFreshness>>
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        let cache = self.ready_cache(ctx);
        Ok(cache.and_then(|cache| cache.hit(session, meta)))
    }

    default_phase! {
        /// The last phase before an upstream is chosen. Not called if the cache answers.
        ///
        /// `async fn proxy_upstream_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool>`
        ///
        /// `Ok(false)` means that this request goes to no upstream; unless the phase has answered it, the
        /// client gets 502.
        fn proxy_upstream_filter['life1, 'life2](
            _session: &'life1 mut Session,
            _ctx: &'life2 mut Self::CTX,
        ) -> Result<bool> {
            Ok(true)
        }
    }

    default_phase! {
        /// Called when a connection to the upstream is established, new or kept from an earlier request.
        ///
        /// `async fn connected_to_upstream(&self, session: &mut Session, reused: bool, peer: &HttpPeer, fd: RawFd, digest: Option<&Digest>, ctx: &mut Self::CTX) -> Result<()>`
        fn connected_to_upstream['life1, 'life2, 'life3, 'life4](
            _session: &'life1 mut Session,
            _reused: bool,
            _peer: &'life2 HttpPeer,
            _fd: RawFd,
            _digest: Option<&'life3 Digest>,
            _ctx: &'life4 mut Self::CTX,
        ) -> Result<()> {
            Ok(())
        }
    }

    default_phase! {
        /// Changes the request's header on its way to the upstream.
        ///
        /// `async fn upstream_request_filter(&self, session: &mut Session, upstream_request: &mut RequestHeader, ctx: &mut Self::CTX) -> Result<()>`
        ///
        /// `upstream_request` is a copy: the request of the `session` stays as the client sent it.
        /// Hop-by-hop fields have already been removed (RFC 9110 section 7.6.1).
        fn upstream_request_filter['life1, 'life2, 'life3](
            session: &'life1 mut Session,
            _upstream_request: &'life2 mut RequestHeader,
            _ctx: &'life3 mut Self::CTX,
        ) -> Result<()>, session notes UPSTREAM_REQUEST {
            Ok(())
        }
    }

    default_phase! {
        /// Sees, and may change, each piece of the request's body on its way to the upstream.
        ///
        /// `async fn request_body_filter(&self, session: &mut Session, body: &mut Option<Bytes>, end_of_stream: bool, ctx: &mut Self::CTX) -> Result<()>`
        ///
        /// The last call has `end_of_stream` set, and may have no piece; for a request without a body it is the
        /// only one. A filter that changes the length must remove `Content-Length` in
        /// [`ProxyHttp::upstream_request_filter`].
        fn request_body_filter['life1, 'life2, 'life3](
            session: &'life1 mut Session,
            _body: &'life2 mut Option<Bytes>,
            _end_of_stream: bool,
            _ctx: &'life3 mut Self::CTX,
        ) -> Result<()>, session notes REQUEST_BODY {
            Ok(())
        }
    }

    default_phase! {
        /// Adjusts the upstream modules, if there are any, to a response whose header they are about to see.
        ///
        /// `async fn adjust_upstream_modules(&self, session: &mut Session, upstream_response: &ResponseHeader, end_of_stream: bool, ctx: &mut Self::CTX) -> Result<()>`
        ///
        /// The modules are in [`Session::upstream_modules_ctx`]. With `end_of_stream`, no body follows.
        /// Also called for informational responses, which have a status below 200.
        fn adjust_upstream_modules['life1, 'life2, 'life3](
            _session: &'life1 mut Session,
            _upstream_response: &'life2 ResponseHeader,
            _end_of_stream: bool,
            _ctx: &'life3 mut Self::CTX,
        ) -> Result<()> {
            Ok(())
        }
    }

    default_phase! {
        /// Sees, and may change, the upstream's response header, ahead of all other phases.
        ///
        /// `async fn upstream_response_filter(&self, session: &mut Session, upstream_response: &mut ResponseHeader, ctx: &mut Self::CTX) -> Result<()>`
        ///
        /// Changes made here would also be cached; make changes meant for one client only in
        /// [`ProxyHttp::response_filter`].
        fn upstream_response_filter['life1, 'life2, 'life3](
            _session: &'life1 mut Session,
            _upstream_response: &'life2 mut ResponseHeader,
            _ctx: &'life3 mut Self::CTX,
        ) -> Result<()> {
            Ok(())
        }
    }

    /// Whether the response may be cached, and for how long. Called for each final response of a request whose
    /// cache is on; if the upstream has confirmed a stored one by a 304, with the merged header. A part (206) is
    /// never stored, even if this allows it.
    ///
    /// By default, the [ready cache](ProxyHttp::ready_cache) decides; without one, nothing is cached.
    fn response_cache_filter(
        &self,
        session: &Session,
        resp: &ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<RespCacheable> {
        Ok(match self.ready_cache(ctx) {
            Some(cache) => cache.response(session, resp),
            None => RespCacheable::Uncacheable(NoCacheReason::OriginNotCache),
        })
    }

    /// Distinguishes the variants of a cached response: a digest of the parts of this request on which it varies;
    /// `None` if it does not vary. Called both for a stored response and for one about to be stored. A response
    /// stored with a digest is not served to a request without one.
    ///
    /// By default, a [ready cache](ProxyHttp::ready_cache) uses the fields that `Vary` names.
    fn cache_vary_filter(
        &self,
        meta: &CacheMeta,
        ctx: &mut Self::CTX,
        req: &RequestHeader,
    ) -> Option<HashBinary> {
        self.ready_cache(ctx)?.rules().variance(meta, req)
    }

    /// Whether a response of the cache is answered with 304, because the client has it. Called for stored
    /// responses, and for an upstream's answer to a request whose conditions were the cache's.
    fn cache_not_modified_filter(
        &self,
        session: &Session,
        resp: &ResponseHeader,
        _ctx: &mut Self::CTX,
    ) -> Result<bool> {
        Ok(crate::cache::is_unmodified(session.req_header(), resp))
    }

    /// The requested part of a response of the cache, whose header it changes accordingly. Called together with
    /// [`cache_not_modified_filter`](ProxyHttp::cache_not_modified_filter), unless
    /// [`Session::ignore_downstream_range`] is set.
    fn range_header_filter(
        &self,
        session: &mut Session,
        resp: &mut ResponseHeader,
        _ctx: &mut Self::CTX,
    ) -> RangeType {
        range::range_header_filter(session.req_header(), resp, None)
    }

    default_phase! {
        /// Changes the response's header on its way to the client.
        ///
        /// `async fn response_filter(&self, session: &mut Session, upstream_response: &mut ResponseHeader, ctx: &mut Self::CTX) -> Result<()>`
        ///
        /// Also called for informational responses, which have a status below 200.
        fn response_filter['life1, 'life2, 'life3](
            _session: &'life1 mut Session,
            _upstream_response: &'life2 mut ResponseHeader,
            _ctx: &'life3 mut Self::CTX,
        ) -> Result<()> {
            Ok(())
        }
    }

    /// Sees, and may change, each piece of the upstream's response body. Returning a duration delays the
    /// next piece. Not called for a response without a body: the answer to a HEAD, 204, 304, a length of 0.
    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        session.note_default::<Self>(defaults::UPSTREAM_RESPONSE_BODY);
        Ok(None)
    }

    /// Sees, and may change, each piece of the response's body on its way to the client. Returning a
    /// duration delays the next piece, which is the way to limit a rate.
    ///
    /// The last call has `end_of_stream` set, and may have no piece. Not called for a response without a body (the
    /// answer to a HEAD, 204, 304, a length of 0); work to be done at the end of every response belongs in
    /// [`ProxyHttp::logging`]. A filter that changes the length must remove `Content-Length` in
    /// [`ProxyHttp::response_filter`].
    ///
    /// A body that the upstream compressed is still compressed here unless
    /// [`Session::upstream_compression`] decompresses it. The module for compression runs later.
    fn response_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>>
    where
        Self::CTX: Send + Sync,
    {
        session.note_default::<Self>(defaults::RESPONSE_BODY);
        Ok(None)
    }

    default_phase! {
        /// Sees, and may change, each piece of the response's body after [`ProxyHttp::response_body_filter`], and
        /// may wait, for example for another service that inspects or rewrites each piece.
        ///
        /// `async fn async_response_body_filter(&self, session: &mut Session, body: &mut Option<Bytes>, end_of_stream: bool, ctx: &mut Self::CTX) -> Result<()>`
        ///
        /// The same rules apply to the pieces. While this filter waits, earlier pieces are on their way to the
        /// client, and nothing is read from either side: data that the upstream sends meanwhile stays in the windows
        /// of its connection. No time limit applies: a filter that asks another service needs a timeout of its own.
        /// If the first piece has arrived together with the response's head, the head waits for this filter, and an
        /// error up to that point becomes an error page.
        fn async_response_body_filter['life1, 'life2, 'life3](
            session: &'life1 mut Session,
            _body: &'life2 mut Option<Bytes>,
            _end_of_stream: bool,
            _ctx: &'life3 mut Self::CTX,
        ) -> Result<()>, session notes ASYNC_RESPONSE_BODY {
            Ok(())
        }
    }

    /// Sees, and may change, the trailers of the upstream's response.
    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        _upstream_trailers: &mut HeaderMap,
        _ctx: &mut Self::CTX,
    ) -> Result<()> {
        Ok(())
    }

    default_phase! {
        /// Sees, and may change, the trailers on their way to the client.
        ///
        /// `async fn response_trailer_filter(&self, session: &mut Session, upstream_trailers: &mut HeaderMap, ctx: &mut Self::CTX) -> Result<Option<Bytes>>`
        ///
        /// Returned bytes are sent as the end of the body, instead of the trailers, for protocols that carry
        /// trailers there.
        fn response_trailer_filter['life1, 'life2, 'life3](
            _session: &'life1 mut Session,
            _upstream_trailers: &'life2 mut HeaderMap,
            _ctx: &'life3 mut Self::CTX,
        ) -> Result<Option<Bytes>> {
            Ok(None)
        }
    }

    /// Whether the body filters ([`ProxyHttp::request_body_filter`],
    /// [`ProxyHttp::upstream_response_body_filter`], [`ProxyHttp::response_body_filter`],
    /// [`ProxyHttp::async_response_body_filter`]) need to see this exchange's bodies. `None` (the default): filters
    /// that are not implemented are skipped. `Some(false)`: none is called, and large bodies may move without
    /// passing through this process's memory; for a proxy that implements filters but needs them only for some
    /// exchanges. `Some(true)`: all are called.
    ///
    /// Asked before the exchange with an upstream begins, and again after the filters of a response's
    /// header have run; the second answer applies to the pieces that follow.
    fn body_filters(&self, _session: &Session, _ctx: &Self::CTX) -> Option<bool> {
        None
    }

    /// The policy by which this request is tried again after a failure, usually a field of the proxy. Called
    /// once for each request that goes to an upstream, before
    /// [`upstream_peer`](ProxyHttp::upstream_peer). With `None`, the default, only the errors that
    /// [`fail_to_connect`](ProxyHttp::fail_to_connect) and
    /// [`error_while_proxy`](ProxyHttp::error_while_proxy) mark are retried, up to
    /// [`max_retries`](pingora_core::server::configuration::ServerConf::max_retries) tries.
    fn retry_policy<'a>(&'a self, _session: &Session, _ctx: &Self::CTX) -> Option<&'a RetryPolicy> {
        None
    }

    /// The delay after which a second try starts beside this one, for a request whose [`RetryPolicy`]
    /// [hedges](RetryPolicy::hedge_after) after `delay`. `None`: there is only one try. Called once the request
    /// is on its way, if it may be hedged.
    fn hedge_delay(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
        delay: Duration,
    ) -> Option<Duration> {
        Some(delay)
    }

    /// Called when one of two concurrent tries continues alone: the one at `peer`, because its response head came
    /// first or the other try failed. The phases up to
    /// [`upstream_request_filter`](ProxyHttp::upstream_request_filter) have run for both, so their traces in the
    /// context may need correction here; those of the response run for this try only. Does nothing by default.
    fn hedge_settled(&self, _session: &mut Session, _peer: &HttpPeer, _ctx: &mut Self::CTX) {}

    /// Inspects a connect error. By default such an error ends the request; with [`Error::set_retry`] the
    /// request is retried with the peer that [`ProxyHttp::upstream_peer`] then chooses.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        _ctx: &mut Self::CTX,
        e: Box<Error>,
    ) -> Box<Error> {
        e
    }

    /// Inspects an error that came after the connection was made, and decides whether the request may be
    /// retried ([`Error::set_retry`]).
    ///
    /// By default it may if all three of these hold: the connection was kept from an earlier request (the
    /// server may have closed it at the same moment) or is shared with others over HTTP/2; the request is
    /// idempotent (RFC 9110 section 9.2.2: not POST, PATCH and unknown methods); and everything that was read of
    /// its body can be replayed. Regardless of this decision, nothing is retried once a response has begun.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        e: Box<Error>,
        _ctx: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        crate::retry::error_while_proxy(peer, session, e, client_reused)
    }

    /// May refuse a retry that is otherwise granted. `error` ended the try, or is an
    /// [`HTTPStatus`](pingora_error::ErrorType::HTTPStatus) for a response that a [`RetryPolicy`] would drop;
    /// `tries` counts the tries so far. With `false`, the client gets the error, or that response.
    fn allow_retry(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
        _error: &Error,
        _tries: usize,
    ) -> bool {
        true
    }

    /// Answers a request that has failed for good.
    ///
    /// `async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Self::CTX) -> FailToProxy`
    ///
    /// If nothing of a response was sent by then, the proxy sends the error page of the returned status; with 0,
    /// it sends nothing. An implementation that only counts or logs returns [`FailToProxy::by_default`].
    ///
    /// The default status: the one in an [`ErrorType::HTTPStatus`]; if the client broke a rule, the status for
    /// that; none if the client is gone; 504 or 502 if the upstream is at fault; 500 otherwise.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        e: &Error,
        _ctx: &mut Self::CTX,
    ) -> FailToProxy
    where
        Self::CTX: Send + Sync,
        Self: Sync,
    {
        FailToProxy::by_default(session, e)
    }

    /// Whether a stale response from the cache is served, if its own limits allow it: instead of an error, or, with
    /// `None`, while it is refreshed in the background (RFC 5861).
    ///
    /// By default, instead of the upstream's errors; and while it is refreshed, if there is a
    /// [ready cache](ProxyHttp::ready_cache).
    fn should_serve_stale(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
        error: Option<&Error>,
    ) -> bool {
        match error {
            Some(error) => *error.esource() == pingora_error::ErrorSource::Upstream,
            None => self.ready_cache(ctx).is_some(),
        }
    }

    default_phase! {
        /// The last phase. Called exactly once for each request that was read, however it ended.
        ///
        /// `async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Self::CTX)`
        ///
        /// The response is complete, or has failed with `e`. Use it for access logs and metrics.
        fn logging['life1, 'life2, 'life3](
            _session: &'life1 mut Session,
            _e: Option<&'life2 Error>,
            _ctx: &'life3 mut Self::CTX,
        ) -> () {
            ()
        }
    }

    /// Whether to suppress the line in the error log about this error.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Self::CTX, _error: &Error) -> bool {
        false
    }

    /// Whether to suppress a warning in the log.
    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        false
    }

    /// The request in one line, for the error log.
    fn request_summary(&self, session: &Session, _ctx: &Self::CTX) -> String {
        session.as_downstream().request_summary()
    }

    /// Stores a value with the client's connection for its next request. Called when the connection is
    /// about to be kept.
    fn persist_connection_context(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        None
    }

    /// Receives the value that [`ProxyHttp::persist_connection_context`] stored, at the connection's next
    /// request.
    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
        _prev_ctx: Box<dyn Any + Send + Sync>,
    ) {
    }

    /// Whether the request asks to purge its own target from the cache. Such a request goes to no upstream. An
    /// implementation has to decide which clients may ask.
    fn is_purge(&self, _session: &Session, _ctx: &Self::CTX) -> bool {
        false
    }

    /// How to purge.
    fn purge_action(&self, _session: &Session, _ctx: &Self::CTX) -> PurgeAction {
        PurgeAction::Delete
    }

    /// Changes the answer to a purge: 200 if there was something, 404 if not, 405 if the cache is off, 500 if it
    /// failed.
    fn purge_response_filter(
        &self,
        _session: &Session,
        _ctx: &mut Self::CTX,
        _purge_status: PurgeStatus,
        _purge_response: &mut Cow<'static, ResponseHeader>,
    ) -> Result<()> {
        Ok(())
    }
}
