//! The configuration file and the command line.

pub use crate::process::{Opt, ServerConf};
pub use crate::runtime::RuntimeMetricsPollTimeHistogramScale;
