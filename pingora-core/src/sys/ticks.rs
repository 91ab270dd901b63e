//! A clock for measuring, as cheap as there is: the processor's counter, where the kernel takes its own time from it; the
//! kernel's clock elsewhere.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the counter is compared with the clock, once in the life of a process.
const COMPARED: Duration = Duration::from_millis(1);

/// The unit of a tick.
#[derive(Debug)]
struct Ticks {
    /// Of the kernel's clock, where that is used: from here on, in nanoseconds.
    epoch: Option<Instant>,
    /// Units of 2⁻²⁰ s per tick, times 2³².
    scale: u64,
}

static TICKS: OnceLock<Ticks> = OnceLock::new();

#[cold]
fn ticks() -> &'static Ticks {
    let ticks = TICKS.get_or_init(|| compare().unwrap_or_else(nanoseconds));
    if ticks.epoch.is_none() {
        SCALE.store(ticks.scale, Ordering::Relaxed);
    }
    ticks
}

fn scale(per_second: f64) -> u64 {
    // 2^52
    (4_503_599_627_370_496.0 / per_second) as u64
}

fn nanoseconds() -> Ticks {
    Ticks {
        epoch: Some(Instant::now()),
        scale: scale(1e9),
    }
}

/// Where the kernel trusts the counter, it runs at one speed, and all processors have the same.
#[cfg(target_arch = "x86_64")]
fn compare() -> Option<Ticks> {
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    if std::fs::read_to_string(source).ok()?.trim() != "tsc" {
        return None;
    }
    let (begun, first) = (Instant::now(), counter());
    while begun.elapsed() < COMPARED {
        std::hint::spin_loop();
    }
    let (elapsed, last) = (begun.elapsed(), counter());
    let per_second = last.checked_sub(first)? as f64 / elapsed.as_secs_f64();
    // Slower would be too coarse, faster is not built: something is wrong with it.
    let is_plausible = (1e8..1e11).contains(&per_second);
    is_plausible.then(|| Ticks {
        epoch: None,
        scale: scale(per_second),
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn compare() -> Option<Ticks> {
    None
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> u64 {
    // SAFETY: every processor of this architecture has the instruction; where a process may not execute it
    // (PR_SET_TSC), the C library's clock could not either, from which the kernel's clock source says it reads.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    0
}

/// That of the counter, once it is known; 0: the kernel's clock is used, or it was not asked for yet.
static SCALE: AtomicU64 = AtomicU64::new(0);

/// The present time in ticks, from an unspecified beginning.
#[inline]
pub(crate) fn now() -> u64 {
    if SCALE.load(Ordering::Relaxed) > 0 {
        counter()
    } else {
        now_by(ticks())
    }
}

#[cold]
fn now_by(ticks: &Ticks) -> u64 {
    match ticks.epoch {
        None => counter(),
        Some(epoch) => u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX),
    }
}

/// How long ago that was, in units of 2⁻²⁰ s.
#[inline]
pub(crate) fn units_since(begun: u64) -> u64 {
    let known = SCALE.load(Ordering::Relaxed);
    let scale = if known > 0 { known } else { ticks().scale };
    let ticks_since = now().saturating_sub(begun);
    ((u128::from(ticks_since) * u128::from(scale)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: f64 = 1_048_576.0;

    #[test]
    fn it_agrees_with_the_clock() {
        let (begun, instant) = (now(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let at_least = instant.elapsed().as_secs_f64();
        let measured = units_since(begun) as f64 / UNITS;
        let at_most = instant.elapsed().as_secs_f64() + 0.001;
        // One of them may have been interrupted in between; a wrong scale is off by much more.
        assert!(
            measured >= at_least * 0.95 && measured <= at_most * 1.05,
            "{measured} {at_least}"
        );
        assert_eq!(units_since(u64::MAX), 0, "time does not run backwards");
    }

    #[test]
    fn nanoseconds_serve_as_well() {
        let ticks = nanoseconds();
        let second = (1_000_000_000_u128 * u128::from(ticks.scale)) >> 32;
        assert!(second.abs_diff(1 << 20) < 2, "{second}");
    }
}
