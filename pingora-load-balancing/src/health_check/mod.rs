//! How to tell whether a backend is healthy.

mod expected;
mod grpc;
mod http;
pub(crate) mod pace;
mod tcp;

pub use self::http::HttpHealthCheck;
pub use expected::Expected;
pub use grpc::GrpcHealthCheck;
pub use pace::CheckPace;
pub use tcp::TcpHealthCheck;

use crate::Backend;
use async_trait::async_trait;
use pingora_error::Result;
use std::time::Duration;

/// Observes changes of a backend's health.
#[async_trait]
pub trait HealthObserve {
    /// `target` has just become healthy, or unhealthy. The check of this backend waits for this call.
    async fn observe(&self, target: &Backend, healthy: bool);
}

/// An observer, in the form that a check keeps.
pub type HealthObserveCallback = Box<dyn HealthObserve + Send + Sync>;

/// Describes a backend for the log.
pub type BackendSummary = Box<dyn Fn(&Backend) -> String + Send + Sync>;

/// The default time limit of a check.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Determines whether a backend is healthy.
///
/// A panic in one of these methods counts as a failed check.
#[async_trait]
pub trait HealthCheck {
    /// Checks once. A background service drops it if it takes longer than [its timeout](Self::timeout);
    /// if a program calls `run_health_check` itself, this must end by itself.
    ///
    /// # Errors
    /// If the backend is unhealthy.
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

    /// The number of consecutive checks that must succeed (fail) before a backend that was
    /// unhealthy (healthy) counts as healthy (unhealthy). 0 means 1.
    fn health_threshold(&self, success: bool) -> usize;

    /// How long a background service waits for [`check`](Self::check) before the check counts as failed,
    /// so that a hanging check does not keep the others from running; and how long it then waits for
    /// [`health_status_change`](Self::health_status_change). `None`: without limit. 10 seconds by
    /// default.
    fn timeout(&self) -> Option<Duration> {
        Some(TIMEOUT)
    }
}

/// The timeout of a check that limits its own steps: long enough never to end those, so it only ends what
/// they don't bound.
fn longer_than(steps: impl IntoIterator<Item = Option<Duration>>) -> Option<Duration> {
    let known = steps.into_iter().flatten();
    let sum = known.fold(Duration::ZERO, Duration::saturating_add);
    Some(TIMEOUT.max(sum.saturating_mul(2)))
}
