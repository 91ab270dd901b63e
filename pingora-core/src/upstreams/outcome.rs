//! What became of a request at the upstream that was chosen for it.
//!
//! Whoever chooses upstreams learns from it: a request reports how it ended to the [`Attempt`] that the
//! choice came with, exactly once. Load balancing makes such attempts
//! (`pingora_load_balancing::Backends::attempt`); a program may bring its own.

use pingora_error::{Error, ErrorSource, ErrorType};
use pingora_http::RequestHeader;
use std::net::IpAddr;

/// How a request ended, as its upstream is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The response was received to its end; or the tunnel ended, after an upgrade.
    Completed,
    /// No connection could be made: refused, unreachable, or the TLS handshake failed.
    ConnectFailed,
    /// Connecting, writing or reading took longer than it may.
    TimedOut,
    /// The connection failed before the response was complete, or what came was no response.
    Failed,
    /// It was given up for a reason that is not the upstream's: the client left, or a filter refused.
    Cancelled,
}

impl Outcome {
    /// Whether it speaks against the upstream. A status of 5xx does not by itself.
    pub fn is_failure(self) -> bool {
        match self {
            Outcome::ConnectFailed | Outcome::TimedOut | Outcome::Failed => true,
            Outcome::Completed | Outcome::Cancelled => false,
        }
    }

    /// What an error of connecting says.
    pub fn of_connecting(error: &Error) -> Self {
        match error.etype() {
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Outcome::TimedOut,
            _ => Outcome::ConnectFailed,
        }
    }

    /// What an error says that came once the connection was made.
    pub fn of_exchange(error: &Error) -> Self {
        if error.esource() != &ErrorSource::Upstream {
            return Outcome::Cancelled;
        }
        match error.etype() {
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => Outcome::TimedOut,
            _ => Outcome::Failed,
        }
    }
}

/// One request at one upstream, or one try of it, as whoever chose the upstream hears of it.
///
/// Dropping it before [`Attempt::end`] says [`Outcome::Cancelled`]: that is what a client that leaves, or
/// a panic, comes to.
pub trait Attempt: Send + Sync {
    /// The head of the response has arrived, with this status; not told of informational ones, but for
    /// 101.
    fn responded(&mut self, status: u16);

    /// The request has ended.
    fn end(self: Box<Self>, outcome: Outcome);
}

/// A proxied request, as far as whoever chooses its upstreams has to know it. The proxy's session
/// implements it.
pub trait BalancedRequest {
    /// Sets who hears how the next try ended; see [`Attempt`].
    fn report_attempt(&mut self, attempt: Option<Box<dyn Attempt>>);

    /// Whether sending the request again, after an upstream may have got it, does no harm and is possible:
    /// its method is idempotent (RFC 9110 section 9.2.2), and what was read of its body is kept.
    fn may_be_repeated(&self) -> bool;

    /// The head of the request, as the client sent it. `None`, the default: it is not known.
    fn request_head(&self) -> Option<&RequestHeader> {
        None
    }

    /// The address of the client's end of the connection. `None`, the default: it is not known.
    fn client_ip(&self) -> Option<IpAddr> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_speak_against_the_upstream_only_where_they_are_its_own() {
        use ErrorSource::{Downstream, Internal, Upstream};
        let error = |etype, source| Error::create(etype, source, None, None);
        for (etype, source, expected) in [
            (ErrorType::ReadTimedout, Upstream, Outcome::TimedOut),
            (ErrorType::WriteTimedout, Upstream, Outcome::TimedOut),
            (ErrorType::ConnectionClosed, Upstream, Outcome::Failed),
            (ErrorType::InvalidHTTPHeader, Upstream, Outcome::Failed),
            (ErrorType::ReadTimedout, Downstream, Outcome::Cancelled),
            (ErrorType::InternalError, Internal, Outcome::Cancelled),
        ] {
            let error = error(etype, source);
            assert_eq!(Outcome::of_exchange(&error), expected, "{error}");
        }
        for (etype, expected) in [
            (ErrorType::ConnectTimedout, Outcome::TimedOut),
            (ErrorType::TLSHandshakeTimedout, Outcome::TimedOut),
            (ErrorType::ConnectRefused, Outcome::ConnectFailed),
            (ErrorType::InvalidCert, Outcome::ConnectFailed),
        ] {
            let error = error(etype, Upstream);
            assert_eq!(Outcome::of_connecting(&error), expected, "{error}");
        }
    }
}
