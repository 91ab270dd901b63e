//! One proxied request, as the phases see it.

use crate::defaults::Noted;
use crate::engine::MinRate;
use crate::retry::FailedTry;
use crate::subrequest::{Ctx as SubrequestCtx, SubrequestSpawner};
use crate::times::RequestTimes;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use pingora_cache::HttpCache;
use pingora_core::metrics::RequestMeter;
use pingora_core::modules::http::{HttpModuleCtx, HttpModules};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::compression::ResponseCompressionCtx;
use pingora_core::protocols::http::error_resp::declare_whole_body;
use pingora_core::protocols::http::exchange::DownstreamHalf;
use pingora_core::protocols::http::spool::SpooledBody;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::upstreams::outcome::{Attempt, BalancedRequest, Outcome};
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::time::Duration;
use tokio::time::Instant;

/// Messages beside a request, as [`Session::downstream_custom_message`] would return them.
type CustomMessages =
    Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// One proxied request: the client's side of it, and the state that the phases share.
///
/// Dereferences to the client's [`ServerSession`]. Data written through the methods of this type passes
/// the downstream modules; data written through the inner session does not.
#[derive(Debug)]
pub struct Session {
    /// The client's side.
    pub downstream_session: Box<ServerSession>,
    /// The cache's part in this request: off until a phase [enables](HttpCache::enable) it.
    pub cache: HttpCache,
    /// Compression and decompression of the response ahead of the filters. Off until a phase sets a level or
    /// asks for decompression, at the latest in
    /// [`upstream_response_filter`](crate::ProxyHttp::upstream_response_filter), and costs nothing until then.
    ///
    /// It stands behind that phase and
    /// [`upstream_response_body_filter`](crate::ProxyHttp::upstream_response_body_filter), and ahead of
    /// [`response_filter`](crate::ProxyHttp::response_filter) and
    /// [`response_body_filter`](crate::ProxyHttp::response_body_filter). Use it to decompress for
    /// a filter that needs plain text, regardless of what the client accepts. To compress, including bodies that
    /// were decompressed for a filter, use the module
    /// [`ResponseCompression`](pingora_core::modules::http::compression::ResponseCompression), which stands
    /// last. With a level set here, [`response_body_filter`](crate::ProxyHttp::response_body_filter) sees the
    /// body as the client gets it.
    ///
    /// ```
    /// # use pingora_core::modules::http::compression::ResponseCompression;
    /// # use pingora_proxy::Session;
    /// # fn early_request_filter(session: &mut Session) {
    /// session.upstream_compression.adjust_decompression(true);
    /// let modules = &mut session.downstream_modules_ctx;
    /// if let Some(again) = modules.get_mut::<ResponseCompression>() {
    ///     again.adjust_level(5);
    /// }
    /// # }
    /// ```
    pub upstream_compression: ResponseCompressionCtx,
    /// Whether a `Range` of the client is ignored in what the cache serves, or fetches: the client gets the whole.
    pub ignore_downstream_range: bool,
    /// Whether the upstream was asked without the client's conditions and ranges, for the cache: they are applied to
    /// its response.
    pub upstream_headers_mutated_for_cache: bool,
    /// Set in a request that was spawned by another one.
    pub subrequest_ctx: Option<Box<SubrequestCtx>>,
    /// Spawns sub-requests, if [`ProxyHttp::allow_spawning_subrequest`](crate::ProxyHttp) allows it.
    pub subrequest_spawner: Option<SubrequestSpawner>,
    /// The downstream modules' state for this request.
    pub downstream_modules_ctx: HttpModuleCtx,
    /// The upstream modules' state for this request, the same in all of its tries; see
    /// [`ProxyHttp::init_upstream_modules`](crate::ProxyHttp::init_upstream_modules).
    pub upstream_modules_ctx: HttpModuleCtx,
    pub(crate) noted: Noted,
    pub(crate) upstream: UpstreamFigures,
    pub(crate) shutting_down: bool,
    /// An informational response went to the client: its final response has to follow.
    pub(crate) announced: bool,
    /// The trailers of the request's body, kept for a retry.
    pub(crate) request_trailers: Option<Box<HeaderMap>>,
    /// The observer of the current try.
    attempt: Option<ReportedAttempt>,
    /// The request's body, if it was read ahead of the upstream.
    pub(crate) buffered: Option<SpooledBody>,
    /// Boxed, because most requests need none of it.
    pub(crate) rare: Option<Box<Rare>>,
    /// The time spent on each step, if a phase has asked for it.
    pub(crate) times: Option<Box<RequestTimes>>,
    /// Of every request.
    pub(crate) meter: RequestMeter,
}

/// State that few requests need.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// The tries that have failed.
    pub(crate) failed_tries: Vec<FailedTry>,
    /// When the whole request has to be over.
    pub(crate) until: Option<Instant>,
    /// When the request's body has to be there.
    pub(crate) body_until: Option<Instant>,
    /// How fast the request's body has to come, in bytes per second.
    min_receive_rate: Option<NonZeroUsize>,
}

/// An observer of the outcome of a try.
struct ReportedAttempt(Box<dyn Attempt>);

impl fmt::Debug for ReportedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempt")
    }
}

/// Counters of the exchange with the upstream.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct UpstreamFigures {
    pub(crate) body_received: usize,
    pub(crate) body_sent: Option<usize>,
    pub(crate) write_pending: Duration,
    /// The head of the current try's response has arrived.
    pub(crate) responded: bool,
}

impl Session {
    pub(crate) fn new(
        downstream_session: Box<ServerSession>,
        downstream_modules: &HttpModules,
        upstream_modules: &HttpModules,
        noted: Noted,
    ) -> Self {
        let meter = RequestMeter::begin(downstream_session.listener());
        Session {
            meter,
            downstream_session,
            cache: HttpCache::new(),
            upstream_compression: ResponseCompressionCtx::new(0, false, false),
            ignore_downstream_range: false,
            upstream_headers_mutated_for_cache: false,
            subrequest_ctx: None,
            subrequest_spawner: None,
            downstream_modules_ctx: downstream_modules.build_ctx(),
            upstream_modules_ctx: upstream_modules.build_ctx(),
            noted,
            upstream: UpstreamFigures::default(),
            shutting_down: false,
            announced: false,
            request_trailers: None,
            attempt: None,
            buffered: None,
            rare: None,
            times: None,
        }
    }

    /// A session over a connection that speaks HTTP/1, for testing your own phases.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> pingora_error::Result<()> {
    /// let (mut client, server) = tokio::io::duplex(1024);
    /// let mut session = pingora_proxy::Session::new_h1(Box::new(server));
    /// tokio::io::AsyncWriteExt::write_all(&mut client, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    ///     .await
    ///     .unwrap();
    /// assert!(session.read_request().await?);
    /// assert_eq!(session.req_header().uri.path(), "/x");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new_h1(stream: Stream) -> Self {
        Self::new_h1_with_modules(stream, &HttpModules::new())
    }

    /// [`Session::new_h1`] with downstream modules. There are no upstream modules; a test that needs some
    /// sets [`upstream_modules_ctx`](Session::upstream_modules_ctx).
    pub fn new_h1_with_modules(stream: Stream, downstream_modules: &HttpModules) -> Self {
        let session = Box::new(ServerSession::new_http1(stream));
        let none = HttpModules::new();
        Session::new(session, downstream_modules, &none, Noted::default())
    }

    /// The client's side, mutably.
    pub fn as_downstream_mut(&mut self) -> &mut ServerSession {
        &mut self.downstream_session
    }

    /// The client's side.
    pub fn as_downstream(&self) -> &ServerSession {
        &self.downstream_session
    }

    /// Answers with this status and no body, unless a response has already begun.
    pub async fn respond_error(&mut self, error: u16) -> Result<()> {
        self.respond_error_with_body(error, Bytes::new()).await
    }

    /// [`Session::respond_error`] with a body.
    pub async fn respond_error_with_body(&mut self, error: u16, body: Bytes) -> Result<()> {
        let header = ServerSession::generate_error(error);
        // In memory of its own, because each request allocates a phase's future, whether it refuses or not.
        Box::pin(self.respond_error_with(header, body)).await
    }

    /// [`Session::respond_error_with_body`] with a header of one's own.
    pub(crate) async fn respond_error_with(
        &mut self,
        mut header: ResponseHeader,
        mut body: Bytes,
    ) -> Result<()> {
        if self.downstream_session.response_written().is_none() {
            body = self.filter_whole_response(&mut header, body).await?;
        }
        self.downstream_session
            .write_error_response(header, body)
            .await
    }

    /// A module that a phase asked for late gets to see the request's head.
    #[inline]
    pub(crate) fn introduce_module(&mut self) {
        if !self.downstream_modules_ctx.is_empty() {
            let request = self.downstream_session.req_header();
            self.downstream_modules_ctx.introduce(request);
        }
    }

    /// Shows the request to [`Self::upstream_compression`]: the client's capabilities decide, not the fields sent
    /// to the upstream. Called again before the response, because a phase may have turned it on in between.
    #[inline]
    pub(crate) fn introduce_compression(&mut self) {
        if self.upstream_compression.is_enabled() {
            let client = self.downstream_session.req_header();
            self.upstream_compression.request_filter(client);
            self.upstream_compression.stand_ahead_of_filters();
        }
    }

    fn queue(&mut self, task: HttpTask) -> Result<()> {
        DownstreamHalf::queue(&mut *self.downstream_session, task)
    }

    /// Writes a response's header; informational responses may precede the final one. `end_of_stream`
    /// means that no body follows. Returns when the header has been written.
    ///
    /// A final response without a `Date` gets one. Without a `Content-Length`, its body is sent in chunks over
    /// HTTP/1.1, and until the connection closes over HTTP/1.0.
    pub async fn write_response_header(
        &mut self,
        mut resp: Box<ResponseHeader>,
        end_of_stream: bool,
    ) -> Result<()> {
        self.introduce_module();
        self.downstream_modules_ctx
            .response_header_filter(&mut resp, end_of_stream)
            .await?;
        let end = end_of_stream && !resp.status.is_informational();
        self.queue(HttpTask::Header(resp, end))?;
        self.downstream_session
            .write_downstream_proxy_tasks()
            .await
            .map(|_| ())
    }

    /// [`Session::write_response_header`] for a header that the caller keeps.
    pub async fn write_response_header_ref(
        &mut self,
        resp: &ResponseHeader,
        end_of_stream: bool,
    ) -> Result<(), Box<Error>> {
        self.write_response_header(Box::new(resp.clone()), end_of_stream)
            .await
    }

    /// Writes a piece of the response's body; `end_of_stream` marks the last one. Returns when it has
    /// been written.
    pub async fn write_response_body(
        &mut self,
        mut body: Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        self.downstream_modules_ctx
            .response_body_filter(&mut body, end_of_stream)?;
        if body.is_none() && !end_of_stream {
            return Ok(());
        }
        self.queue(HttpTask::Body(body, end_of_stream))?;
        self.downstream_session
            .write_downstream_proxy_tasks()
            .await
            .map(|_| ())
    }

    /// Writes a whole response: head and body leave together.
    ///
    /// Replaces `Content-Length` by the length of the body as the modules leave it. A 204 gets none; a response to a
    /// HEAD and a 304 without a body keep the length of the representation they describe. Adds a
    /// `Date` if there is none.
    pub async fn write_response(
        &mut self,
        mut header: Box<ResponseHeader>,
        body: Bytes,
    ) -> Result<()> {
        let body = self.filter_whole_response(&mut header, body).await?;
        self.queue(HttpTask::Header(header, body.is_empty()))?;
        if !body.is_empty() {
            self.queue(HttpTask::Body(Some(body), true))?;
        }
        self.downstream_session
            .write_downstream_proxy_tasks()
            .await
            .map(|_| ())
    }

    /// Passes a response with a complete body through the modules, and sets the resulting length in its
    /// header. Returns the body.
    async fn filter_whole_response(
        &mut self,
        header: &mut ResponseHeader,
        body: Bytes,
    ) -> Result<Bytes> {
        let head_request = self.req_header().line().method == Method::HEAD;
        declare_whole_body(header, body.len(), head_request)?;
        self.introduce_module();
        let modules = &mut self.downstream_modules_ctx;
        modules
            .response_header_filter(header, body.is_empty())
            .await?;
        if body.is_empty() {
            return Ok(body);
        }
        let mut filtered = Some(body);
        modules.response_body_filter(&mut filtered, true)?;
        let body = filtered.unwrap_or_default();
        declare_whole_body(header, body.len(), head_request)?;
        Ok(body)
    }

    /// Queues a piece of the response and writes it.
    pub async fn send_downstream_proxy_task(&mut self, task: HttpTask) -> Result<()> {
        self.write_response_tasks(vec![task]).await.map(|_| ())
    }

    /// Whether pieces may be queued; on by default.
    pub fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.downstream_session.set_proxy_tasks_enabled(enabled);
    }

    /// Whether queued pieces wait to be written.
    pub fn has_pending_downstream_tasks(&self) -> bool {
        self.downstream_session.has_pending_downstream_proxy_tasks()
    }

    /// Writes the queued pieces; `true` if the response is complete with them.
    pub async fn write_downstream_proxy_tasks(&mut self) -> Result<bool> {
        self.downstream_session.write_downstream_proxy_tasks().await
    }

    /// Passes pieces of a response through the modules and writes them; `true` if the response is
    /// complete with them.
    pub async fn write_response_tasks(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= task.is_end();
            if let HttpTask::Failed(error) = task {
                return Err(error);
            }
            self.queue_through_modules(task).await?;
        }
        self.downstream_session
            .write_downstream_proxy_tasks()
            .await?;
        Ok(end)
    }

    /// Passes a piece of a response through the modules and queues it.
    pub(crate) async fn queue_through_modules(&mut self, task: HttpTask) -> Result<()> {
        let task = self.filter_through_modules(task).await?;
        self.queue(task)
    }

    async fn filter_through_modules(&mut self, mut task: HttpTask) -> Result<HttpTask> {
        self.introduce_module();
        let modules = &mut self.downstream_modules_ctx;
        match &mut task {
            HttpTask::Header(header, end) => modules.response_header_filter(header, *end).await?,
            HttpTask::Body(data, end) => modules.response_body_filter(data, *end)?,
            HttpTask::Trailer(trailers) => {
                if let Some(rest) = modules.response_trailer_filter(trailers)? {
                    self.queue(HttpTask::Body(Some(rest), false))?;
                }
            }
            HttpTask::Done => {
                if let Some(rest) = modules.response_done_filter()? {
                    return Ok(HttpTask::Body(Some(rest), true));
                }
            }
            HttpTask::UpgradedBody(..) | HttpTask::Failed(_) => {}
        }
        Ok(task)
    }

    /// Says that the upstream was asked without the client's conditions and ranges.
    pub fn mark_upstream_headers_mutated_for_cache(&mut self) {
        self.upstream_headers_mutated_for_cache = true;
    }

    /// See [`Session::mark_upstream_headers_mutated_for_cache`].
    pub fn upstream_headers_mutated_for_cache(&self) -> bool {
        self.upstream_headers_mutated_for_cache
    }

    /// Payload bytes of the upstream's response so far, in the current try.
    pub fn upstream_body_bytes_received(&self) -> usize {
        self.upstream.body_received
    }

    /// Payload bytes sent to the upstream in the current try; `None` before the first try.
    pub fn upstream_body_bytes_sent(&self) -> Option<usize> {
        self.upstream.body_sent
    }

    /// How long the upstream kept queued bytes waiting.
    pub fn upstream_write_pending_time(&self) -> Duration {
        self.upstream.write_pending
    }

    /// Whether the process was already shutting down when this request began.
    pub fn is_process_shutting_down(&self) -> bool {
        self.shutting_down
    }

    /// Messages that a client sends beside its request: none. A session of a [protocol of your own] hands out what
    /// its client sends as pieces of the body.
    ///
    /// # Errors
    /// None.
    ///
    /// [protocol of your own]: pingora_core::protocols::http::custom::SessionCustom
    pub fn downstream_custom_message(&mut self) -> Result<Option<CustomMessages>> {
        Ok(None)
    }

    /// The response whose head the filters have seen will not be sent: another one replaces it.
    #[cold]
    pub(crate) fn discard_response(&mut self) {
        self.upstream_compression.response_discarded();
        self.downstream_modules_ctx.response_discarded();
        self.upstream_modules_ctx.response_discarded();
    }

    /// Sets the observer of the try at the upstream that
    /// [`upstream_peer`](crate::ProxyHttp::upstream_peer) is about to return. It is told exactly once how
    /// the try ended, in every case. Each try has its own observer; if one was set but
    /// not used, it is told that the try was cancelled.
    ///
    /// `None` reports to no observer, and costs nothing.
    pub fn report_attempt(&mut self, attempt: Option<Box<dyn Attempt>>) {
        self.attempt = attempt.map(ReportedAttempt);
    }

    /// The tries of this request that have failed so far, in order: so that
    /// [`upstream_peer`](crate::ProxyHttp::upstream_peer) can choose another peer. While a peer is chosen
    /// for a second try at the same time, the slow one stands last; it leaves the list if it answers first.
    pub fn failed_tries(&self) -> &[FailedTry] {
        self.rare.as_ref().map_or(&[], |rare| &rare.failed_tries)
    }

    /// When the whole request has to be over.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.rare.as_ref()?.until
    }

    /// When the request's body has to be there.
    pub(crate) fn body_until(&self) -> Option<Instant> {
        self.rare.as_ref()?.body_until
    }

    /// How fast the request's body has to come, from now on.
    pub(crate) fn receive_rate(&self) -> Option<MinRate> {
        let rate = self.rare.as_ref()?.min_receive_rate?;
        Some(MinRate::begin(rate, Instant::now()))
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Records from now on what this request's time goes into, for [`Session::times`]; the place for it is
    /// [`early_request_filter`](crate::ProxyHttp::early_request_filter). Where it is called again, nothing
    /// changes. It costs one allocation, one more for the tries, and a few looks at the clock; a request that
    /// does not record costs nothing.
    pub fn record_times(&mut self) {
        self.times.get_or_insert_with(RequestTimes::begin);
    }

    /// The time that this request has spent on each step so far; `None` unless [`Session::record_times`] was called.
    pub fn times(&self) -> Option<&RequestTimes> {
        self.times.as_deref()
    }

    /// Limits the time from now until the whole request is over, all tries included; `None`: without
    /// limit, which is the default. Tunnels are ended as well.
    ///
    /// If time is up, the client gets 408 if the rest of its request is missing, and 504 otherwise; if
    /// part of the response went to it already, its connection is closed. Connections, exchanges and
    /// waits ahead of retries are limited; a phase is not interrupted.
    pub fn limit_request(&mut self, limit: Option<Duration>) {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        if until.is_some() || self.rare.is_some() {
            self.rare().until = until;
        }
    }

    /// Limits the time from now until the request's body has arrived, however steadily it does; `None`:
    /// without limit, which is the default. Applies while the body is passed on; not to tunnels. If time
    /// is up, the client gets 408.
    pub fn limit_request_body(&mut self, limit: Option<Duration>) {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        if until.is_some() || self.rare.is_some() {
            self.rare().body_until = until;
        }
    }

    /// Sets the minimum rate at which the client has to send its request's body, in bytes per second, averaged over
    /// ten seconds; `None` and 0: any rate, which is the default. Time in which the body is not read, because the
    /// upstream takes no more of it, does not count. Applies while the body is passed on or
    /// [buffered](Self::buffer_request_body), in each try anew; not to tunnels. A client that is too slow gets 408.
    ///
    /// [`set_min_send_rate`](ServerSession::set_min_send_rate) is the same for the response.
    pub fn set_min_receive_rate(&mut self, bytes_per_second: Option<usize>) {
        let rate = bytes_per_second.and_then(NonZeroUsize::new);
        if rate.is_some() || self.rare.is_some() {
            self.rare().min_receive_rate = rate;
        }
    }

    /// The head of the upstream's response has arrived.
    pub(crate) fn attempt_responded(&mut self, status: StatusCode) {
        let is_answer = !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS;
        self.upstream.responded |= is_answer;
        if is_answer {
            self.meter.answered();
        }
        if let Some(times) = self.times.as_mut().filter(|_| is_answer) {
            times.responded();
        }
        if let Some(attempt) = self.attempt.as_mut().filter(|_| is_answer) {
            attempt.0.responded(status.as_u16());
        }
    }

    /// Takes the observer of the current try, ahead of another try at the same time.
    pub(crate) fn take_attempt(&mut self) -> Option<Box<dyn Attempt>> {
        self.attempt.take().map(|reported| reported.0)
    }

    /// The current try has ended.
    pub(crate) fn end_attempt(&mut self, outcome: impl FnOnce() -> Outcome) {
        if let Some(times) = &mut self.times {
            times.ended();
        }
        if let Some(attempt) = self.attempt.take() {
            attempt.0.end(outcome());
        }
    }

    /// Records that a phase's default ran for the type `T`.
    #[inline]
    pub(crate) fn note_default<T: ?Sized>(&mut self, phase: u8) {
        self.noted.note::<T>(phase);
    }
}

impl BalancedRequest for Session {
    fn report_attempt(&mut self, attempt: Option<Box<dyn Attempt>>) {
        Session::report_attempt(self, attempt);
    }

    fn may_be_repeated(&self) -> bool {
        let idempotent = self.req_header().line().method.is_idempotent();
        idempotent && self.can_replay()
    }

    fn request_head(&self) -> Option<&RequestHeader> {
        Some(self.req_header())
    }

    fn client_ip(&self) -> Option<IpAddr> {
        Some(self.client_addr()?.as_inet()?.ip())
    }
}

impl AsRef<ServerSession> for Session {
    fn as_ref(&self) -> &ServerSession {
        &self.downstream_session
    }
}

impl AsMut<ServerSession> for Session {
    fn as_mut(&mut self) -> &mut ServerSession {
        &mut self.downstream_session
    }
}

impl Deref for Session {
    type Target = ServerSession;

    fn deref(&self) -> &Self::Target {
        &self.downstream_session
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.downstream_session
    }
}
