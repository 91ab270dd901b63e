//! How a backend is found to be well.

mod http;
mod tcp;

pub use self::http::HttpHealthCheck;
pub use tcp::TcpHealthCheck;

use crate::Backend;
use async_trait::async_trait;
use pingora_error::Result;
use std::time::Duration;

/// Is told when a backend's health changes.
#[async_trait]
pub trait HealthObserve {
    /// `target` has just become healthy, or unhealthy. The check of this backend waits for it.
    async fn observe(&self, target: &Backend, healthy: bool);
}

/// An observer, as a check keeps it.
pub type HealthObserveCallback = Box<dyn HealthObserve + Send + Sync>;

/// Describes a backend for the log.
pub type BackendSummary = Box<dyn Fn(&Backend) -> String + Send + Sync>;

/// How long a check may take unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Finds out whether a backend is well.
///
/// A panic in one of these methods counts as a check that failed.
#[async_trait]
pub trait HealthCheck {
    /// Checks once. A background service drops it when it takes longer than [its time-out](Self::timeout);
    /// where a program calls `run_health_check` itself, this must end by itself.
    ///
    /// # Errors
    /// If the backend is not well.
    async fn check(&self, target: &Backend) -> Result<()>;

    /// Called after `target` became healthy, or unhealthy. Does nothing by default.
    async fn health_status_change(&self, _target: &Backend, _healthy: bool)
    where
        Self: Sync,
    {
    }

    /// Describes a backend for the log; its address by default.
    fn backend_summary(&self, target: &Backend) -> String {
        format!("backend {}", target.addr)
    }

    /// How many checks in a row must succeed (fail) before a backend that was unhealthy (healthy)
    /// counts as healthy (unhealthy). 0 means 1.
    fn health_threshold(&self, success: bool) -> usize;

    /// How long a background service waits for [`check`](Self::check) before the check has failed, so that
    /// one that hangs does not keep the others from being checked; and after it, for
    /// [`health_status_change`](Self::health_status_change). `None`: for ever. 10 seconds by default.
    fn timeout(&self) -> Option<Duration> {
        Some(TIMEOUT)
    }
}

/// The time-out of a check that knows how long its steps may take: they never end it, it ends only what they
/// don't bound.
fn longer_than(steps: impl IntoIterator<Item = Option<Duration>>) -> Option<Duration> {
    let known = steps.into_iter().flatten();
    let sum = known.fold(Duration::ZERO, Duration::saturating_add);
    Some(TIMEOUT.max(sum.saturating_mul(2)))
}
