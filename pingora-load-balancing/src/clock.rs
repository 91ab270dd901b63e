//! The time, for the parts that don't read a clock themselves.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The time since an unspecified moment. Never decreases.
pub(crate) fn now() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

/// [`now`] as of the last tick of the kernel's timer: a few milliseconds late, for a fraction of the cost. Don't
/// compare it with a deadline.
pub(crate) fn roughly() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::CLOCK_MONOTONIC;
    read(clock)
}

fn read(clock: ClockId) -> Duration {
    // Both clocks exist wherever this compiles, so reading them does not fail.
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// `time` in whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheap_clock_is_the_exact_one_at_its_last_tick() {
        let before = roughly();
        let exact = now();
        assert!(before <= exact);
        while roughly() <= exact {
            std::thread::yield_now();
        }
        assert!(roughly() <= now());
    }
}
