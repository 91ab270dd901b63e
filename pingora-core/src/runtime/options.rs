//! How a service's runtime is built.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a service's runtime is built. A service may override the configuration for all services: see
/// [`crate::services::Service::runtime_opts_override`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeOpts {
    /// Whether idle threads take tasks from busy ones. If not, each thread is a runtime of its own,
    /// and a connection stays with the thread that it was given to. Default: `true`.
    pub work_stealing: bool,
    /// The maximum number of threads for blocking calls. Default: tokio's, 512.
    pub max_blocking_threads: Option<usize>,
    /// How long a thread for blocking calls outlives its last call. Default: tokio's, 10 s.
    pub blocking_threads_ttl: Option<Duration>,
    /// The measurements of the runtime. Default: none.
    pub metrics: RuntimeMetricsOpts,
}

impl Default for RuntimeOpts {
    fn default() -> Self {
        RuntimeOpts {
            work_stealing: true,
            max_blocking_threads: None,
            blocking_threads_ttl: None,
            metrics: RuntimeMetricsOpts::default(),
        }
    }
}

/// The measurements of a runtime: a histogram of the duration of each poll of a task.
///
/// The settings are passed to the code that builds runtimes; tokio records the histogram only in
/// programs that are compiled with its unstable features, so it is currently not recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeMetricsOpts {
    /// Whether the histogram is wanted.
    pub poll_time_histogram: bool,
    /// How the widths of its buckets grow.
    pub poll_time_histogram_scale: Option<RuntimeMetricsPollTimeHistogramScale>,
    /// The width of the first bucket.
    pub poll_time_histogram_resolution: Option<Duration>,
    /// The number of buckets.
    pub poll_time_histogram_buckets: Option<usize>,
}

/// How the widths of a histogram's buckets grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeMetricsPollTimeHistogramScale {
    /// All are equally wide.
    #[default]
    Linear,
    /// Each is twice as wide as the one before.
    Log,
}
