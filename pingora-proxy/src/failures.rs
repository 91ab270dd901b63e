//! What the log and the counters say of a request that failed.

use log::Level;
use pingora_error::{Error, ErrorSource};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many requests of a proxy have failed since it was made, by whose fault that was. See
/// [`HttpProxy::failure_counts`](crate::HttpProxy::failure_counts).
#[derive(Debug, Default)]
pub struct FailureCounts {
    client_left: AtomicU64,
    refused: AtomicU64,
    upstream: AtomicU64,
    internal: AtomicU64,
}

impl FailureCounts {
    /// Those whose client was gone, or took nothing of the response for too long.
    pub fn client_left(&self) -> u64 {
        self.client_left.load(Ordering::Relaxed)
    }

    /// Those that broke a rule, were too large or came too slowly, and were answered so.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Those that an upstream failed at, after the last try.
    pub fn upstream(&self) -> u64 {
        self.upstream.load(Ordering::Relaxed)
    }

    /// Those that failed in this process: a phase returned an error or panicked.
    pub fn internal(&self) -> u64 {
        self.internal.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, failure: Failure) {
        let counter = match failure {
            Failure::ClientLeft => &self.client_left,
            Failure::Refused => &self.refused,
            Failure::Upstream => &self.upstream,
            Failure::Internal => &self.internal,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    ClientLeft,
    Refused,
    Upstream,
    Internal,
}

impl Failure {
    /// `status` is what the client was answered with; 0: it was not.
    pub(crate) fn of(error: &Error, status: u16) -> Self {
        match error.esource() {
            ErrorSource::Downstream if status == 0 => Failure::ClientLeft,
            ErrorSource::Downstream => Failure::Refused,
            ErrorSource::Upstream => Failure::Upstream,
            ErrorSource::Internal | ErrorSource::Unset => Failure::Internal,
        }
    }

    /// Clients leave and send nonsense all day; no operator has to be told of each.
    pub(crate) fn level(self) -> Level {
        match self {
            Failure::ClientLeft | Failure::Refused => Level::Info,
            Failure::Upstream | Failure::Internal => Level::Error,
        }
    }

    /// How its line in the log begins.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Failure::ClientLeft => "A client left",
            Failure::Refused => "A request is refused",
            Failure::Upstream | Failure::Internal => "Fail to proxy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_error::ErrorType;

    #[test]
    fn what_clients_do_is_no_error_of_the_server() {
        let closed = ErrorType::ConnectionClosed;
        for (error, status, failure, level) in [
            (
                Error::new_down(closed.clone()),
                0,
                Failure::ClientLeft,
                Level::Info,
            ),
            (
                Error::new_down(closed.clone()),
                400,
                Failure::Refused,
                Level::Info,
            ),
            (
                Error::new_up(closed.clone()),
                502,
                Failure::Upstream,
                Level::Error,
            ),
            (
                Error::new_up(closed.clone()),
                0,
                Failure::Upstream,
                Level::Error,
            ),
            (
                Error::new_in(closed.clone()),
                500,
                Failure::Internal,
                Level::Error,
            ),
            (Error::new(closed), 500, Failure::Internal, Level::Error),
        ] {
            assert_eq!(Failure::of(&error, status), failure, "{error}");
            assert_eq!(failure.level(), level, "{error}");
        }
        let counts = FailureCounts::default();
        counts.count(Failure::ClientLeft);
        counts.count(Failure::Refused);
        counts.count(Failure::Refused);
        let counted = [
            counts.client_left(),
            counts.refused(),
            counts.upstream(),
            counts.internal(),
        ];
        assert_eq!(counted, [1, 2, 0, 0]);
    }
}
