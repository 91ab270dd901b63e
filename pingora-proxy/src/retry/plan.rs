//! A policy at work on one request, from try to try.

use super::policy::Class;
use super::verdict::{Facts, RetryDecision};
use super::{NoRetry, RetryPolicy};
use crate::Session;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use pingora_core::metrics::Upstream;
use pingora_core::protocols::http::date;
use pingora_error::BError;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Where the present try has got to, or has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// No peer was chosen.
    BeforeConnecting,
    /// There is a peer, and no connection to it.
    Connecting,
    /// There is a connection.
    Exchanging,
}

/// The place of responses that were dropped among those of [`Failed`], for metrics.
const AFTER_RESPONSE: usize = 3;

/// The tries of one request.
///
/// ```text
/// begin_try ─▶ (connecting, exchanging) ─ error ──────▶ after_error ─▶ Ok(wait) or a refusal
///                        └─ a response to drop ─▶ dismiss ─ Ok ─▶ (drained or not) ─▶ after_error ─▶ Ok(wait)
///                                                    └─ a refusal: the response goes on to the client
/// ```
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    policy: Option<&'a RetryPolicy>,
    /// The most tries, the first one included.
    pub(crate) most: usize,
    /// Tries so far.
    pub(crate) tries: usize,
    /// Where the present try is.
    pub(crate) stage: Failed,
    /// When the present try began; known if there is a limit to it.
    begun: Option<Instant>,
    /// The response of the present try is dropped in favour of the next one, ahead of which so long a
    /// wait was asked for.
    dismissed: Option<Duration>,
    /// The dismissed response was read to its end, so that its connection is worth keeping.
    pub(crate) drained: bool,
    /// A stale response from the cache takes the place of the one that the upstream gave.
    pub(crate) serves_stale: bool,
    /// A second try has begun beside another one, or was refused.
    hedged: bool,
}

impl<'a> Plan<'a> {
    /// The plan of a request; `most` tries if there is no policy.
    pub(crate) fn new(policy: Option<&'a RetryPolicy>, most: usize) -> Self {
        if let Some(budget) = policy.and_then(RetryPolicy::account) {
            budget.request_begins();
        }
        Plan {
            policy,
            most: policy.map_or(most, RetryPolicy::tries),
            tries: 0,
            stage: Failed::BeforeConnecting,
            begun: None,
            dismissed: None,
            drained: false,
            serves_stale: false,
            hedged: false,
        }
    }

    pub(crate) fn begin_try(&mut self) {
        self.tries += 1;
        self.stage = Failed::BeforeConnecting;
        self.dismissed = None;
        self.drained = false;
        if let Some(policy) = self.policy {
            self.begun = policy.per_try().map(|_| Instant::now());
        }
    }

    /// The instant by which the head of the present try's response has to be there.
    #[inline]
    pub(crate) fn head_until(&self) -> Option<Instant> {
        self.begun?.checked_add(self.policy?.per_try()?)
    }

    /// The delay after which a second try begins beside the present one; `None`: no such request.
    #[inline]
    pub(crate) fn hedge_delay(&self, session: &mut Session) -> Option<Duration> {
        let delay = self.policy?.hedge_delay()?;
        let request = session.req_header();
        let is_safe = request.line().method.is_safe() && !session.is_upgrade_req();
        let is_new = !self.hedged && !session.announced && session.response_written().is_none();
        (is_safe && is_new && session.is_body_empty()).then_some(delay)
    }

    /// Begins a second try beside the present one, if there is room for it in every limit.
    pub(crate) fn begin_hedge(&mut self, session: &Session) -> Result<(), NoRetry> {
        self.hedged = true;
        self.settle(session, true)?;
        self.grant(session, Duration::ZERO, || false)?;
        self.begin_try();
        Ok(())
    }

    /// The policy, if responses of this status are to be dropped in favour of another try.
    #[inline]
    pub(crate) fn dismisses(&self, status: StatusCode) -> Option<&'a RetryPolicy> {
        self.policy.filter(|policy| policy.names_status(status))
    }

    /// Decides whether the response with this head is dropped, and the request tried again. `vetoed` asks
    /// the phase.
    pub(crate) fn dismiss(
        &mut self,
        policy: &RetryPolicy,
        session: &Session,
        headers: &HeaderMap,
        vetoed: impl FnOnce() -> bool,
    ) -> Result<(), NoRetry> {
        let allowed = policy.repeats(is_idempotent(session));
        self.settle(session, allowed)
            .inspect_err(|refusal| refusal.count())?;
        let asked = match policy.longest_retry_after() {
            None => Duration::ZERO,
            Some(most) => retry_after(headers, SystemTime::now())
                .filter(|wait| *wait <= most)
                .ok_or(NoRetry::TooLate)
                .inspect_err(|refusal| refusal.count())?,
        };
        self.grant(session, asked, vetoed)
            .inspect_err(|refusal| refusal.count())?;
        self.dismissed = Some(asked);
        Ok(())
    }

    /// The dismissed response is not what ended the try after all.
    pub(crate) fn forget_dismissal(&mut self) {
        self.dismissed = None;
    }

    /// Decides what follows an error: how long to wait ahead of the next try. `Err` also says whether
    /// the error itself was one to retry.
    pub(crate) fn after_error(
        &mut self,
        session: &Session,
        error: &BError,
        vetoed: impl FnOnce() -> bool,
    ) -> Result<Duration, (NoRetry, bool)> {
        if let Some(asked) = self.dismissed.take() {
            // Everything was asked when the response was dropped.
            Upstream::retried(AFTER_RESPONSE);
            return Ok(self.wait().max(asked));
        }
        let allowed = error.retry() || self.allows(session, error);
        let granted = self
            .settle(session, allowed)
            .and_then(|()| self.grant(session, Duration::ZERO, vetoed));
        match granted {
            Ok(()) => {
                Upstream::retried(self.stage as usize);
                Ok(self.wait())
            }
            Err(refusal) => {
                if allowed {
                    refusal.count();
                }
                Err((refusal, allowed))
            }
        }
    }

    fn allows(&self, session: &Session, error: &BError) -> bool {
        let class = match self.stage {
            Failed::BeforeConnecting => Class::Other,
            Failed::Connecting => Class::Connect,
            Failed::Exchanging => Class::of_exchange(error, session.upstream.responded),
        };
        self.policy
            .is_some_and(|policy| policy.allows(class, is_idempotent(session)))
    }

    fn settle(&self, session: &Session, allowed: bool) -> Result<(), NoRetry> {
        match Facts::of(session, allowed, self.tries, self.most).verdict() {
            RetryDecision::Retry => Ok(()),
            RetryDecision::End(refusal) => Err(refusal),
        }
    }

    /// Applies the limits beyond the facts of this request: its time, the program, and all other requests.
    fn grant(
        &self,
        session: &Session,
        asked: Duration,
        vetoed: impl FnOnce() -> bool,
    ) -> Result<(), NoRetry> {
        let now = Instant::now();
        if is_too_late(now, asked, session.until()) {
            return Err(NoRetry::TooLate);
        }
        if vetoed() {
            return Err(NoRetry::Vetoed);
        }
        let budget = self.policy.and_then(RetryPolicy::account);
        if budget.is_none_or(super::RetryBudget::try_take) {
            Ok(())
        } else {
            Err(NoRetry::BudgetSpent)
        }
    }

    fn wait(&self) -> Duration {
        let policy = self.policy;
        policy.map_or(Duration::ZERO, |policy| {
            policy.waits().wait(self.tries, fastrand::f64())
        })
    }
}

/// Whether a wait of `asked`, which a peer chooses, ends behind `end`.
fn is_too_late(now: Instant, asked: Duration, end: Option<Instant>) -> bool {
    end.is_some_and(|end| now.checked_add(asked).is_none_or(|next| next >= end))
}

fn is_idempotent(session: &Session) -> bool {
    session.req_header().line().method.is_idempotent()
}

/// The wait that `Retry-After` asks for (RFC 9110 section 10.2.3), in seconds or as a date. Zero without the field
/// or if it can't be read; `None` if the wait is longer than can be expressed.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let Some(value) = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()) else {
        return Some(Duration::ZERO);
    };
    let value = value.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let date = date::parse(value).and_then(|date| date.duration_since(now).ok());
    Some(date.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn no_wait_that_a_peer_asks_for_is_too_long_to_be_counted() {
        let now = Instant::now();
        let end = now + Duration::from_secs(10);
        for (asked, late) in [
            (Duration::ZERO, false),
            (Duration::from_secs(9), false),
            (Duration::from_secs(10), true),
            (Duration::from_secs(u64::MAX), true),
            (Duration::MAX, true),
        ] {
            assert_eq!(is_too_late(now, asked, Some(end)), late, "{asked:?}");
            assert!(!is_too_late(now, asked, None), "{asked:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, expected) in [
            (None, Some(0)),
            (Some("0"), Some(0)),
            (Some("120"), Some(120)),
            (Some(" 7 "), Some(7)),
            (Some("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10)),
            (Some("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0)),
            (Some("Fri, 01 Jan 1993 00:00:00 GMT"), Some(0)),
            (Some("soon"), Some(0)),
            (Some(""), Some(0)),
            (Some("-5"), Some(0)),
            (Some("1.5"), Some(0)),
            (Some("99999999999999999999999"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(RETRY_AFTER, value.parse().unwrap());
            }
            let wait = retry_after(&headers, now).map(|wait| wait.as_secs());
            assert_eq!(wait, expected, "{value:?}");
        }
    }
}
