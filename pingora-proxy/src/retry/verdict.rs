//! Whether to retry after a failed try. Pure: facts in, verdict out.
//!
//! | the response | the request's body | the error says | tries left | verdict |
//! |---|---|---|---|---|
//! | begun, or announced by a 1xx | any | any | any | end |
//! | not begun | too long to be sent again | any | any | end |
//! | not begun | can be sent again | no | any | end |
//! | not begun | can be sent again | yes | none | end |
//! | not begun | can be sent again | yes | some | try again |
//!
//! If this table allows a retry, its time, the program and the budget still have to agree (see
//! [`Plan`](super::Plan)).
//!
//! The phases decide what an error says ([`fail_to_connect`](crate::ProxyHttp::fail_to_connect),
//! [`error_while_proxy`](crate::ProxyHttp::error_while_proxy)). If a session has left the decision open,
//! because a previously used connection failed before any part of a response came, the default of
//! `error_while_proxy` decides by [`survives_old_connection`]. A [`RetryPolicy`](crate::RetryPolicy) says
//! yes in addition.

use crate::Session;
use pingora_core::metrics::Upstream;
use std::fmt;

/// The facts about a request whose try has failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// Part of a response went to the client, even if only an informational one.
    pub(crate) response_begun: bool,
    /// Everything that was read of the request's body can be replayed.
    pub(crate) replayable: bool,
    /// The retry decision of the error.
    pub(crate) allowed: bool,
    /// Tries so far, the failed one included.
    pub(crate) tries: usize,
    /// The most tries allowed.
    pub(crate) most: usize,
}

impl Facts {
    /// The facts about this session's request.
    pub(crate) fn of(session: &Session, allowed: bool, tries: usize, most: usize) -> Self {
        Facts {
            response_begun: session.announced || session.response_written().is_some(),
            replayable: session.can_replay(),
            allowed,
            tries,
            most,
        }
    }

    /// The verdict that follows from the facts.
    pub(crate) fn verdict(&self) -> RetryDecision {
        let refused = if self.response_begun {
            NoRetry::ResponseBegun
        } else if !self.replayable {
            NoRetry::BodyTooLong
        } else if !self.allowed {
            NoRetry::NotAllowed
        } else if self.tries >= self.most {
            NoRetry::NoneLeft
        } else {
            return RetryDecision::Retry;
        };
        RetryDecision::End(refused)
    }
}

/// The step after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryDecision {
    /// Retry.
    Retry,
    /// Answer the client.
    End(NoRetry),
}

/// The reason not to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRetry {
    ResponseBegun,
    BodyTooLong,
    NotAllowed,
    NoneLeft,
    /// The request's time is over before another try could begin, or the response asks for a longer wait
    /// than is granted.
    TooLate,
    /// [`ProxyHttp::allow_retry`](crate::ProxyHttp::allow_retry) said no.
    Vetoed,
    /// All requests together have retried as often as they may.
    BudgetSpent,
}

impl NoRetry {
    /// Counts it, except for errors that are never retried.
    pub(crate) fn count(self) {
        Upstream::not_retried(match self {
            NoRetry::ResponseBegun => 0,
            NoRetry::BodyTooLong => 1,
            NoRetry::NotAllowed => return,
            NoRetry::NoneLeft => 2,
            NoRetry::TooLate => 3,
            NoRetry::Vetoed => 4,
            NoRetry::BudgetSpent => 5,
        });
    }
}

impl fmt::Display for NoRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoRetry::ResponseBegun => "a response was begun",
            NoRetry::BodyTooLong => "the request's body is too long to be sent again",
            NoRetry::NotAllowed => "the error does not allow it",
            NoRetry::NoneLeft => "no retries are left",
            NoRetry::TooLate => "there is no time left for it",
            NoRetry::Vetoed => "the program forbids it",
            NoRetry::BudgetSpent => "the budget for retries is spent",
        })
    }
}

/// Whether a request whose connection broke before any response came may be sent again. All three
/// conditions must hold: the connection was not made for this request, so that the upstream may have
/// closed it for reasons of its own; repeating the request does no harm (RFC 9110 section 9.2.2); and
/// everything that was read of its body can be replayed.
pub(crate) fn survives_old_connection(reused: bool, idempotent: bool, replayable: bool) -> bool {
    reused && idempotent && replayable
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Facts = Facts {
        response_begun: false,
        replayable: true,
        allowed: true,
        tries: 1,
        most: 2,
    };

    #[test]
    fn the_table_holds() {
        let end = RetryDecision::End;
        let rows = [
            (GOOD, RetryDecision::Retry),
            (
                Facts {
                    response_begun: true,
                    ..GOOD
                },
                end(NoRetry::ResponseBegun),
            ),
            (
                Facts {
                    replayable: false,
                    ..GOOD
                },
                end(NoRetry::BodyTooLong),
            ),
            (
                Facts {
                    allowed: false,
                    ..GOOD
                },
                end(NoRetry::NotAllowed),
            ),
            (Facts { tries: 2, ..GOOD }, end(NoRetry::NoneLeft)),
            (Facts { most: 1, ..GOOD }, end(NoRetry::NoneLeft)),
            // The first try is made in any case.
            (Facts { most: 0, ..GOOD }, end(NoRetry::NoneLeft)),
        ];
        for (facts, expected) in rows {
            assert_eq!(facts.verdict(), expected, "{facts:?}");
        }
    }

    #[test]
    fn an_old_connection_is_forgiven_only_where_all_three_facts_hold() {
        for bits in 0..8 {
            let [reused, idempotent, replayable] = [1, 2, 4].map(|bit| bits & bit != 0);
            let again = survives_old_connection(reused, idempotent, replayable);
            assert_eq!(again, bits == 7, "{bits:03b}");
        }
    }
}
