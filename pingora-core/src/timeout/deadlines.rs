//! Several deadlines watched by one timer. Pure: the time is passed in.

use tokio::time::Instant;

/// A kind of deadline: a number that its owner gives a meaning.
///
/// The owner of a set of deadlines names its kinds as constants and keeps the meaning of each (which error,
/// whose fault) beside them; this module only compares instants.
///
/// ```
/// use pingora_core::timeout::Deadline;
///
/// const HEAD: Deadline = Deadline::new(0);
/// const BODY: Deadline = Deadline::new(1);
/// assert_ne!(HEAD, BODY);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(u8);

impl Deadline {
    /// How many kinds one set of [`Deadlines`] tells apart.
    pub const KINDS: usize = 10;

    /// The kind with this number.
    ///
    /// # Panics
    /// Where the number is not below [`Deadline::KINDS`]: in a constant, at compile time.
    pub const fn new(number: u8) -> Self {
        assert!(
            (number as usize) < Self::KINDS,
            "there are not so many kinds"
        );
        Deadline(number)
    }

    /// The number of this kind.
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

/// Absolute deadlines by kind. Pure: it is told the time and never asks for it.
///
/// In: [`set`](Self::set) and [`clear`](Self::clear). Out: [`next`](Self::next), for the owner of the timer,
/// and [`expired`](Self::expired) when it fires.
///
/// ```
/// use pingora_core::timeout::{Deadline, Deadlines};
/// use std::time::Duration;
/// use tokio::time::Instant;
///
/// let now = Instant::now();
/// const HEAD: Deadline = Deadline::new(0);
/// let mut deadlines = Deadlines::default();
/// deadlines.set(HEAD, Some(now + Duration::from_secs(5)));
/// assert_eq!(deadlines.expired(now), None);
/// assert_eq!(deadlines.expired(now + Duration::from_secs(5)), Some(HEAD));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Deadlines {
    at: [Option<Instant>; Deadline::KINDS],
}

impl Deadlines {
    /// Sets, moves or (with `None`) lifts the deadline of this kind.
    #[inline]
    pub fn set(&mut self, kind: Deadline, at: Option<Instant>) {
        if let Some(slot) = self.at.get_mut(kind.number()) {
            *slot = at;
        }
    }

    /// When the deadline of this kind is, if there is one.
    pub fn get(&self, kind: Deadline) -> Option<Instant> {
        self.at.get(kind.number()).copied().flatten()
    }

    /// The earliest of all deadlines.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        self.at.iter().flatten().min().copied()
    }

    /// A deadline that has passed at `now`; the earliest where there are several.
    #[inline]
    pub fn expired(&self, now: Instant) -> Option<Deadline> {
        let passed = |(number, at): (u8, &Option<Instant>)| {
            at.filter(|at| *at <= now).map(|at| (at, Deadline(number)))
        };
        (0..)
            .zip(&self.at)
            .filter_map(passed)
            .min_by_key(|(at, _)| *at)
            .map(|(_, kind)| kind)
    }

    /// Lifts all deadlines.
    pub fn clear(&mut self) {
        *self = Deadlines::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HEAD: Deadline = Deadline::new(0);
    const PROGRESS: Deadline = Deadline::new(1);
    const TOTAL: Deadline = Deadline::new(2);

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn every_kind_has_its_own_slot() {
        let now = Instant::now();
        for number in 0..Deadline::KINDS as u8 {
            let kind = Deadline::new(number);
            assert_eq!(kind.number(), usize::from(number));
            let mut deadlines = Deadlines::default();
            deadlines.set(kind, Some(now));
            assert_eq!(deadlines.expired(now), Some(kind));
            assert_eq!(deadlines.get(kind), Some(now));
            deadlines.set(kind, None);
            assert_eq!(deadlines.next(), None);
        }
    }

    #[test]
    fn the_earliest_is_told_first() {
        let now = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.set(TOTAL, Some(now + second(1)));
        deadlines.set(HEAD, Some(now + second(2)));
        assert_eq!(deadlines.next(), Some(now + second(1)));
        assert_eq!(deadlines.expired(now + second(3)), Some(TOTAL));
    }

    #[test]
    fn a_deadline_passes_at_its_instant_and_not_before() {
        let now = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.set(PROGRESS, Some(now + second(1)));
        assert_eq!(
            deadlines.expired(now + second(1) - Duration::from_nanos(1)),
            None
        );
        assert_eq!(deadlines.expired(now + second(1)), Some(PROGRESS));
        deadlines.clear();
        assert_eq!(deadlines.expired(now + second(9)), None);
    }
}
