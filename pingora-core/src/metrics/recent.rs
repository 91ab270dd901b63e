//! The last requests that failed or were slow, for whoever looks.

use super::histogram::{duration, units};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How many are kept, the oldest being forgotten first.
const KEPT: usize = 100;
/// The most of a text that is kept, in bytes.
const LONGEST: usize = 200;

/// In units of 2⁻²⁰ s; the greatest: never.
static SLOW_AFTER: AtomicU64 = AtomicU64::new(1 << 20);

static RECENT: Mutex<VecDeque<Incident>> = Mutex::new(VecDeque::new());

/// Why a request is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IncidentKind {
    /// It failed, and not because of its client.
    Failed,
    /// It took longer than [`slow_after`].
    Slow,
    /// A phase of it kept a thread from all other work.
    Blocked,
}

impl IncidentKind {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            IncidentKind::Failed => "failed",
            IncidentKind::Slow => "slow",
            IncidentKind::Blocked => "blocked",
        }
    }
}

/// A request that failed or was slow.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Incident {
    /// When it was noticed.
    pub at: SystemTime,
    /// Why it is here.
    pub kind: IncidentKind,
    /// The request, without its query: there may be secrets in it.
    pub request: String,
    /// The error, or the phase that took long; may be empty.
    pub what: String,
    /// The status that the client got; 0: none.
    pub status: u16,
    /// How long it had taken.
    pub took: Duration,
}

/// Remembers an incident. Texts are cut to 200 bytes, and control characters in them replaced. Takes a lock: not for what
/// happens often.
#[cold]
pub fn note_incident(kind: IncidentKind, request: &str, what: &str, status: u16, took: Duration) {
    let incident = Incident {
        at: SystemTime::now(),
        kind,
        request: tidy(request),
        what: tidy(what),
        status,
        took,
    };
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    if recent.len() >= KEPT {
        recent.pop_front();
    }
    recent.push_back(incident);
}

/// The last incidents of this process, the latest first; at most 100.
pub fn recent_incidents() -> Vec<Incident> {
    let recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    recent.iter().rev().cloned().collect()
}

/// From which duration on a request is remembered as a slow one; a second by default. `None`: none is.
pub fn slow_after() -> Option<Duration> {
    let units = SLOW_AFTER.load(Ordering::Relaxed);
    (units != u64::MAX).then(|| duration(units))
}

/// Whether so many units are slow.
#[inline]
pub(super) fn is_slow(units: u64) -> bool {
    units >= SLOW_AFTER.load(Ordering::Relaxed)
}

/// Sets [`slow_after`], to about a microsecond.
pub fn set_slow_after(limit: Option<Duration>) {
    // No request takes a century.
    let longest = Duration::from_secs(u64::from(u32::MAX));
    let units = limit.map_or(u64::MAX, |limit| units(limit.min(longest)));
    SLOW_AFTER.store(units, Ordering::Relaxed);
}

fn tidy(text: &str) -> String {
    let tidy = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    let mut kept: String = text.chars().take(LONGEST).map(tidy).collect();
    while kept.len() > LONGEST {
        kept.pop();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_in_bounds() {
        for n in 0..1000 {
            let request = format!("GET /{n}\r\n\u{1b}[2J{}", "ä".repeat(5000));
            note_incident(IncidentKind::Failed, &request, "boom", 502, Duration::ZERO);
        }
        let recent = recent_incidents();
        assert_eq!(recent.len(), KEPT);
        let own = recent
            .iter()
            .find(|one| one.request.starts_with("GET /999"));
        let own = own.expect("the last of this test is among the last hundred");
        assert!(own.request.len() <= LONGEST && !own.request.contains(char::is_control));
    }
}
