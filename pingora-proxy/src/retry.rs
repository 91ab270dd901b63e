//! Whether a failed try is followed by another one. Pure: facts in, verdict out.
//!
//! | the response | the request's body | the error says | tries left | verdict |
//! |---|---|---|---|---|
//! | begun, or announced by a 1xx | any | any | any | end |
//! | not begun | too long to be sent again | any | any | end |
//! | not begun | can be sent again | no | any | end |
//! | not begun | can be sent again | yes | none | end |
//! | not begun | can be sent again | yes | some | try again |
//!
//! What an error says is up to the phases
//! ([`fail_to_connect`](crate::ProxyHttp::fail_to_connect),
//! [`error_while_proxy`](crate::ProxyHttp::error_while_proxy)). Where a session has left it open,
//! because nothing of a response came over a connection that others had used before, the default of
//! `error_while_proxy` decides by [`survives_old_connection`].

use crate::Session;
use std::fmt;

/// What is known of a request when a try has failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// Some of a response went to the client, be it an informational one.
    pub(crate) response_begun: bool,
    /// All that was read of the request's body can be sent again.
    pub(crate) replayable: bool,
    /// What the error says.
    pub(crate) allowed: bool,
    /// Tries after the first one so far.
    pub(crate) retries: usize,
    /// How many of them there may be.
    pub(crate) most: usize,
}

impl Facts {
    /// What is known of this session's request.
    pub(crate) fn of(session: &Session, allowed: bool, retries: usize, most: usize) -> Self {
        Facts {
            response_begun: session.announced || session.response_written().is_some(),
            replayable: !session.retry_buffer_truncated(),
            allowed,
            retries,
            most,
        }
    }

    /// What follows from it.
    pub(crate) fn verdict(&self) -> Verdict {
        let refused = if self.response_begun {
            Refusal::ResponseBegun
        } else if !self.replayable {
            Refusal::BodyTooLong
        } else if !self.allowed {
            Refusal::NotAllowed
        } else if self.retries >= self.most {
            Refusal::NoneLeft
        } else {
            return Verdict::Retry;
        };
        Verdict::End(refused)
    }
}

/// What follows a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Another one.
    Retry,
    /// The answer to the client.
    End(Refusal),
}

/// Why there is no other try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    ResponseBegun,
    BodyTooLong,
    NotAllowed,
    NoneLeft,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::ResponseBegun => "a response was begun",
            Refusal::BodyTooLong => "the request's body is too long to be sent again",
            Refusal::NotAllowed => "the error does not allow it",
            Refusal::NoneLeft => "no retries are left",
        })
    }
}

/// Whether a request whose connection broke before any response came may be sent again: only if the
/// connection was not made for it, so that the upstream may have closed it for reasons of its own,
/// only if doing it twice does no harm (RFC 9110 section 9.2.2), and only if all that was read of its
/// body can be sent again.
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
        retries: 0,
        most: 1,
    };

    #[test]
    fn the_table_holds() {
        let end = Verdict::End;
        let rows = [
            (GOOD, Verdict::Retry),
            (
                Facts {
                    response_begun: true,
                    ..GOOD
                },
                end(Refusal::ResponseBegun),
            ),
            (
                Facts {
                    replayable: false,
                    ..GOOD
                },
                end(Refusal::BodyTooLong),
            ),
            (
                Facts {
                    allowed: false,
                    ..GOOD
                },
                end(Refusal::NotAllowed),
            ),
            (Facts { retries: 1, ..GOOD }, end(Refusal::NoneLeft)),
            (Facts { most: 0, ..GOOD }, end(Refusal::NoneLeft)),
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
