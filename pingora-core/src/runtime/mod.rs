//! Runtimes, and state that is local to one.
//!
//! Each service owns a [`Runtime`], whose threads work for no other service. Its tasks reach all of
//! its threads through a [`Handle`].

mod figures;
mod handle;
pub mod local;
mod options;
mod threads;
pub mod watchdog;

pub use handle::Handle;
pub use options::{RuntimeMetricsOpts, RuntimeMetricsPollTimeHistogramScale, RuntimeOpts};
pub use threads::Runtime;
pub use watchdog::Watchdog;

#[cfg(test)]
mod tests;
