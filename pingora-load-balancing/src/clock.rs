//! The time, for the parts that don't read a clock themselves.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time since the first call. Never decreases.
pub(crate) fn now() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

/// `time` in whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
