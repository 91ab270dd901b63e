//! The rules for retries, as a value.

use super::{Backoff, RetryBudget};
use http::StatusCode;
use pingora_error::{Error, ErrorSource, ErrorType};
use std::time::Duration;

/// The most bytes that are read of a response that is dropped.
const DRAIN: usize = 64 * 1024;

/// When and how often to try a request again: returned by
/// [`ProxyHttp::retry_policy`](crate::ProxyHttp::retry_policy), and usually a field of the proxy.
///
/// ```
/// use pingora_proxy::{RetryBudget, RetryPolicy};
/// use std::time::Duration;
///
/// let policy = RetryPolicy::new(3)
///     .on_status([502, 503])
///     .per_try_timeout(Duration::from_secs(2))
///     .budget(RetryBudget::new(0.1, 10));
/// ```
///
/// A new policy retries after connect errors, and after connections that end ahead of a response. What
/// may have acted on a request is tried again only if that does no harm, which is a matter of the
/// method (RFC 9110 section 9.2.2), and never once any part of a response went to the client, or if more
/// of the request's body was read than is kept.
///
/// | condition | the failure | methods | default |
/// |---|---|---|---|
/// | connect | no connection to the peer, a failed handshake included | all | on |
/// | [`on_reset`](Self::on_reset) | the connection broke ahead of a response's head | idempotent | on |
/// | [`on_timeout`](Self::on_timeout) | a time-out passed ahead of a response's head | idempotent | off |
/// | [`on_status`](Self::on_status) | the response has one of these statuses | idempotent | none |
///
/// An error that a phase has marked ([`Error::set_retry`]) is retried as well, regardless of the policy's
/// conditions, within the number of tries and the budget.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    tries: usize,
    reset: bool,
    timeout: bool,
    /// A bit for each status from 100 to 611.
    statuses: [u64; 8],
    any_method: bool,
    per_try: Option<Duration>,
    backoff: Backoff,
    budget: Option<RetryBudget>,
    retry_after: Option<Duration>,
    drain: usize,
    hedge_after: Option<Duration>,
}

/// The kinds of failure that a policy tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nothing was sent to the peer.
    Connect,
    /// The connection broke ahead of the response's head.
    Reset,
    /// Time was up ahead of the response's head.
    Timeout,
    /// Not the upstream's, or behind the response's head.
    Other,
}

impl Class {
    /// Classifies an error of an exchange. `responded`: the response's head had arrived.
    pub(crate) fn of_exchange(error: &Error, responded: bool) -> Self {
        if responded || *error.esource() != ErrorSource::Upstream {
            return Class::Other;
        }
        match error.etype() {
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => Class::Timeout,
            ErrorType::ConnectionClosed
            | ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::H2Error => Class::Reset,
            _ => Class::Other,
        }
    }
}

impl RetryPolicy {
    /// At most `tries` tries for each request, the first one included; 0 counts as 1. Replaces
    /// [`max_retries`](pingora_core::server::configuration::ServerConf::max_retries) of the configuration
    /// for the requests that have this policy.
    pub fn new(tries: usize) -> Self {
        RetryPolicy {
            tries: tries.max(1),
            reset: true,
            timeout: false,
            statuses: [0; 8],
            any_method: false,
            per_try: None,
            backoff: Backoff::default(),
            budget: None,
            retry_after: None,
            drain: DRAIN,
            hedge_after: None,
        }
    }

    /// Whether to retry after a connection that broke ahead of a response's head. On by default.
    pub fn on_reset(mut self, on: bool) -> Self {
        self.reset = on;
        self
    }

    /// Whether to retry after a time-out that passed ahead of a response's head. Off by default: the next
    /// try may take as long.
    pub fn on_timeout(mut self, on: bool) -> Self {
        self.timeout = on;
        self
    }

    /// Retries if the response has one of these statuses, in addition to those of earlier calls. The
    /// response of the last try goes to the client with any status. A number that is no final status
    /// (200 to 611) is ignored.
    pub fn on_status(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        for status in statuses {
            if status >= 200
                && let Some((word, bit)) = self.place(status)
                && let Some(word) = self.statuses.get_mut(word)
            {
                *word |= bit;
            }
        }
        self
    }

    /// Whether methods count as idempotent that are not so by themselves (POST, PATCH, unknown ones). Off
    /// by default: an upstream may act twice.
    pub fn any_method(mut self, on: bool) -> Self {
        self.any_method = on;
        self
    }

    /// How long each try may take until its response's head is there, the connection included. Without
    /// limit by default; the peer's time-outs apply in any case. Turns [`on_timeout`](Self::on_timeout)
    /// on.
    pub fn per_try_timeout(mut self, limit: Duration) -> Self {
        self.per_try = Some(limit);
        self.timeout = true;
        self
    }

    /// The wait ahead of each retry.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Bounds the retries of all requests together. Without bound by default.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Honours the `Retry-After` (RFC 9110 section 10.2.3) of responses whose status is retried: the wait
    /// is at least so long, and if that is longer than `most`, the response goes to the client instead.
    /// Ignored by default.
    pub fn honour_retry_after(mut self, most: Duration) -> Self {
        self.retry_after = Some(most);
        self
    }

    /// Hedges requests that are slow to answer: if no response head is there so long after a request was
    /// sent, a second try begins beside the first one, usually at another peer. The first head wins, and
    /// the other try is cancelled. Off by default. Choose a delay that few responses exceed, such as the
    /// 95th percentile.
    ///
    /// Hedged are requests with a safe method (RFC 9110 section 9.2.1) and no body that don't ask for an
    /// upgrade, each once at most. The second try counts as one of the request's tries and takes from the
    /// [`budget`](Self::budget). [`ProxyHttp::hedge_delay`](crate::ProxyHttp::hedge_delay) may choose
    /// another delay for each request.
    pub fn hedge_after(mut self, delay: Duration) -> Self {
        self.hedge_after = Some(delay);
        self
    }

    /// At most how much of a response that is dropped is read in order to keep its connection, in bytes;
    /// 64 KiB by default. The connection of a longer one is closed.
    pub fn drain(mut self, most: usize) -> Self {
        self.drain = most;
        self
    }

    fn place(&self, status: u16) -> Option<(usize, u64)> {
        let place = usize::from(status.checked_sub(100)?);
        (place < 512).then_some((place / 64, 1 << (place % 64)))
    }

    pub(crate) fn tries(&self) -> usize {
        self.tries
    }

    pub(crate) fn per_try(&self) -> Option<Duration> {
        self.per_try
    }

    pub(crate) fn waits(&self) -> &Backoff {
        &self.backoff
    }

    pub(crate) fn account(&self) -> Option<&RetryBudget> {
        self.budget.as_ref()
    }

    pub(crate) fn longest_retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn most_drained(&self) -> usize {
        self.drain
    }

    /// How long after the request a second try begins; `None`: never.
    pub(crate) fn hedge_delay(&self) -> Option<Duration> {
        self.hedge_after
    }

    pub(crate) fn names_status(&self, status: StatusCode) -> bool {
        let bits = |(word, bit)| self.statuses.get(word).is_some_and(|bits| bits & bit != 0);
        self.place(status.as_u16()).is_some_and(bits)
    }

    /// Whether repeating a request of this kind does no harm.
    pub(crate) fn repeats(&self, idempotent: bool) -> bool {
        idempotent || self.any_method
    }

    /// Whether to retry after a failure of this class.
    pub(crate) fn allows(&self, class: Class, idempotent: bool) -> bool {
        match class {
            Class::Connect => true,
            Class::Reset => self.reset && self.repeats(idempotent),
            Class::Timeout => self.timeout && self.repeats(idempotent),
            Class::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_conditions_holds() {
        let policy = RetryPolicy::new(3);
        let eager = RetryPolicy::new(3)
            .on_reset(false)
            .per_try_timeout(Duration::from_secs(1));
        let reckless = RetryPolicy::new(3).any_method(true).on_timeout(true);
        // Idempotent methods, and the others.
        for (class, plain, without_reset, all) in [
            (Class::Connect, [true, true], [true, true], [true, true]),
            (Class::Reset, [true, false], [false, false], [true, true]),
            (Class::Timeout, [false, false], [true, false], [true, true]),
            (Class::Other, [false, false], [false, false], [false, false]),
        ] {
            for (policy, expected) in [(&policy, plain), (&eager, without_reset), (&reckless, all)]
            {
                let allowed = [true, false].map(|idempotent| policy.allows(class, idempotent));
                assert_eq!(allowed, expected, "{class:?} {policy:?}");
            }
        }
    }

    #[test]
    fn statuses_are_those_that_were_named() {
        let named = [
            0, 99, 100, 101, 199, 200, 429, 503, 599, 611, 612, 999, 65_535,
        ];
        let policy = RetryPolicy::new(2).on_status(named);
        for status in 100..1000 {
            let expected = (200..612).contains(&status) && named.contains(&status);
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(policy.names_status(status), expected, "{status}");
        }
    }

    #[test]
    fn only_an_upstream_that_has_not_answered_has_reset() {
        let reset = Error::new_up(ErrorType::ConnectionClosed);
        assert_eq!(Class::of_exchange(&reset, false), Class::Reset);
        assert_eq!(Class::of_exchange(&reset, true), Class::Other);
        let client = Error::new_down(ErrorType::ConnectionClosed);
        assert_eq!(Class::of_exchange(&client, false), Class::Other);
        let late = Error::new_up(ErrorType::ReadTimedout);
        assert_eq!(Class::of_exchange(&late, false), Class::Timeout);
        let odd = Error::new_up(ErrorType::InvalidHTTPHeader);
        assert_eq!(Class::of_exchange(&odd, false), Class::Other);
    }
}
