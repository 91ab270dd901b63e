//! Hedging: a second try beside one that is slow to answer.
//!
//! ```text
//! first   ─ sent ── delay ──────────────────┬─ head ─▶ goes on; the second is cancelled
//! second            └─ peer ─ connect ─ sent ┴─ head ─▶ goes on; the first is cancelled
//! ```
//!
//! A try that fails while the other one is under way leaves the request to it. The phases of a response run
//! for the try that goes on only. All of this happens in the request's task; phases of the second try run
//! one after the other, as for any try, and are not interrupted by an answer to the first.
//!
//! At most two tries are under way at once, and a request is hedged once.

use crate::engine::deadline;
use crate::flow::forward::Forward;
use crate::retry::{Failed, HEDGED, Plan};
use crate::tries::{Tried, earliest, note_failed, poll_left};
use crate::{HttpProxy, ProxyHttp, Session};
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_core::protocols::http::client::HttpSession as ClientSession;
use pingora_core::protocols::http::custom::ClientSessionCustom;
use pingora_core::protocols::http::exchange::{DownstreamHalf, UpstreamHalf};
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::upstreams::outcome::{Attempt, Outcome};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{BError, Error, Result};
use std::future::{Future, poll_fn};
use std::mem;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The first piece of a response, or the reason why there will be none.
type Answer = Result<HttpTask>;

/// The event that ended a wait.
enum Step<T> {
    /// The try that is waited for has its answer.
    Answered(Answer),
    /// The other thing that was waited for.
    Other(T),
    ClientLeft(BError),
}

/// The first try, and the facts about it that are needed while the second one has the session.
struct First<'a, S> {
    tried: &'a mut Tried<S>,
    late_at: Option<Instant>,
    attempt: Option<Box<dyn Attempt>>,
    /// Why it has failed.
    failure: Option<BError>,
}

/// How the second try began.
enum Begun<S> {
    /// It is under way.
    Second(Tried<S>),
    /// It is not: the first one goes on alone, and may have its answer already.
    FirstOnly(Option<HttpTask>),
}

impl<SV, C> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    /// Carries an exchange to its end. Its request's head is queued and has no body. When this returns, `tried` is
    /// the try that went on.
    pub(crate) async fn exchange_hedged(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        tried: &mut Tried<C::Session>,
        plan: &mut Plan<'_>,
        delay: Duration,
    ) -> Result<()> {
        let head = self.first_head(session, ctx, tried, plan, delay).await?;
        let (upstream, peer) = (&mut tried.upstream, &tried.peer);
        Forward::new(self, session, ctx, upstream, peer, None, plan)
            .resume(head)
            .await
    }

    async fn first_head(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        tried: &mut Tried<C::Session>,
        plan: &mut Plan<'_>,
        delay: Duration,
    ) -> Answer {
        self.send_end(session, ctx, tried, plan).await?;
        let late_at = late_at(session, &tried.peer, plan);
        let hedge_at = Instant::now().checked_add(delay);
        let waited = wait(session, tried, late_at, |down, cx| match hedge_at {
            Some(at) => down.poll_reached(cx, at, Instant::now()),
            None => Poll::Pending,
        });
        match waited.await {
            Step::Answered(answer) => return answer,
            Step::ClientLeft(error) => return Err(error),
            Step::Other(()) => {}
        }
        if let Err(refusal) = plan.begin_hedge(session) {
            log::info!("not hedged, since {refusal}");
            return alone(session, tried, late_at).await;
        }
        note_failed(session, &tried.peer, &Error::new_up(HEDGED));
        let attempt = session.take_attempt();
        let mut first = First {
            tried,
            late_at,
            attempt,
            failure: None,
        };
        let begun = self.begin_second(session, ctx, &mut first, plan).await;
        plan.stage = Failed::Exchanging;
        match begun? {
            Begun::Second(second) => {
                let second_late = self::late_at(session, &second.peer, plan);
                self.race(session, ctx, first, second, second_late).await
            }
            Begun::FirstOnly(Some(head)) => Ok(head),
            Begun::FirstOnly(None) => match first.failure.take() {
                Some(error) => Err(error),
                None => alone(session, first.tried, late_at).await,
            },
        }
    }

    /// Sends the end of a request without a body, past the filters of the body.
    async fn send_end(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        tried: &mut Tried<C::Session>,
        plan: &mut Plan<'_>,
    ) -> Result<()> {
        let (upstream, peer) = (&mut tried.upstream, &tried.peer);
        Forward::new(self, session, ctx, upstream, peer, None, plan)
            .begin_body()
            .await
    }

    /// Chooses a peer for a second try, connects to it and sends the request.
    ///
    /// # Errors
    /// If the client leaves.
    async fn begin_second(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        first: &mut First<'_, C::Session>,
        plan: &mut Plan<'_>,
    ) -> Result<Begun<C::Session>> {
        let peer = match self.inner.upstream_peer(session, ctx).await {
            Ok(peer) => peer,
            Err(error) => {
                log::info!("not hedged, since no peer was chosen: {error}");
                session.report_attempt(first.attempt.take());
                session.rare().failed_tries.pop();
                return Ok(Begun::FirstOnly(None));
            }
        };
        if let Some(times) = &mut session.times {
            times.try_begins(peer.address().clone());
        }
        let connected = match self.connector.reused_session(&*peer) {
            Some(kept) => Ok((kept, true)),
            None => {
                plan.stage = Failed::Connecting;
                let until = earliest(plan.head_until(), session.until());
                let mut connecting = Box::pin(self.connect(&peer, false, until));
                let mut connecting = |cx: &mut Context<'_>| connecting.as_mut().poll(cx);
                let (one, late_at) = (&mut *first.tried, first.late_at);
                match wait(session, one, late_at, |_, cx| connecting(cx)).await {
                    Step::ClientLeft(error) => return Err(error),
                    Step::Other(connected) => connected,
                    Step::Answered(Ok(head)) => {
                        let why = Error::new_up(HEDGED);
                        self.first_goes_on(session, ctx, first, &peer, &why);
                        return Ok(Begun::FirstOnly(Some(head)));
                    }
                    Step::Answered(Err(error)) => {
                        first.failure = Some(error);
                        poll_fn(connecting).await
                    }
                }
            }
        };
        let (upstream, reused) = match connected {
            Ok(connected) => connected,
            Err(mut error) => {
                error.as_up();
                session.end_attempt(|| Outcome::of_connecting(&error));
                self.first_goes_on(session, ctx, first, &peer, &error);
                let error = self.inner.fail_to_connect(session, &peer, ctx, error);
                log::info!("the second of two tries failed: {error}");
                return Ok(Begun::FirstOnly(None));
            }
        };
        session.meter.tried(reused);
        if let Some(times) = &mut session.times {
            times.connected(reused);
        }
        let mut second = Tried {
            peer,
            upstream,
            reused,
        };
        let sent = match self.send_head(session, ctx, &mut second).await {
            Ok(_) => self.send_end(session, ctx, &mut second, plan).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => Ok(Begun::Second(second)),
            Err(error) => {
                self.second_failed(session, ctx, first, second, error);
                Ok(Begun::FirstOnly(None))
            }
        }
    }

    /// Waits for both tries. In the end, the one that goes on stands in the place of the first.
    async fn race(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        mut first: First<'_, C::Session>,
        mut second: Tried<C::Session>,
        second_late: Option<Instant>,
    ) -> Answer {
        let late_at = first.late_at;
        let raced = match first.failure.take() {
            Some(error) => Step::Answered(Err(error)),
            None => {
                let second = &mut second.upstream;
                let other = |down: &mut ServerSession, cx: &mut Context<'_>| {
                    poll_answer(down, cx, second, second_late)
                };
                wait(session, first.tried, late_at, other).await
            }
        };
        match raced {
            Step::ClientLeft(error) => Err(error),
            Step::Answered(Ok(head)) => {
                let why = Error::new_up(HEDGED);
                self.first_goes_on(session, ctx, &mut first, &second.peer, &why);
                Ok(head)
            }
            Step::Answered(Err(error)) => {
                let tried = self.second_goes_on(session, ctx, first, second, Some(error));
                alone(session, tried, second_late).await
            }
            Step::Other(Ok(head)) => {
                self.second_goes_on(session, ctx, first, second, None);
                Ok(head)
            }
            Step::Other(Err(error)) => {
                self.second_failed(session, ctx, &mut first, second, error);
                alone(session, first.tried, late_at).await
            }
        }
    }

    fn second_failed(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        first: &mut First<'_, C::Session>,
        second: Tried<C::Session>,
        error: BError,
    ) {
        session.end_attempt(|| Outcome::of_exchange(&error));
        self.first_goes_on(session, ctx, first, &second.peer, &error);
        let error = self.end_failed(session, ctx, &second, error);
        log::info!("the second of two tries failed: {error}");
    }

    /// The second try has ended, in this way.
    fn first_goes_on(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        first: &mut First<'_, C::Session>,
        second: &HttpPeer,
        why: &Error,
    ) {
        session.end_attempt(|| Outcome::Cancelled);
        session.report_attempt(first.attempt.take());
        if let Some(times) = &mut session.times {
            times.first_goes_on();
        }
        session.rare().failed_tries.pop();
        note_failed(session, second, why);
        if first.failure.is_none() {
            self.inner.hedge_settled(session, &first.tried.peer, ctx);
        }
    }

    /// The first try has failed, or is cancelled. The second one takes its place.
    fn second_goes_on<'a>(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        first: First<'a, C::Session>,
        second: Tried<C::Session>,
        failure: Option<BError>,
    ) -> &'a mut Tried<C::Session> {
        if let Some(times) = &mut session.times {
            times.other_ends();
        }
        if let Some(attempt) = first.attempt {
            let outcome = failure.as_deref().map(Outcome::of_exchange);
            attempt.end(outcome.unwrap_or(Outcome::Cancelled));
        }
        let ended = mem::replace(first.tried, second);
        if let Some(error) = failure {
            session.rare().failed_tries.pop();
            note_failed(session, &ended.peer, &error);
            let error = self.end_failed(session, ctx, &ended, error);
            log::info!("the first of two tries failed: {error}");
        }
        self.inner.hedge_settled(session, &first.tried.peer, ctx);
        first.tried
    }
}

/// When a try that has just been sent is late.
fn late_at(session: &Session, peer: &HttpPeer, plan: &Plan<'_>) -> Option<Instant> {
    let silent = peer.read_limit();
    let silent = silent.and_then(|limit| Instant::now().checked_add(limit));
    earliest(silent, earliest(plan.head_until(), session.until()))
}

/// Waits for a try's answer, the client and something else, whichever comes first. Cancel-safe.
async fn wait<S: ClientSessionCustom, T>(
    session: &mut Session,
    tried: &mut Tried<S>,
    late_at: Option<Instant>,
    mut other: impl FnMut(&mut ServerSession, &mut Context<'_>) -> Poll<T>,
) -> Step<T> {
    let down = &mut *session.downstream_session;
    poll_fn(|cx| {
        if let Poll::Ready(answer) = poll_answer(down, cx, &mut tried.upstream, late_at) {
            return Poll::Ready(Step::Answered(answer));
        }
        if let Poll::Ready(other) = other(down, cx) {
            return Poll::Ready(Step::Other(other));
        }
        poll_left(down, cx).map(Step::ClientLeft)
    })
    .await
}

/// Waits for the answer of the only try that is left.
async fn alone<S: ClientSessionCustom>(
    session: &mut Session,
    tried: &mut Tried<S>,
    late_at: Option<Instant>,
) -> Answer {
    let nothing = |_: &mut ServerSession, _: &mut Context<'_>| Poll::Pending;
    match wait(session, tried, late_at, nothing).await {
        Step::Answered(answer) | Step::Other(answer) => answer,
        Step::ClientLeft(error) => Err(error),
    }
}

fn poll_answer<S: ClientSessionCustom>(
    down: &mut ServerSession,
    cx: &mut Context<'_>,
    upstream: &mut ClientSession<S>,
    late_at: Option<Instant>,
) -> Poll<Answer> {
    if upstream.wants_flush() {
        // An upstream that takes nothing more may still answer; if not, reading fails as well.
        let _ = upstream.poll_flush(cx);
    }
    if let Poll::Ready(answer) = upstream.poll_task(cx) {
        return Poll::Ready(match answer {
            Ok(HttpTask::Failed(error)) => Err(error),
            answer => answer,
        });
    }
    let Some(at) = late_at else {
        return Poll::Pending;
    };
    down.poll_reached(cx, at, Instant::now())
        .map(|()| Err(deadline::expired(deadline::UPSTREAM_READ)))
}
