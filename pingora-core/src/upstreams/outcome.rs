//! The outcome of a request at the upstream that was chosen for it.
//!
//! The code that chooses upstreams learns from it: a request reports how it ended to the [`Attempt`]
//! that came with the choice, exactly once. Load balancing creates such attempts
//! (`pingora_load_balancing::Backends::attempt`); a program may provide its own.

use pingora_error::{Error, ErrorSource, ErrorType};
use pingora_http::RequestHeader;
use std::net::IpAddr;

/// How a request ended, from its upstream's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The response was received to its end, or, after an upgrade, the tunnel ended.
    Completed,
    /// No connection could be established: refused, unreachable, or the TLS handshake failed.
    ConnectFailed,
    /// Connecting, writing or reading exceeded its time limit.
    TimedOut,
    /// The connection failed before the response was complete, or the received data was not a
    /// response.
    Failed,
    /// It was aborted for a reason unrelated to the upstream: the client left, or a filter refused.
    Cancelled,
}

impl Outcome {
    /// Whether it counts against the upstream. A 5xx status alone does not.
    pub fn is_failure(self) -> bool {
        match self {
            Outcome::ConnectFailed | Outcome::TimedOut | Outcome::Failed => true,
            Outcome::Completed | Outcome::Cancelled => false,
        }
    }

    /// The outcome for a connection error.
    pub fn of_connecting(error: &Error) -> Self {
        match error.etype() {
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Outcome::TimedOut,
            _ => Outcome::ConnectFailed,
        }
    }

    /// The outcome for an error after the connection was established.
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

/// One request at one upstream, or one try of it, as observed by the code that chose the upstream.
///
/// Dropping it before [`Attempt::end`] reports [`Outcome::Cancelled`]: that is the case if the client
/// leaves, or on a panic.
pub trait Attempt: Send + Sync {
    /// The head of the response has arrived, with this status; not called for informational responses
    /// except 101.
    fn responded(&mut self, status: u16);

    /// The request has ended.
    fn end(self: Box<Self>, outcome: Outcome);
}

/// The part of a proxied request that is relevant for choosing its upstreams. The proxy's session
/// implements it.
pub trait BalancedRequest {
    /// Sets the recipient of the next try's outcome; see [`Attempt`].
    fn report_attempt(&mut self, attempt: Option<Box<dyn Attempt>>);

    /// Whether sending the request again, after an upstream may have received it, is harmless and
    /// possible: its method is idempotent (RFC 9110 section 9.2.2), and the part of its body that was read
    /// is kept.
    fn may_be_repeated(&self) -> bool;

    /// The head of the request, as the client sent it. `None`, the default: unknown.
    fn request_head(&self) -> Option<&RequestHeader> {
        None
    }

    /// The client's address. `None`, the default: unknown.
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
