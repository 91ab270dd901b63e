//! Log lines and counters for failed requests.

use log::Level;
use pingora_core::metrics::{FailedSide, Panicked, Process};
use pingora_error::{BError, Error, ErrorSource, ErrorType};
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of failed requests since a proxy was made, by the side at fault. See
/// [`HttpProxy::failure_counts`](crate::HttpProxy::failure_counts).
#[derive(Debug, Default)]
pub struct FailureCounts {
    client_left: AtomicU64,
    refused: AtomicU64,
    upstream: AtomicU64,
    internal: AtomicU64,
}

impl FailureCounts {
    /// Requests whose client was gone, or accepted none of the response for too long.
    pub fn client_left(&self) -> u64 {
        self.client_left.load(Ordering::Relaxed)
    }

    /// Requests that broke a rule, were too large or came too slowly, and were answered accordingly.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests that failed because of an upstream, after the last try.
    pub fn upstream(&self) -> u64 {
        self.upstream.load(Ordering::Relaxed)
    }

    /// Requests that failed in this process: a phase returned an error or panicked.
    pub fn internal(&self) -> u64 {
        self.internal.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, failure: FaultSide) {
        let counter = match failure {
            FaultSide::ClientLeft => &self.client_left,
            FaultSide::Refused => &self.refused,
            FaultSide::Upstream => &self.upstream,
            FaultSide::Internal => &self.internal,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The side at fault for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultSide {
    ClientLeft,
    Refused,
    Upstream,
    Internal,
}

impl FaultSide {
    /// `status` is the status sent to the client; 0: the client was not answered.
    pub(crate) fn of(error: &Error, status: u16) -> Self {
        match error.esource() {
            ErrorSource::Downstream if status == 0 => FaultSide::ClientLeft,
            ErrorSource::Downstream => FaultSide::Refused,
            ErrorSource::Upstream => FaultSide::Upstream,
            ErrorSource::Internal | ErrorSource::Unset => FaultSide::Internal,
        }
    }

    /// Clients leave and send nonsense all the time; that is no reason to alert an operator.
    pub(crate) fn level(self) -> Level {
        match self {
            FaultSide::ClientLeft | FaultSide::Refused => Level::Info,
            FaultSide::Upstream | FaultSide::Internal => Level::Error,
        }
    }

    /// How metrics call it.
    pub(crate) fn side(self) -> FailedSide {
        match self {
            FaultSide::ClientLeft => FailedSide::ClientLeft,
            FaultSide::Refused => FailedSide::Client,
            FaultSide::Upstream => FailedSide::Upstream,
            FaultSide::Internal => FailedSide::Internal,
        }
    }

    /// The beginning of its line in the log.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            FaultSide::ClientLeft => "A client left",
            FaultSide::Refused => "A request is refused",
            FaultSide::Upstream | FaultSide::Internal => "Fail to proxy",
        }
    }
}

/// The error with which a request fails if one of its phases panics.
#[cold]
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> BError {
    Process::panicked(Panicked::Request);
    let text = panic
        .downcast_ref::<&'static str>()
        .map(|text| text.to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "of unknown kind".to_string());
    Error::explain(
        ErrorType::InternalError,
        format!("a phase panicked: {text}"),
    )
    .into_in()
}

/// Calls what a user has written; a panic of it is an error.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, BError> {
    std::panic::catch_unwind(AssertUnwindSafe(call)).map_err(|panic| panicked(&*panic))
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
                FaultSide::ClientLeft,
                Level::Info,
            ),
            (
                Error::new_down(closed.clone()),
                400,
                FaultSide::Refused,
                Level::Info,
            ),
            (
                Error::new_up(closed.clone()),
                502,
                FaultSide::Upstream,
                Level::Error,
            ),
            (
                Error::new_up(closed.clone()),
                0,
                FaultSide::Upstream,
                Level::Error,
            ),
            (
                Error::new_in(closed.clone()),
                500,
                FaultSide::Internal,
                Level::Error,
            ),
            (Error::new(closed), 500, FaultSide::Internal, Level::Error),
        ] {
            assert_eq!(FaultSide::of(&error, status), failure, "{error}");
            assert_eq!(failure.level(), level, "{error}");
        }
        let counts = FailureCounts::default();
        counts.count(FaultSide::ClientLeft);
        counts.count(FaultSide::Refused);
        counts.count(FaultSide::Refused);
        let counted = [
            counts.client_left(),
            counts.refused(),
            counts.upstream(),
            counts.internal(),
        ];
        assert_eq!(counted, [1, 2, 0, 0]);
    }
}
