//! A response on its way from an upstream to the client and, if it may be stored, into the cache.
//!
//! The store is served first, so that the entry exists when the client sees the end. A store that is slow or
//! fails is given up; the client never is. The fill does not wait for a client
//! that has its response or has left: the missing amount and other readers decide whether the rest is still
//! fetched.

use super::behind::Behind;
use super::flush_downstream;
use super::forward::Forward;
use super::hit::Part;
use super::outgoing::{Outgoing, declared_length};
use crate::cache::figures::count_fill_without_client;
use crate::cache::within;
use crate::engine::deadline::{DOWNSTREAM_WRITE, PROGRESS, expired};
use crate::engine::{Failure, Pace, Until};
use crate::range::Cut;
use crate::{ProxyHttp, ProxyWarnLogContext};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONNECTION, TRAILER, TRANSFER_ENCODING, UPGRADE};
use pingora_cache::{CachePhase, NoCacheReason, RespCacheable};
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// A store that takes longer than this for a piece is given up.
const STORE_LIMIT: Duration = Duration::from_secs(1);
/// The most bytes of a response that are still fetched for the store alone.
const NEARLY_DONE: u64 = 1024 * 1024;
/// The longest time that the rest is fetched for the store alone.
const REST: Duration = Duration::from_secs(60);

/// The work done beside passing a response to the client.
///
/// ```text
/// storing ── end ──▶ stored            the client    gets all, or a part (cut), or only the head
///    └─ refused, slow, too large ─▶ not stored       is served ──▶ has all, or has left
///
/// the client has no room, and the store can be read: it reads behind the store (behind.rs)
/// ```
pub(super) struct Filling {
    /// The length of the body by its head.
    declared: Option<u64>,
    received: u64,
    pub(super) is_storing: bool,
    cut: Option<Cut>,
    /// The client gets no more of it.
    pub(super) is_served: bool,
    /// The client left with this.
    left: Option<BError>,
    /// The bytes of the body that were passed on to the client.
    pub(super) passed: usize,
    pub(super) behind: Behind,
}

/// The step after the cache has seen a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The head goes on to the client.
    GoesOn,
    /// The head is dropped: another response is served.
    Replaced,
}

impl<SV, C> Forward<'_, '_, SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    /// Shows the head of a response to the cache, and turns it into the requested form.
    pub(super) async fn show_cache(
        &mut self,
        header: &mut ResponseHeader,
        end: bool,
        upgraded: bool,
    ) -> Result<Seen> {
        if header.line().status.is_informational() {
            return Ok(Seen::GoesOn);
        }
        let inner = &self.proxy.inner;
        if let Some(ready) = inner.ready_cache(self.ctx)
            && !self.session.req_header().line().method.is_safe()
        {
            // Before the client sees that it has changed something.
            ready.invalidate(self.session, header).await;
        }
        let seen = self.show_final(header, end, upgraded).await?;
        if let Some(ready) = inner.ready_cache(self.ctx)
            && seen == Seen::GoesOn
        {
            // Otherwise it was turned off.
            let phase = self.session.cache.phase();
            let is_stored = matches!(phase, CachePhase::Miss | CachePhase::Expired);
            ready.add_status(self.session, is_stored, header);
        }
        Ok(seen)
    }

    async fn show_final(
        &mut self,
        header: &mut ResponseHeader,
        end: bool,
        upgraded: bool,
    ) -> Result<Seen> {
        let status = header.line().status;
        if upgraded {
            self.session.cache.disable(NoCacheReason::OriginNotCache);
            return Ok(Seen::GoesOn);
        }
        if self.session.cache.bypassing() {
            let answer = self.inner_cacheable(header)?;
            if answer.is_cacheable() {
                self.session.cache.response_became_cacheable();
            }
            return Ok(Seen::GoesOn);
        }
        if self.session.cache.phase() == CachePhase::Stale {
            if status == StatusCode::NOT_MODIFIED {
                self.revalidate(header).await?;
                self.flow.exchange.response_ended();
                return Ok(Seen::Replaced);
            }
            if self.stale_stands_in(header) {
                self.read_dismissed(header, end)?;
                return Ok(Seen::Replaced);
            }
        }
        let mut is_storing = false;
        if self.session.cache.enabled() {
            is_storing = self.begin_to_store(header).await?;
        }
        let mut filling = Filling {
            declared: declared_length(header),
            received: 0,
            is_storing,
            cut: None,
            is_served: false,
            left: None,
            passed: 0,
            behind: Behind::default(),
        };
        if self.session.upstream_headers_mutated_for_cache() {
            let fits = self
                .proxy
                .fit_to_request(self.session, self.ctx, header, false);
            match fits? {
                Part::Whole => {}
                Part::Nothing => filling.is_served = true,
                Part::One(range) => filling.cut = Some(Cut::one(range)),
                Part::Several(info) => filling.cut = Some(Cut::several(*info)),
            }
        }
        if end && is_storing {
            self.finish_storing(0).await;
            filling.is_storing = false;
        }
        if !end && (filling.is_storing || filling.is_served || filling.cut.is_some()) {
            self.filling = Some(Box::new(filling));
        }
        Ok(Seen::GoesOn)
    }

    fn inner_cacheable(&mut self, header: &ResponseHeader) -> Result<RespCacheable> {
        let inner = &self.proxy.inner;
        let answer = inner.response_cache_filter(self.session, header, self.ctx)?;
        // Parts and confirmations are not responses of their own, even if the phase says so.
        let is_part = matches!(
            header.line().status,
            StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
        );
        Ok(if is_part && answer.is_cacheable() {
            RespCacheable::Uncacheable(NoCacheReason::OriginNotCache)
        } else {
            answer
        })
    }

    /// The upstream has confirmed the stale response.
    async fn revalidate(&mut self, header: &ResponseHeader) -> Result<()> {
        if !self.session.cache.is_confirmed_by(header) {
            // The next try asks without a condition.
            self.session.cache.cache_miss();
            let context = "the upstream confirmed another response than the one that is stored";
            let mut error = Error::explain(ErrorType::InvalidHTTPHeader, context).into_up();
            error.set_retry(true);
            return Err(error);
        }
        let merged = self.session.cache.revalidate_merge_header(header);
        match self.inner_cacheable(&merged)? {
            RespCacheable::Cacheable(meta) => {
                let confirmed = self.session.cache.revalidate_cache_meta(meta).await;
                if let Err(error) = confirmed {
                    log::warn!("the storage could not take a confirmation: {error}");
                }
            }
            RespCacheable::Uncacheable(reason) => {
                self.session.cache.response_became_uncacheable(reason);
                self.session.cache.revalidate_uncacheable(merged, reason);
            }
        }
        Ok(())
    }

    /// Whether the stale response is served instead of this error (RFC 5861 section 4).
    fn stale_stands_in(&mut self, header: &ResponseHeader) -> bool {
        let status = header.line().status.as_u16();
        if !matches!(status, 500 | 502 | 503 | 504) || !self.session.cache.can_serve_stale_error() {
            return false;
        }
        let context = "the upstream's response is dropped in favour of what is stored";
        let error = Error::explain(ErrorType::HTTPStatus(status), context).into_up();
        let inner = &self.proxy.inner;
        if !inner.should_serve_stale(self.session, self.ctx, Some(&error)) {
            return false;
        }
        self.plan.serves_stale = true;
        self.drop_response(error);
        true
    }

    /// Begins to store the response with this head, if it may be.
    async fn begin_to_store(&mut self, header: &ResponseHeader) -> Result<bool> {
        let meta = match self.inner_cacheable(header)? {
            RespCacheable::Cacheable(meta) => meta,
            RespCacheable::Uncacheable(reason) => {
                self.session.cache.response_became_uncacheable(reason);
                self.session.cache.disable(reason);
                return Ok(false);
            }
        };
        let declared = declared_length(header).and_then(|it| usize::try_from(it).ok());
        let most = self.session.cache.max_file_size_bytes();
        if let (Some(declared), Some(most)) = (declared, most)
            && declared > most
        {
            self.too_large();
            return Ok(false);
        }
        let session = &mut *self.session;
        let mut meta = meta;
        for name in [CONNECTION, TRANSFER_ENCODING, TRAILER, UPGRADE] {
            meta.response_header_mut().remove_header(&name);
        }
        let request = session.downstream_session.req_header();
        let variance = self.proxy.inner.cache_vary_filter(&meta, self.ctx, request);
        session.cache.set_cache_meta(meta);
        session.cache.update_variance(variance);
        session.cache.response_became_cacheable();
        let begun = within(STORE_LIMIT, session.cache.set_miss_handler());
        if let Err(error) = begun.await {
            self.give_up_storing(&error);
            return Ok(false);
        }
        // The client is served beside the store, not from it.
        drop(session.cache.take_body_reader());
        Ok(true)
    }

    fn too_large(&mut self) {
        let reason = NoCacheReason::ResponseTooLarge;
        self.session.cache.response_became_uncacheable(reason);
        self.session.cache.disable(reason);
    }

    fn give_up_storing(&mut self, error: &Error) {
        if *error.etype() == pingora_cache::max_file_size::ERR_RESPONSE_TOO_LARGE {
            self.session.cache.disable(NoCacheReason::ResponseTooLarge);
        } else {
            log::warn!("a response is not stored, since the storage failed: {error}");
            self.session.cache.disable(NoCacheReason::StorageError);
        }
    }

    async fn finish_storing(&mut self, length: u64) {
        let finished = within(STORE_LIMIT, async {
            self.session.cache.finish_miss_handler().await?;
            match usize::try_from(length) {
                Ok(length) if length > 0 => self.session.cache.declare_length(length).await,
                _ => Ok(()),
            }
        });
        if let Err(error) = finished.await {
            self.give_up_storing(&error);
        }
    }

    /// Queues the head of a response that is stored, or of which the client gets a part.
    pub(super) async fn queue_filled_head(&mut self, header: Box<ResponseHeader>) -> Result<()> {
        let is_served = self.filling.as_ref().is_some_and(|it| it.is_served);
        if !is_served {
            self.out.hold(&mut self.flow, header);
            self.let_store_set_pace();
            return Ok(());
        }
        Outgoing::queue_head(self.session, header, true)?;
        self.flow.exchange.head_passed_on(false);
        self.client_is_served().await
    }

    /// The client has its whole response.
    async fn client_is_served(&mut self) -> Result<()> {
        if let Some(filling) = &mut self.filling {
            filling.is_served = true;
            filling.cut = None;
            if filling.behind.stop() {
                // There is no rest.
                self.flow.exchange.response_ended();
                return Ok(());
            }
        }
        if !self.is_worth_finishing() {
            self.session
                .cache
                .disable(NoCacheReason::Custom("not worth finishing"));
            self.flow.exchange.response_ended();
            return Ok(());
        }
        flush_downstream(&mut *self.session.downstream_session).await;
        self.limit_rest();
        Ok(())
    }

    fn limit_rest(&mut self) {
        let rest = Instant::now() + REST;
        self.flow.turn.limit_until(Until {
            end: Some(self.session.until().map_or(rest, |end| end.min(rest))),
            ..Until::default()
        });
    }

    /// Whether the rest of the response is fetched for the store alone: if little is missing, or other requests
    /// read it or wait for it.
    fn is_worth_finishing(&self) -> bool {
        let Some(filling) = self.filling.as_ref().filter(|it| it.is_storing) else {
            return false;
        };
        let missing = filling
            .declared
            .map(|it| it.saturating_sub(filling.received));
        missing.is_some_and(|missing| missing <= NEARLY_DONE || missing <= filling.received)
            || self.session.cache.is_awaited()
    }

    /// A piece of a response that is stored, or of which the client gets a part.
    pub(super) async fn on_filled(&mut self, mut data: Option<Bytes>, end: bool) -> Result<()> {
        if !self.session.upstream_modules_ctx.is_empty() {
            let modules = &mut self.session.upstream_modules_ctx;
            modules.response_body_filter(&mut data, end)?;
        }
        if self.filters_body() {
            self.note_figures();
            let inner = &self.proxy.inner;
            let delay =
                inner.upstream_response_body_filter(self.session, &mut data, end, self.ctx)?;
            if let Some(delay) = delay.filter(|delay| !delay.is_zero()) {
                self.flow.turn.delay_response(delay);
            }
        }
        // A reader behind the store has to be there before the store has the end.
        let falls_behind = !end && self.falls_behind().await;
        self.store(data.clone(), end).await?;
        if falls_behind || self.is_behind() {
            self.left_to_reader(data, end);
            return Ok(());
        }
        self.pass_on(data, end).await?;
        if end {
            self.flow.exchange.response_ended();
        }
        Ok(())
    }

    /// Passes the received data on to the client, as far as the client gets it.
    pub(super) async fn pass_on(&mut self, data: Option<Bytes>, end: bool) -> Result<()> {
        let Some(filling) = &mut self.filling else {
            return Ok(());
        };
        filling.passed += data.as_ref().map_or(0, Bytes::len);
        let mut is_last = end;
        let mut pieces = VecDeque::new();
        match (&mut filling.cut, data) {
            (Some(cut), Some(data)) => {
                cut.push(data, &mut pieces);
                is_last = cut.is_over();
                if end && !is_last {
                    let context = "the response is shorter than its head says";
                    return Err(Error::explain(ErrorType::InternalError, context).into_up());
                }
            }
            (_, data) => pieces.extend(data),
        }
        if !filling.is_served {
            while let Some(piece) = pieces.pop_front() {
                self.pass_piece(Some(piece), false).await?;
            }
            if is_last {
                self.pass_piece(None, true).await?;
            }
        }
        if !end && is_last && self.filling.as_ref().is_some_and(|it| !it.is_served) {
            self.client_is_served().await?;
        }
        Ok(())
    }

    /// Passes a piece to the client, through the phases that run for every client.
    async fn pass_piece(&mut self, mut data: Option<Bytes>, end: bool) -> Result<()> {
        if self.session.upstream_compression.is_enabled() {
            data = self.compress(data, end)?;
        }
        if self.filters_body() {
            let inner = &self.proxy.inner;
            let delay = inner.response_body_filter(self.session, &mut data, end, self.ctx)?;
            if let Some(delay) = delay.filter(|delay| !delay.is_zero()) {
                self.flow.turn.delay_response(delay);
            }
        }
        if self.waits_for_body() {
            self.wait_for_body(&mut data, end).await?;
        }
        if !self.session.downstream_modules_ctx.is_empty() {
            let modules = &mut self.session.downstream_modules_ctx;
            modules.response_body_filter(&mut data, end)?;
        }
        self.queue_body(data, end)
    }

    /// Stores a piece. A store that is slow or fails is given up.
    async fn store(&mut self, data: Option<Bytes>, end: bool) -> Result<()> {
        let length = data.as_ref().map_or(0, Bytes::len);
        let Some(filling) = &mut self.filling else {
            return Ok(());
        };
        filling.received += length as u64;
        let (received, declared) = (filling.received, filling.declared);
        if !filling.is_storing {
            return Ok(());
        }
        if end {
            filling.is_storing = false;
        }
        let session = &mut *self.session;
        if !session.cache.track_body_bytes_for_max_file_size(length) {
            self.too_large();
        } else if let Some(miss) = session.cache.miss_handler() {
            let written = miss.write_body(data.unwrap_or_default(), end);
            if let Err(error) = within(STORE_LIMIT, written).await {
                self.give_up_storing(&error);
            } else if end && declared.is_some_and(|declared| declared != received) {
                // A filter changed the body, and left the length.
                self.session.cache.disable(NoCacheReason::InternalError);
            } else if end {
                self.finish_storing(received).await;
            }
        }
        if !self.session.cache.enabled()
            && let Some(filling) = &mut self.filling
        {
            filling.is_storing = false;
            if filling.is_served {
                // The rest has no reader.
                self.flow.exchange.response_ended();
            } else if !filling.behind.is_on() {
                self.flow.turn.set_pace(Pace::OfClient);
            }
        }
        Ok(())
    }

    /// The client has left, or has its response. Returns whether the rest is fetched nevertheless.
    #[cold]
    pub(super) fn outlives_client(&mut self, failure: Failure) -> Result<(), Failure> {
        let error = match failure {
            Failure::DownstreamFailed(error) | Failure::DownstreamUnwritable(error) => error,
            Failure::Expired(kind @ (DOWNSTREAM_WRITE | PROGRESS)) => expired(kind),
            other => return Err(other),
        };
        if !self.is_worth_finishing() {
            return Err(Failure::DownstreamFailed(error));
        }
        let context = ProxyWarnLogContext::DownstreamCache;
        let inner = &self.proxy.inner;
        if !inner.suppress_proxy_warn_log(self.session, self.ctx, &error, context) {
            let summary = inner.request_summary(self.session, self.ctx);
            log::warn!("the rest is fetched for the cache, without the client: {error}, {summary}");
        }
        count_fill_without_client();
        self.flow.exchange.client_left();
        self.limit_rest();
        if let Some(filling) = &mut self.filling {
            filling.behind.stop();
        }
        if let Some(filling) = &mut self.filling
            && !std::mem::replace(&mut filling.is_served, true)
        {
            filling.left = Some(error);
        }
        Ok(())
    }

    /// How the exchange ended for the client.
    pub(super) fn end_filling(&mut self, ended: Result<()>) -> Result<()> {
        let Some(filling) = self.filling.take() else {
            return ended;
        };
        if ended.is_err() && filling.is_storing {
            // Incomplete, so nothing is stored.
            self.session.cache.abort_fill();
        }
        // The upstream is done, even if the client is not.
        self.plan.drained |= filling.behind.has_all();
        match (ended, filling.left) {
            (Ok(()), Some(left)) => {
                // The upstream is not at fault.
                self.plan.drained = true;
                Err(left)
            }
            (Err(_), None) if filling.is_served => {
                // The client has what it asked for.
                self.session.cache.disable(NoCacheReason::UpstreamError);
                Ok(())
            }
            (ended, _) => ended,
        }
    }
}
