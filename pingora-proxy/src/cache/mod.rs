//! A request's way through the cache, up to the upstream or to the response that was found.
//!
//! ```text
//! request_cache_filter ─ is_purge? ─▶ purge
//!    └ enabled ─ cache_key_callback ─ predicted not to be cacheable? ─▶ bypass, upstream
//!         ┌──────────────────────────────────────────────────────────┐
//!         ▼                                                          │ again
//!      look-up ─ not found ─ another fetches? ─ waits ───────────────┤
//!         │                        └ no: cache_miss ─▶ upstream      │
//!         ├ another variant (cache_vary_filter) ─────────────────────┤
//!         └ found ─ cache_hit_filter ─ fresh ─▶ serve ─ failed ──────┘
//!                          └ stale ─ may be served (should_serve_stale)? ─ refresh in the background, serve
//!                                └ no: another fetches? ─ waits, again; else upstream, with a condition
//! ```
//!
//! Every wait is bounded: by the lock's age and the request's own limit, and waits by the number of retries.

pub(crate) mod figures;
mod passed_on;
mod purge;
mod ready;
mod serve;

pub use ready::ReadyCache;
pub(crate) use serve::is_unmodified;

use crate::subrequest::{Ctx as SubrequestCtx, SubrequestSpawner};
use crate::{HttpProxy, ProxyHttp, Session};
use pingora_cache::lock::LockWaitOutcome;
use pingora_cache::policy::is_only_if_cached;
use pingora_cache::{
    CacheMeta, CachePhase, ForcedFreshness, HitHandler, HitStatus, NoCacheReason, clock,
};
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_error::{BError, Error, ErrorType, Result};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A storage that takes longer than this for a look-up has failed.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// How often a stored response that can't be read is looked up again.
const MOST_FAILED_HITS: usize = 2;
/// A request waits for others this often if it sets no limit itself.
const MOST_WAITS: usize = 32;

/// The step after the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The request goes to an upstream.
    Upstream,
    /// The client has its answer.
    Answered,
}

/// The step after a look-up, whether or not it found a response.
enum Step {
    Again,
    Upstream,
    Serve,
}

/// The waits of one request.
#[derive(Default)]
struct Waits {
    count: usize,
    /// One of them ended because the response was stored.
    was_stored: bool,
    failed_hits: usize,
}

impl<SV, C> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    /// Serves the request from the cache, if it can be.
    pub(crate) async fn through_cache(
        self: &Arc<Self>,
        session: &mut Session,
        ctx: &mut SV::CTX,
    ) -> Result<Next> {
        if session.cache.phase() == CachePhase::Uninit {
            self.read_query(session, ctx).await?;
            match self.inner.cache_key_callback(session, ctx) {
                Ok(key) => session.cache.set_cache_key(key),
                Err(error) => {
                    log::warn!("not cached, since there is no key: {error}");
                    session.cache.disable(NoCacheReason::InternalError);
                    return Ok(Next::Upstream);
                }
            }
        }
        if !session.cache.cacheable_prediction() {
            session.cache.bypass();
        }
        let mut waits = Waits::default();
        while session.cache.enabled() {
            match self.look_up(session, ctx, &mut waits).await {
                Step::Again => {}
                Step::Upstream => break,
                Step::Serve => match self.serve_stored(session, ctx).await {
                    Ok(()) => return Ok(Next::Answered),
                    Err(failed) => self.after_failed_hit(session, failed, &mut waits)?,
                },
            }
        }
        self.only_if_cached(session, ctx).await
    }

    /// Reads the body of a QUERY that is to become part of the key.
    async fn read_query(&self, session: &mut Session, ctx: &SV::CTX) -> Result<()> {
        let ready = self.inner.ready_cache(ctx);
        match ready.and_then(|ready| ready.unread_query(session)) {
            Some(limits) => session.buffer_request_body(&limits).await.map(drop),
            None => Ok(()),
        }
    }

    /// Answers a client that accepts only a stored response (RFC 9111 section 5.2.1.7).
    async fn only_if_cached(&self, session: &mut Session, ctx: &mut SV::CTX) -> Result<Next> {
        let is_refresh = session.cache.is_subrequest();
        let is_ready = self.inner.ready_cache(ctx).is_some();
        if is_refresh || !is_ready || !is_only_if_cached(session.req_header()) {
            return Ok(Next::Upstream);
        }
        session.cache.disable(NoCacheReason::DeclinedToUpstream);
        session.respond_error(504).await?;
        Ok(Next::Answered)
    }

    async fn look_up(
        self: &Arc<Self>,
        session: &mut Session,
        ctx: &mut SV::CTX,
        waits: &mut Waits,
    ) -> Step {
        let found = match within(LOOKUP_LIMIT, session.cache.cache_lookup()).await {
            Ok(found) => found,
            Err(error) => return storage_failed(session, &error.to_string()),
        };
        let mut status = None;
        if let Some((meta, handler)) = found {
            match self.choose(session, ctx, meta, handler).await {
                Some(chosen) => status = Some(chosen),
                None => return Step::Again,
            }
        }
        match status.filter(|status| !status.is_treated_as_miss()) {
            None => self.missed(session, ctx, waits).await,
            Some(status) if status.is_fresh() => Step::Serve,
            Some(_) => self.stale(session, ctx, waits).await,
        }
    }

    /// Decides about the response that was found; `None`: it is another variant.
    async fn choose(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        mut meta: CacheMeta,
        mut handler: HitHandler,
    ) -> Option<HitStatus> {
        let key = session.cache.maybe_cache_key()?;
        if key.get_variance_key().is_none() {
            let request = session.downstream_session.req_header();
            let variance = self.inner.cache_vary_filter(&meta, ctx, request);
            match variance {
                Some(variance) if !session.cache.cache_vary_lookup(variance, &meta) => return None,
                // A response stored for one variant is not served to a request without any.
                None if meta.variance().is_some() => {
                    session
                        .cache
                        .cache_found(meta, handler, HitStatus::ForceMiss);
                    return Some(HitStatus::ForceMiss);
                }
                _ => {}
            }
        }
        let is_fresh = meta.is_fresh(clock::now());
        let filter = self
            .inner
            .cache_hit_filter(session, &meta, &mut handler, is_fresh, ctx);
        let status = match filter.await {
            Ok(None) if is_fresh => HitStatus::Fresh,
            Ok(None) => HitStatus::Expired,
            Ok(Some(ForcedFreshness::ForceFresh)) => HitStatus::ForceFresh,
            Ok(Some(ForcedFreshness::ForceMiss)) => HitStatus::ForceMiss,
            Ok(Some(ForcedFreshness::ForceExpired)) => {
                meta.disable_serve_stale();
                HitStatus::ForceExpired
            }
            Ok(Some(ForcedFreshness::ForceExpiredServeStale { expired_at })) => {
                meta.expire_at(expired_at.unwrap_or_else(clock::now));
                HitStatus::ForceExpiredServeStale
            }
            Err(error) => {
                log::error!("what is stored is not used, since cache_hit_filter failed: {error}");
                HitStatus::FailedHitFilter
            }
        };
        if session.cache.enabled() {
            session.cache.cache_found(meta, handler, status);
        }
        Some(status)
    }

    async fn missed(&self, session: &mut Session, ctx: &mut SV::CTX, waits: &mut Waits) -> Step {
        let ready = self.inner.ready_cache(ctx);
        if ready.is_some_and(|ready| ready.passes_on(session.req_header())) {
            session.cache.disable(NoCacheReason::DeclinedToUpstream);
            return Step::Upstream;
        }
        if session.cache.is_cache_locked() && !takes_permit(session) {
            return wait(session, waits).await;
        }
        self.inner.cache_miss(session, ctx);
        if session.cache.phase() == CachePhase::CacheKey {
            session.cache.cache_miss();
        }
        Step::Upstream
    }

    async fn stale(
        self: &Arc<Self>,
        session: &mut Session,
        ctx: &mut SV::CTX,
        waits: &mut Waits,
    ) -> Step {
        let is_locked = session.cache.is_cache_locked();
        if is_locked && takes_permit(session) {
            return Step::Upstream;
        }
        let is_writer = session.cache.is_cache_lock_writer();
        if (is_locked || is_writer)
            && session.cache.can_serve_stale_updating()
            && self.inner.should_serve_stale(session, ctx, None)
            && (is_locked || self.refresh(session))
        {
            session.cache.set_stale_updating();
            return Step::Serve;
        }
        // A response that was stored a moment ago and is already stale won't be fresh after the next wait either.
        if is_locked && !waits.was_stored {
            return wait(session, waits).await;
        }
        Step::Upstream
    }

    /// Refreshes the stale response in a request of its own, which gets this one's permit. `false`: it can't.
    fn refresh(self: &Arc<Self>, session: &mut Session) -> bool {
        let nested = session.as_subrequest();
        let too_deep = nested.is_some_and(|parent| parent.is_nested_deepest());
        if too_deep || !session.is_body_empty() {
            return false;
        }
        let Some(key) = session.cache.maybe_cache_key().cloned() else {
            return false;
        };
        let (permit, table) = session.cache.take_write_lock();
        let ctx = SubrequestCtx::builder().cache_write_lock(table, key, permit);
        let spawner = SubrequestSpawner::new(self.clone());
        let spawner = spawner.counted(self.subrequests.clone(), session.shutting_down);
        // It ends by itself; only a graceful stop waits for it.
        drop(spawner.spawn_background_subrequest(session.as_downstream(), ctx.build()));
        true
    }

    /// The stored response could not be read, or the client could not be written to.
    fn after_failed_hit(
        &self,
        session: &mut Session,
        (error, by_store): (BError, bool),
        waits: &mut Waits,
    ) -> Result<()> {
        if !by_store || session.response_written().is_some() {
            return Err(error);
        }
        session.discard_response();
        waits.failed_hits += 1;
        if waits.failed_hits >= MOST_FAILED_HITS {
            log::warn!("what is stored can't be read: {error}");
            session.cache.disable(NoCacheReason::StorageError);
        } else {
            session.cache.forget_found();
        }
        Ok(())
    }
}

/// The result of a storage, if it comes in time. Sets no timer if the result is there at once.
pub(crate) async fn within<T>(
    limit: Duration,
    storage: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut storage = pin!(storage);
    let at_once = poll_fn(|cx| Poll::Ready(storage.as_mut().poll(cx))).await;
    match at_once {
        Poll::Ready(result) => result,
        Poll::Pending => tokio::time::timeout(limit, storage)
            .await
            .unwrap_or_else(|_| {
                let context = "the storage takes too long";
                Error::e_explain(ErrorType::ReadTimedout, context)
            }),
    }
}

/// Whether this is the sub-request that has the permit for what it looked up.
fn takes_permit(session: &mut Session) -> bool {
    let ctx = session.subrequest_ctx.as_mut();
    match ctx.and_then(|ctx| ctx.take_write_lock()) {
        Some(permit) => {
            session.cache.set_write_lock(permit);
            session.cache.tag_as_subrequest();
            true
        }
        None => false,
    }
}

fn storage_failed(session: &mut Session, error: &str) -> Step {
    log::warn!("not cached, since the storage failed: {error}");
    session.cache.disable(NoCacheReason::StorageError);
    Step::Upstream
}

/// Waits for the request that fetches.
async fn wait(session: &mut Session, waits: &mut Waits) -> Step {
    waits.count += 1;
    let most = session.cache.cache_lock_max_retries();
    let reason = match session.cache.cache_lock_wait().await {
        LockWaitOutcome::Done
        | LockWaitOutcome::TransientError
        | LockWaitOutcome::Dangling
        | LockWaitOutcome::AgeTimeout
            if waits.count > most.unwrap_or(MOST_WAITS) =>
        {
            NoCacheReason::CacheLockRetryLimit
        }
        LockWaitOutcome::Done => {
            waits.was_stored = true;
            return Step::Again;
        }
        LockWaitOutcome::TransientError
        | LockWaitOutcome::Dangling
        | LockWaitOutcome::AgeTimeout => return Step::Again,
        LockWaitOutcome::GiveUp => NoCacheReason::CacheLockGiveUp,
        LockWaitOutcome::WaitTimeout => NoCacheReason::CacheLockTimeout,
        LockWaitOutcome::Abandoned { reason, .. } => reason,
    };
    session.cache.disable(reason);
    Step::Upstream
}
