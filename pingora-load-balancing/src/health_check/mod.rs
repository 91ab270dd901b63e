//! How a backend is found to be well.

mod http;
mod tcp;

pub use self::http::HttpHealthCheck;
pub use tcp::TcpHealthCheck;

use crate::Backend;
use async_trait::async_trait;
use pingora_error::Result;

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

/// Finds out whether a backend is well.
#[async_trait]
pub trait HealthCheck {
    /// Checks once. Must end by itself: nobody interrupts it but the end of the process.
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
}
