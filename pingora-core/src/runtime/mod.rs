//! Runtimes, and what is local to one.
//!
//! Each service owns a [`Runtime`]: threads that nobody else works on. What runs on it reaches all
//! of its threads through a [`Handle`].

mod handle;
pub mod local;
mod options;
mod threads;

pub use handle::Handle;
pub use options::{RuntimeMetricsOpts, RuntimeMetricsPollTimeHistogramScale, RuntimeOpts};
pub use threads::Runtime;

#[cfg(test)]
mod tests;
