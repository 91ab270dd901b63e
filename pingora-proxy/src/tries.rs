//! The tries of a request: choosing an upstream, connecting, exchanging, and what follows a failure.

use crate::flow::forward::Forward;
use crate::flow::pass_upstream_modules;
use crate::phase::watched;
use crate::proxy::{blame_host, frame_request, prepare_request, send_unseen};
use crate::retry::{Failed, FailedTry, Plan};
use crate::{HttpProxy, ProxyHttp, ProxyWarnLogContext, Session};
use http::header::EXPECT;
use http::{Method, StatusCode, Version};
use pingora_cache::{CachePhase, NoCacheReason};
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::http::RecycledRequest;
use pingora_core::protocols::http::client::HttpSession as ClientSession;
use pingora_core::protocols::http::exchange::DownstreamHalf;
use pingora_core::protocols::http::websocket::Bridge;
use pingora_core::upstreams::outcome::Outcome;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_http::RequestHeader;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

impl<SV, C> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    /// Tries upstreams until one answers or no retry is allowed.
    pub(crate) async fn proxy(&self, session: &mut Session, ctx: &mut SV::CTX) -> Result<()> {
        let policy = self.inner.retry_policy(session, ctx);
        let mut plan = Plan::new(policy, self.max_retries);
        loop {
            plan.begin_try();
            session.upstream.responded = false;
            let Err(error) = self.try_upstream(session, ctx, &mut plan).await else {
                return if session.cache.was_enabled() {
                    Box::pin(self.after_upstream(session, ctx)).await
                } else {
                    Ok(())
                };
            };
            let wait = if plan.serves_stale {
                None
            } else {
                self.wait_after(&mut plan, session, ctx, &error)
            };
            match wait {
                None if session.cache.was_enabled() => {
                    return Box::pin(self.serve_instead(session, ctx, error, &plan)).await;
                }
                None => return Err(error),
                Some(wait) if wait.is_zero() => {}
                // Rare, and the timer would make room for itself in every request's future.
                Some(wait) => Box::pin(wait_for_next_try(session, wait)).await?,
            }
        }
    }

    /// The upstream has answered, with a response for the client or a confirmation of the stored one.
    async fn after_upstream(&self, session: &mut Session, ctx: &mut SV::CTX) -> Result<()> {
        match session.cache.phase() {
            CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => {
                let served = self.serve_stored(session, ctx).await;
                served.map_err(|(error, _)| error)
            }
            _ => Ok(()),
        }
    }

    /// The upstream has failed for good: a stale response may be served instead.
    async fn serve_instead(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        error: BError,
        plan: &Plan<'_>,
    ) -> Result<()> {
        let stands_in = plan.serves_stale
            || session.cache.can_serve_stale_error()
                && session.response_written().is_none()
                && self.inner.should_serve_stale(session, ctx, Some(&error));
        if !stands_in {
            return Err(error);
        }
        log::info!("what is stale is served, since the upstream failed: {error}");
        session.discard_response();
        session
            .cache
            .release_write_lock(NoCacheReason::UpstreamError);
        let served = self.serve_stored(session, ctx).await;
        served.map_err(|(error, _)| error)
    }

    /// How long to wait after this error, ahead of the next try; `None`: there is no next one.
    #[cold]
    fn wait_after(
        &self,
        plan: &mut Plan<'_>,
        session: &mut Session,
        ctx: &mut SV::CTX,
        error: &BError,
    ) -> Option<Duration> {
        let tries = plan.tries;
        let vetoed = || !self.inner.allow_retry(session, ctx, error, tries);
        let wait = match plan.after_error(session, error, vetoed) {
            Ok(wait) => wait,
            Err((refusal, allowed)) => {
                if allowed {
                    log::info!("not tried again, since {refusal}: {error}");
                }
                return None;
            }
        };
        session.discard_response();
        let context = ProxyWarnLogContext::UpstreamRetry;
        if !self
            .inner
            .suppress_proxy_warn_log(session, ctx, error, context)
        {
            let summary = self.inner.request_summary(session, ctx);
            log::warn!("try {tries} of {} failed: {error}, {summary}", plan.most);
        }
        Some(wait)
    }

    /// One try: choose an upstream, connect, send, receive.
    async fn try_upstream(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        plan: &mut Plan<'_>,
    ) -> Result<()> {
        let peer = watched!(
            session,
            "upstream_peer",
            self.inner.upstream_peer(session, ctx)
        )?;
        if let Some(times) = &mut session.times {
            times.try_begins(peer.address().clone());
        }
        // Every server that supports WebSocket supports it over HTTP/1.1; few accept extended CONNECT.
        let upgrades = peer.get_alpn() == Some(&ALPN::H2H1) && session.is_upgrade_req();
        let kept = if upgrades {
            None
        } else {
            self.connector.reused_session(&*peer)
        };
        let (upstream, reused) = match kept {
            Some(kept) => (kept, true),
            None => {
                plan.stage = Failed::Connecting;
                let until = earliest(plan.head_until(), session.until());
                match Box::pin(self.connect(&peer, upgrades, until)).await {
                    Ok(connected) => connected,
                    Err(mut error) => {
                        error.as_up();
                        session.end_attempt(|| Outcome::of_connecting(&error));
                        note_failed(session, &peer, &error);
                        return Err(self.inner.fail_to_connect(session, &peer, ctx, error));
                    }
                }
            }
        };
        plan.stage = Failed::Exchanging;
        session.meter.tried(reused);
        if let Some(times) = &mut session.times {
            times.connected(reused);
        }
        let mut tried = Tried {
            peer,
            upstream,
            reused,
        };
        match self.exchange(session, ctx, &mut tried, plan).await {
            Ok(()) => {
                session.end_attempt(|| Outcome::Completed);
                let Tried {
                    peer,
                    upstream,
                    reused,
                } = tried;
                let idle_timeout = peer.idle_timeout();
                self.connector
                    .release_session(upstream, &*peer, idle_timeout);
                // The last write to the client: by the time the client sees it, the connection is
                // released.
                if session.has_pending_downstream_tasks() {
                    let written = session.downstream_session.write_downstream_proxy_tasks();
                    written.await.map(|_| ()).map_err(|error| {
                        self.inner
                            .error_while_proxy(&peer, session, error, ctx, reused)
                    })
                } else {
                    Ok(())
                }
            }
            Err(error) => {
                session.end_attempt(|| {
                    if plan.drained {
                        Outcome::Completed
                    } else {
                        Outcome::of_exchange(&error)
                    }
                });
                note_failed(session, &tried.peer, &error);
                let error = self.end_failed(session, ctx, &tried, error);
                if plan.drained {
                    let Tried { peer, upstream, .. } = tried;
                    let idle_timeout = peer.idle_timeout();
                    self.connector
                        .release_session(upstream, &*peer, idle_timeout);
                }
                Err(error)
            }
        }
    }

    /// Handles an exchange that has failed and whose outcome was already reported. Returns the error as the
    /// phase leaves it.
    pub(crate) fn end_failed(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        tried: &Tried<C::Session>,
        error: BError,
    ) -> BError {
        let Tried {
            peer,
            upstream,
            reused,
        } = tried;
        if error.etype() == &ErrorType::H2Downgrade {
            // The next try, and all requests after it, use the version that the upstream wants.
            self.connector.prefer_h1(&**peer);
        }
        if is_late(&error)
            && let ClientSession::H2(stream) = upstream
        {
            stream.conn.retire_if_silent();
        }
        // A connection that has come to be shared with others counts as one that was kept.
        let reused = *reused || upstream.is_shared();
        self.inner
            .error_while_proxy(peer, session, error, ctx, reused)
    }

    /// A new connection, or a stream of a shared one, by this instant.
    pub(crate) async fn connect(
        &self,
        peer: &HttpPeer,
        http1: bool,
        until: Option<Instant>,
    ) -> Result<(ClientSession<C::Session>, bool)> {
        let connecting = async {
            if http1 {
                self.connector.get_http1_session(peer).await
            } else {
                self.connector.get_http_session(peer).await
            }
        };
        match until {
            None => connecting.await,
            Some(until) => tokio::time::timeout_at(until, connecting)
                .await
                .unwrap_or_else(|_| {
                    let context = "the time of the try was over";
                    Error::e_explain(ErrorType::ConnectTimedout, context)
                }),
        }
    }

    async fn exchange(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        tried: &mut Tried<C::Session>,
        plan: &mut Plan<'_>,
    ) -> Result<()> {
        let bridge = self.send_head(session, ctx, tried).await?;
        session.introduce_compression();
        if let Some(delay) = plan.hedge_delay(session)
            && let Some(delay) = self.inner.hedge_delay(session, ctx, delay)
        {
            return Box::pin(self.exchange_hedged(session, ctx, tried, plan, delay)).await;
        }
        let (upstream, peer) = (&mut tried.upstream, &tried.peer);
        Forward::new(self, session, ctx, upstream, peer, bridge, plan)
            .run()
            .await
    }

    /// Passes the request's head through the phases, and queues it.
    pub(crate) async fn send_head(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        tried: &mut Tried<C::Session>,
    ) -> Result<Option<Box<Bridge>>> {
        let Tried {
            peer,
            upstream,
            reused,
        } = tried;
        let fd = upstream.id();
        let digest = upstream.digest();
        watched!(
            session,
            "connected_to_upstream",
            self.inner
                .connected_to_upstream(session, *reused, peer, fd, digest, ctx)
        )?;
        let aliases = self.aliases.as_deref();
        let caches = session.cache.enabled();
        if !caches && send_unseen(session, upstream, peer, aliases)? {
            return Ok(None);
        }
        let mut copy = RecycledRequest::copy_of(session.req_header());
        let request = copy.get_mut();
        let bridge = prepare_request(request, upstream, peer, aliases)?;
        if session.buffered.is_some() {
            // The client has its permission, and the body is here.
            request.remove_header(&EXPECT);
        }
        if caches {
            ask_for_cache(session, request);
        }
        watched!(
            session,
            "upstream_request_filter",
            self.inner.upstream_request_filter(session, request, ctx)
        )?;
        if !session.upstream_modules_ctx.is_empty() {
            let digest = upstream.digest();
            Box::pin(pass_upstream_modules(session, ctx, digest, request)).await?;
        }
        if upstream.version() != Version::HTTP_2 {
            frame_request(request, session)?;
        }
        if caches && request.line().method == Method::HEAD {
            // There will be no body to store.
            session.cache.disable(NoCacheReason::Custom("HEAD"));
        }
        upstream
            .queue_request_header(request)
            .map_err(|error| blame_host(error, session.req_header(), request))?;
        Ok(bridge)
    }
}

/// A try that has a connection.
pub(crate) struct Tried<S> {
    pub(crate) peer: Box<HttpPeer>,
    pub(crate) upstream: ClientSession<S>,
    /// The connection was kept from an earlier request.
    pub(crate) reused: bool,
}

/// Turns the client's request into the cache's: for the whole response, or for a validation of the stored one.
#[cold]
fn ask_for_cache(session: &mut Session, request: &mut RequestHeader) {
    let stale = session.cache.phase() == CachePhase::Stale;
    let meta = session.cache.maybe_cache_meta().filter(|_| stale);
    pingora_cache::filters::upstream::request_filter(request, meta);
    session.mark_upstream_headers_mutated_for_cache();
    session.cache.set_requested(pingora_cache::clock::now());
}

/// Whether the upstream ran out of time.
fn is_late(error: &Error) -> bool {
    let late = matches!(
        error.etype(),
        ErrorType::ReadTimedout | ErrorType::WriteTimedout
    );
    late && error.esource() == &ErrorSource::Upstream
}

pub(crate) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// Notes a failed try for the next choice of a peer.
#[cold]
pub(crate) fn note_failed(session: &mut Session, peer: &HttpPeer, error: &Error) {
    let status = match error.etype() {
        ErrorType::HTTPStatus(code) => StatusCode::from_u16(*code).ok(),
        _ => None,
    };
    session.rare().failed_tries.push(FailedTry {
        address: peer.address().clone(),
        error: error.etype().clone(),
        status,
    });
}

/// Waits ahead of a try, unless the client leaves meanwhile, and at most until the request's time is over.
async fn wait_for_next_try(session: &mut Session, wait: Duration) -> Result<()> {
    let left = session
        .until()
        .map(|end| end.saturating_duration_since(Instant::now()));
    let wait = wait.min(left.unwrap_or(Duration::MAX));
    let leaves = poll_fn(|cx| poll_left(&mut *session.downstream_session, cx));
    tokio::select! {
        error = leaves => Err(error),
        () = tokio::time::sleep(wait) => Ok(()),
    }
}

/// Ready when the client has left.
pub(crate) fn poll_left(down: &mut impl DownstreamHalf, cx: &mut Context<'_>) -> Poll<BError> {
    if down.body_done() {
        down.poll_gone(cx)
    } else {
        down.poll_given_up(cx)
    }
}
