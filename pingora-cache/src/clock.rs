//! The time that the cache reckons with.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

/// The start of the process, on both clocks.
static START: LazyLock<(SystemTime, Instant)> =
    LazyLock::new(|| (SystemTime::now(), Instant::now()));

/// The time, as the wall clock showed it when the process first asked, and as the monotonic clock has counted since:
/// a step of the wall clock makes nothing fresh or stale. `Date` fields of responses are compared with the wall
/// clock, because others wrote them.
pub fn now() -> SystemTime {
    let (wall, monotonic) = *START;
    wall.checked_add(monotonic.elapsed()).unwrap_or(wall)
}

/// The time of the wall clock at a time of [`now`]: the same, unless it has been set since the process began, in whole
/// seconds.
pub(crate) fn to_wall(time: SystemTime) -> SystemTime {
    let (steady, wall) = (now(), SystemTime::now());
    let moved = match wall.duration_since(steady) {
        Ok(ahead) => time.checked_add(Duration::from_secs(ahead.as_secs())),
        Err(behind) => time.checked_sub(Duration::from_secs(behind.duration().as_secs())),
    };
    moved.unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let one = now();
        let two = now();
        assert!(two >= one);
        assert!(START.0 <= one);
    }
}
