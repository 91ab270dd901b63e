//! One exchange with one upstream: runs the phases for each event of the engine.

use super::dismissed::Dismissed;
use super::fill::{Filling, Seen};
use super::outgoing::Outgoing;
use super::replay::Replay;
use super::{flush_downstream, flush_upstream, opens_tunnel};
use crate::engine::deadline;
use crate::engine::{
    Exchange, Failure, Flow, Handler, Limits, OnFailure, ResponseFlow, Until, drive,
};
use crate::phase::watched;
use crate::retry::Plan;
use crate::{HttpProxy, ProxyHttp, Session, defaults};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_core::protocols::http::client::HttpSession as ClientSession;
use pingora_core::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use pingora_core::protocols::http::websocket::Bridge;
use pingora_core::protocols::http::{HttpTask, ServerSession, hop_by_hop};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::task::{Context, Poll};
use std::time::Duration;

/// The exchange with one upstream, from queueing the request's head to delivering the end of the response
/// to the client.
pub(crate) struct Forward<'a, 'p, SV: ProxyHttp, C: CustomConnector> {
    pub(super) proxy: &'a HttpProxy<SV, C>,
    pub(super) session: &'a mut Session,
    pub(super) ctx: &'a mut SV::CTX,
    pub(super) upstream: &'a mut ClientSession<C::Session>,
    pub(super) flow: Flow,
    /// The proxy's own answer to whether its body filters are needed.
    asks_filters: Option<bool>,
    pub(super) out: Outgoing,
    /// Why the upstream accepts no more data; reported if no answer comes either.
    unwritable: Option<BError>,
    /// Informational responses so far.
    informational: u8,
    /// How long the upstream may be silent in a tunnel: the peer's own setting, without a default.
    tunnel_read: Option<Duration>,
    /// Set if the two sides use different forms of the WebSocket handshake.
    bridge: Option<Box<Bridge>>,
    /// The tries of this request.
    pub(super) plan: &'a mut Plan<'p>,
    /// Where the request's body comes from, if it was buffered.
    pub(super) replay: Option<Box<Replay>>,
    /// The response is dropped, and is read only to keep its connection.
    pub(super) dismissed: Option<Box<Dismissed>>,
    /// Set while the response is stored, or the client gets a part of it.
    pub(super) filling: Option<Box<Filling>>,
}

/// The most informational responses from an upstream; one that sends more is treated as never answering.
const MOST_INFORMATIONAL: u8 = 64;

impl<'a, 'p, SV, C> Forward<'a, 'p, SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    pub(crate) fn new(
        proxy: &'a HttpProxy<SV, C>,
        session: &'a mut Session,
        ctx: &'a mut SV::CTX,
        upstream: &'a mut ClientSession<C::Session>,
        peer: &HttpPeer,
        bridge: Option<Box<Bridge>>,
        plan: &'a mut Plan<'p>,
    ) -> Self {
        let options = peer.get_peer_options();
        let limits = Limits {
            downstream_read: session.get_read_timeout(),
            downstream_write: session.get_write_timeout(),
            upstream_read: peer.read_limit(),
            upstream_write: options.and_then(|o| o.write_timeout),
        };
        Forward {
            asks_filters: proxy.inner.body_filters(session, ctx),
            flow: Flow::new(Exchange::new(), limits),
            out: Outgoing::default(),
            unwritable: None,
            informational: 0,
            tunnel_read: options.and_then(|o| o.read_timeout),
            bridge,
            plan,
            replay: None,
            dismissed: None,
            filling: None,
            proxy,
            session,
            ctx,
            upstream,
        }
    }

    /// Carries the exchange to its end.
    pub(crate) async fn run(&mut self) -> Result<()> {
        self.set_limits();
        let begun = if self.ends_at_once() {
            self.flow.turn.set_request_unseen(true);
            self.end_body()
        } else {
            self.begin_body().await
        };
        let ended = match begun {
            Ok(()) => drive(self).await,
            failed => failed,
        };
        self.end(ended)
    }

    /// [`Self::run`] if the request was sent to its end already, and this first piece of the response
    /// has arrived.
    pub(crate) async fn resume(&mut self, first: HttpTask) -> Result<()> {
        self.set_limits();
        self.flow.exchange.request_ended();
        let ended = match self.on_task(first).await {
            Ok(()) => drive(self).await,
            failed => failed,
        };
        self.end(ended)
    }

    fn set_limits(&mut self) {
        let until = Until {
            request_body: self.session.body_until(),
            request_rate: self.session.receive_rate(),
            response_head: self.plan.head_until(),
            end: self.session.until(),
        };
        if until != Until::default() {
            self.flow.turn.limit_until(until);
        }
    }

    fn end(&mut self, ended: Result<()>) -> Result<()> {
        self.note_figures();
        self.session.upstream.write_pending += self.flow.turn.take_write_pending();
        if self.filling.is_some() {
            self.end_filling(ended)
        } else {
            ended
        }
    }

    /// Tells the phases how many bytes have passed on the upstream's connection.
    pub(super) fn note_figures(&mut self) {
        let figures = &mut self.session.upstream;
        figures.body_received = self.upstream.body_bytes_received();
        figures.body_sent = Some(self.upstream.body_bytes_sent());
    }

    /// Whether [`begin_body`](Self::begin_body) has nothing to do but to tell the upstream that there is no body.
    fn ends_at_once(&mut self) -> bool {
        self.session.is_body_empty()
            && self.session.downstream_session.body_done()
            && self.session.buffered.is_none()
            && !self.sees_request_body()
            && !self.asks_for_tunnel()
    }

    /// Sends the part of the body that was read earlier, or declares that there is none.
    pub(crate) async fn begin_body(&mut self) -> Result<()> {
        self.session.downstream_modules_ctx.request_body_begins();
        self.session.upstream_modules_ctx.request_body_begins();
        if self.asks_for_tunnel() {
            // The following bytes belong to the tunnel: they are not read until it is open.
            self.flow.exchange.request_ended();
            return Ok(());
        }
        if self.session.buffered.is_some() {
            return Box::pin(self.begin_replay()).await;
        }
        let replay = self.session.get_retry_buffer();
        if self.session.retry_buffer_truncated() {
            let context =
                "the body was read ahead of the upstream, and is too long to be sent again";
            return Error::e_explain(ErrorType::InternalError, context);
        }
        let done = self.session.downstream_session.body_done();
        if replay.is_some() || done {
            self.pass_body(replay, done).await?;
        }
        self.flow.turn.set_request_unseen(!self.sees_request_body());
        Ok(())
    }

    /// Whether the request has no body because unframed bytes follow it, on a stream that the end of a
    /// body would close.
    fn asks_for_tunnel(&self) -> bool {
        let (up, down) = (self.upstream.version(), self.session.version());
        let over_http2 = up == Version::HTTP_2 || down == Version::HTTP_2;
        self.bridge.is_some()
            || over_http2 && self.session.req_header().line().method == Method::CONNECT
    }

    /// Passes a piece of the request's body through the filters to the upstream.
    pub(super) async fn pass_body(&mut self, mut piece: Option<Bytes>, end: bool) -> Result<()> {
        if self.sees_request_body() {
            self.filter_request_body(&mut piece, end).await?;
            self.flow.turn.set_request_unseen(!self.sees_request_body());
        }
        if let Some(piece) = piece {
            self.flow.turn.count_bytes(piece.len());
            self.upstream.queue_body(piece)?;
        }
        if end { self.end_body() } else { Ok(()) }
    }

    /// The request's body has ended.
    fn end_body(&mut self) -> Result<()> {
        if let Some(trailers) = self.session.downstream_session.take_request_trailers() {
            self.session.request_trailers = match &self.proxy.aliases {
                Some(aliases) => aliases.apply_to_trailers(trailers),
                None => Some(trailers),
            };
        }
        self.upstream
            .queue_end(self.session.request_trailers.as_deref())?;
        self.flow.exchange.request_ended();
        Ok(())
    }

    /// Whether the request body filters have to run.
    fn filters_request_body(&self) -> bool {
        self.asks_filters
            .unwrap_or(!self.session.noted.is_default(defaults::REQUEST_BODY))
    }

    /// Whether anything needs to see the pieces of the request's body.
    fn sees_request_body(&self) -> bool {
        self.filters_request_body() || self.request_modules() || self.upstream_modules()
    }

    fn request_modules(&self) -> bool {
        !self.session.downstream_modules_ctx.is_empty() && !self.flow.exchange.tunnel
    }

    fn upstream_modules(&self) -> bool {
        !self.session.upstream_modules_ctx.is_empty() && !self.flow.exchange.tunnel
    }

    async fn filter_request_body(&mut self, piece: &mut Option<Bytes>, end: bool) -> Result<()> {
        flush_downstream(&mut *self.session.downstream_session).await;
        if self.request_modules() {
            // The head of a request without a body should say so: it waits for the end.
            if !end {
                flush_upstream(&mut *self.upstream).await;
            }
            let modules = &mut self.session.downstream_modules_ctx;
            modules.request_body_filter(piece, end).await?;
        }
        if self.filters_request_body() {
            self.note_figures();
            let inner = &self.proxy.inner;
            let filter = inner.request_body_filter(self.session, piece, end, self.ctx);
            // The default filter never waits: head and body leave together.
            if !end && size_of_val(&*filter) > 0 {
                flush_upstream(&mut *self.upstream).await;
            }
            filter.await?;
        }
        if self.upstream_modules() {
            if !end {
                flush_upstream(&mut *self.upstream).await;
            }
            let modules = &mut self.session.upstream_modules_ctx;
            modules.request_body_filter(piece, end).await?;
        }
        Ok(())
    }

    /// The upstream modules are the first that see the head of a response.
    async fn show_upstream_modules(
        &mut self,
        header: &mut ResponseHeader,
        end: bool,
    ) -> Result<()> {
        let inner = &self.proxy.inner;
        inner
            .adjust_upstream_modules(self.session, header, end, self.ctx)
            .await?;
        let client = self.session.downstream_session.req_header();
        let modules = &mut self.session.upstream_modules_ctx;
        modules.introduce(client);
        modules.response_header_filter(header, end).await
    }

    async fn on_header(&mut self, mut header: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.session.attempt_responded(header.line().status);
        if let Some(policy) = self.plan.dismisses(header.line().status)
            && self.dismiss(policy, &header)
        {
            return self.read_dismissed(&header, end);
        }
        if let Some(bridge) = &self.bridge {
            bridge.answer(&mut header)?;
        }
        let upgraded = opens_tunnel(self.session, header.line().status);
        let interim = header.line().status.is_informational();
        hop_by_hop::prepare_downstream_response(&mut header);
        // The response to the client uses our own version, independent of the upstream's.
        header.set_version(self.session.version());
        self.note_figures();
        if self.session.upstream_modules_ctx.has_modules() {
            Box::pin(self.show_upstream_modules(&mut header, end)).await?;
        }
        watched!(
            self.session,
            "upstream_response_filter",
            self.proxy
                .inner
                .upstream_response_filter(self.session, &mut header, self.ctx)
        )?;
        if self.session.cache.was_enabled() {
            // Rare, and large: in a place of its own.
            let seen = Box::pin(self.show_cache(&mut header, end, upgraded));
            if seen.await? == Seen::Replaced {
                return Ok(());
            }
        }
        if self.session.upstream_compression.is_enabled() && !upgraded {
            self.session.introduce_compression();
            self.session
                .upstream_compression
                .response_header_filter(&mut header, end);
        }
        watched!(
            self.session,
            "response_filter",
            self.proxy
                .inner
                .response_filter(self.session, &mut header, self.ctx)
        )?;
        if !self.session.downstream_modules_ctx.is_empty() {
            self.session.introduce_module();
            let modules = &mut self.session.downstream_modules_ctx;
            modules.response_header_filter(&mut header, end).await?;
        }
        let status = header.line().status;
        if opens_tunnel(self.session, status) != upgraded || status.is_informational() != interim {
            let context = "a filter changed a status that decides what follows: a final response, a \
                           tunnel or a body";
            return Error::e_explain(ErrorType::InternalError, context);
        }
        if status.is_informational() && !upgraded {
            self.informational += 1;
            if self.informational > MOST_INFORMATIONAL {
                let context = "the upstream sends informational responses without end";
                return Err(Error::explain(ErrorType::H1Error, context).into_up());
            }
            // Each of several tries may grant permission to continue.
            self.session.announced |= status != StatusCode::CONTINUE;
            return self
                .session
                .downstream_session
                .queue(HttpTask::Header(header, false));
        }
        // The header phases may have changed the answer of `body_filters`.
        self.asks_filters = self.proxy.inner.body_filters(self.session, self.ctx);
        if upgraded {
            Outgoing::queue_head(self.session, header, false)?;
            self.flow.exchange.became_tunnel();
            self.flow.turn.limit_upstream_read(self.tunnel_read);
        } else if self.filling.is_some() {
            Box::pin(self.queue_filled_head(header)).await?;
        } else if !end && self.sees_response_body() {
            self.out.hold(&mut self.flow, header);
        } else {
            Outgoing::queue_head(self.session, header, end)?;
            self.flow.exchange.head_passed_on(end);
        }
        self.flow.turn.set_request_unseen(!self.sees_request_body());
        self.flow
            .turn
            .set_response_unseen(!self.sees_response_body());
        Ok(())
    }

    /// Sends a head that waited for the first piece of its body.
    fn release_head(&mut self) -> Result<()> {
        self.out.release_head(self.session, &mut self.flow)
    }

    /// Whether the response body filters have to run.
    pub(super) fn filters_body(&self) -> bool {
        const BOTH: u8 = defaults::UPSTREAM_RESPONSE_BODY | defaults::RESPONSE_BODY;
        self.asks_filters
            .unwrap_or(!self.session.noted.is_default(BOTH))
    }

    /// Whether anything needs to see the pieces of the response's body.
    fn sees_response_body(&self) -> bool {
        let others = self.session.upstream_compression.is_enabled()
            || !self.session.downstream_modules_ctx.is_empty()
            || !self.session.upstream_modules_ctx.is_empty();
        let others = others && !self.flow.exchange.tunnel;
        self.filters_body() || self.waits_for_body() || self.filling.is_some() || others
    }

    async fn on_response_body(&mut self, mut data: Option<Bytes>, end: bool) -> Result<()> {
        self.filter_response_body(&mut data, end)?;
        if self.waits_for_body() {
            Box::pin(self.wait_for_body(&mut data, end)).await?;
        }
        if !self.session.downstream_modules_ctx.is_empty() {
            let modules = &mut self.session.downstream_modules_ctx;
            modules.response_body_filter(&mut data, end)?;
        }
        self.queue_body(data, end)?;
        if end {
            self.flow.exchange.response_ended();
        }
        Ok(())
    }

    /// The filters up to those that may wait.
    fn filter_response_body(&mut self, data: &mut Option<Bytes>, end: bool) -> Result<()> {
        if !self.session.upstream_modules_ctx.is_empty() {
            let modules = &mut self.session.upstream_modules_ctx;
            modules.response_body_filter(data, end)?;
        }
        if self.filters_body() {
            self.filter_body(data, end, true)?;
            self.flow
                .turn
                .set_response_unseen(!self.sees_response_body());
        } else if self.session.upstream_compression.is_enabled() {
            *data = self.compress(data.take(), end)?;
        }
        Ok(())
    }

    /// Whether the filter runs that may wait.
    pub(super) fn waits_for_body(&self) -> bool {
        self.asks_filters.unwrap_or(true)
            && !self.session.noted.is_default(defaults::ASYNC_RESPONSE_BODY)
    }

    /// Runs the filter that may wait. Data queued before leaves meanwhile.
    pub(super) async fn wait_for_body(
        &mut self,
        data: &mut Option<Bytes>,
        end: bool,
    ) -> Result<()> {
        flush_downstream(&mut *self.session.downstream_session).await;
        flush_upstream(&mut *self.upstream).await;
        let inner = &self.proxy.inner;
        inner
            .async_response_body_filter(self.session, data, end, self.ctx)
            .await?;
        self.flow
            .turn
            .set_response_unseen(!self.sees_response_body());
        Ok(())
    }

    fn filter_body(&mut self, data: &mut Option<Bytes>, end: bool, compress: bool) -> Result<()> {
        self.note_figures();
        let inner = &self.proxy.inner;
        let first = inner.upstream_response_body_filter(self.session, data, end, self.ctx)?;
        if compress && self.session.upstream_compression.is_enabled() {
            *data = self.compress(data.take(), end)?;
        }
        let second = inner.response_body_filter(self.session, data, end, self.ctx)?;
        if let Some(delay) = first.max(second).filter(|delay| !delay.is_zero()) {
            self.flow.turn.delay_response(delay);
        }
        Ok(())
    }

    pub(super) fn compress(&mut self, data: Option<Bytes>, end: bool) -> Result<Option<Bytes>> {
        let compression = &mut self.session.upstream_compression;
        let changed = compression.try_response_body_filter(data.as_ref(), end)?;
        Ok(changed.or(data))
    }

    pub(super) fn queue_body(&mut self, data: Option<Bytes>, end: bool) -> Result<()> {
        self.out.queue_body(self.session, &mut self.flow, data, end)
    }

    async fn on_tunnel(&mut self, mut data: Option<Bytes>, end: bool) -> Result<()> {
        if self.filters_body() {
            self.filter_body(&mut data, end, false)?;
            self.flow
                .turn
                .set_response_unseen(!self.sees_response_body());
        }
        if self.waits_for_body() {
            Box::pin(self.wait_for_body(&mut data, end)).await?;
        }
        self.flow
            .turn
            .count_bytes(data.as_ref().map_or(0, Bytes::len));
        self.session
            .downstream_session
            .queue(HttpTask::UpgradedBody(data, end))?;
        if end {
            self.flow.exchange.response_ended();
        }
        Ok(())
    }

    async fn on_trailers(&mut self, mut trailers: Option<Box<HeaderMap>>) -> Result<()> {
        flush_downstream(&mut *self.session.downstream_session).await;
        flush_upstream(&mut *self.upstream).await;
        let modules = &mut self.session.upstream_modules_ctx;
        let rest = modules.response_trailer_filter(&mut trailers)?;
        self.end_body_before_trailers(rest).await?;
        let mut trailers = trailers.unwrap_or_default();
        self.note_figures();
        let inner = &self.proxy.inner;
        inner.upstream_response_trailer_filter(self.session, &mut trailers, self.ctx)?;
        let mut instead = inner
            .response_trailer_filter(self.session, &mut trailers, self.ctx)
            .await?;
        let modules = &mut self.session.downstream_modules_ctx;
        if instead.is_some() {
            modules.response_body_filter(&mut instead, true)?;
            self.queue_body(instead, true)?;
        } else {
            let mut trailers = Some(trailers);
            let rest = modules.response_trailer_filter(&mut trailers)?;
            self.queue_body(rest, false)?;
            self.out.check_first_piece(0, true)?;
            self.release_head()?;
            self.session
                .downstream_session
                .queue(HttpTask::Trailer(trailers))?;
        }
        self.flow.exchange.response_ended();
        Ok(())
    }

    /// No piece of the body was marked as the last. A filter that buffers still has to be told about the
    /// end, and the data that it then releases goes ahead of the trailers.
    async fn end_body_before_trailers(&mut self, mut rest: Option<Bytes>) -> Result<()> {
        if self.filters_body() {
            self.filter_body(&mut rest, true, true)?;
        } else if self.session.upstream_compression.is_enabled() {
            rest = self.compress(rest, true)?;
        }
        if self.waits_for_body() {
            self.wait_for_body(&mut rest, true).await?;
        }
        if rest.is_some() {
            let modules = &mut self.session.downstream_modules_ctx;
            modules.response_body_filter(&mut rest, false)?;
        }
        self.queue_body(rest, false)
    }

    /// If writing failed before reading did, the write error is the more informative one.
    fn explain_upstream(&mut self, error: BError) -> BError {
        match self.unwritable.take() {
            Some(mut earlier) if self.flow.exchange.response == ResponseFlow::Head => {
                earlier.retry = error.retry;
                earlier
            }
            _ => error,
        }
    }
}

impl<SV, C> Handler for Forward<'_, '_, SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    type Down = ServerSession;
    type Up = ClientSession<C::Session>;
    type Error = BError;

    fn parts(&mut self) -> (&mut Flow, &mut Self::Down, &mut Self::Up) {
        let down = &mut *self.session.downstream_session;
        (&mut self.flow, down, self.upstream)
    }

    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.replay.is_some() && self.poll_replay(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.filling.is_some() {
            self.poll_behind(cx)
        } else {
            Poll::Pending
        }
    }

    async fn on_own(&mut self) -> Result<()> {
        // Rare, and large: in places of their own.
        match self.take_read_behind() {
            Some(read) => Box::pin(self.on_read_behind(read)).await,
            None => Box::pin(self.on_replayed()).await,
        }
    }

    async fn on_body(&mut self, piece: Option<Bytes>) -> Result<()> {
        let end = piece.is_none() || (!self.flow.exchange.tunnel && self.session.is_body_done());
        self.pass_body(piece, end).await
    }

    async fn on_task(&mut self, task: HttpTask) -> Result<()> {
        if self.dismissed.is_some() {
            return self.on_dismissed(&task);
        }
        if self.filling.is_some() {
            return match task {
                HttpTask::Body(data, end) => Box::pin(self.on_filled(data, end)).await,
                HttpTask::Failed(error) => Err(error),
                // A stored response has no trailers, and neither has the one that the client gets.
                _ => Box::pin(self.on_filled(None, true)).await,
            };
        }
        match task {
            HttpTask::Header(header, end) => self.on_header(header, end).await,
            HttpTask::Body(data, end) => self.on_response_body(data, end).await,
            HttpTask::UpgradedBody(data, end) => self.on_tunnel(data, end).await,
            HttpTask::Trailer(trailers) => self.on_trailers(trailers).await,
            HttpTask::Done => self.on_response_body(None, true).await,
            HttpTask::Failed(error) => Err(error),
        }
    }

    fn on_held(&mut self) -> Result<()> {
        self.release_head()
    }

    #[cold]
    fn on_failure(&mut self, mut failure: Failure) -> Result<()> {
        if let Some(ended) = self.fail_dismissed(&failure) {
            return ended;
        }
        if self.filling.is_some() {
            match self.outlives_client(failure) {
                Ok(()) => return Ok(()),
                Err(other) => failure = other,
            }
        }
        match failure {
            Failure::UpstreamUnwritable(error) => match self.flow.exchange.upstream_unwritable() {
                OnFailure::End => Err(error),
                OnFailure::GoOn => {
                    self.unwritable = Some(error);
                    Ok(())
                }
            },
            Failure::UpstreamFailed(error) => Err(self.explain_upstream(error)),
            Failure::DownstreamFailed(error) | Failure::DownstreamUnwritable(error) => Err(error),
            Failure::Expired(kind) => Err(deadline::expired(kind)),
        }
    }
}
