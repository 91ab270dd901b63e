use tokio::time::Instant;

/// What runs out when a deadline passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The time in which a message head has to arrive whole.
    Head,
    /// The time a connection may stay idle between two requests.
    KeepAlive,
    /// The time between two reads from the downstream.
    DownstreamRead,
    /// The time in which the downstream has to take something off its queue.
    DownstreamWrite,
    /// The time between two reads from the upstream.
    UpstreamRead,
    /// The time in which the upstream has to take something off its queue.
    UpstreamWrite,
    /// The time in which a byte has to move in any direction at all.
    Progress,
    /// The time for the whole request.
    Total,
    /// Not a limit: the instant at which something that was put off goes on.
    Resume,
}

const KINDS: [Deadline; 9] = [
    Deadline::Head,
    Deadline::KeepAlive,
    Deadline::DownstreamRead,
    Deadline::DownstreamWrite,
    Deadline::UpstreamRead,
    Deadline::UpstreamWrite,
    Deadline::Progress,
    Deadline::Total,
    Deadline::Resume,
];

/// Absolute deadlines by kind. Pure: it is told the time and never asks for it.
///
/// ```
/// use pingora_core::timeout::{Deadline, Deadlines};
/// use std::time::Duration;
/// use tokio::time::Instant;
///
/// let now = Instant::now();
/// let mut deadlines = Deadlines::default();
/// deadlines.set(Deadline::Head, Some(now + Duration::from_secs(5)));
/// assert_eq!(deadlines.expired(now), None);
/// assert_eq!(deadlines.expired(now + Duration::from_secs(5)), Some(Deadline::Head));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Deadlines {
    at: [Option<Instant>; KINDS.len()],
}

impl Deadlines {
    /// Sets, moves or (with `None`) lifts the deadline of this kind.
    #[inline]
    pub fn set(&mut self, kind: Deadline, at: Option<Instant>) {
        // The discriminants are the positions in `KINDS`; a test holds this.
        if let Some(slot) = self.at.get_mut(kind as usize) {
            *slot = at;
        }
    }

    /// When the deadline of this kind is, if there is one.
    pub fn get(&self, kind: Deadline) -> Option<Instant> {
        self.at.get(kind as usize).copied().flatten()
    }

    /// The earliest of all deadlines.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        self.at.iter().flatten().min().copied()
    }

    /// A deadline that has passed at `now`; the earliest where there are several.
    #[inline]
    pub fn expired(&self, now: Instant) -> Option<Deadline> {
        let passed = |(kind, at): (&Deadline, &Option<Instant>)| {
            at.filter(|at| *at <= now).map(|at| (at, *kind))
        };
        KINDS
            .iter()
            .zip(&self.at)
            .filter_map(passed)
            .min_by_key(|(at, _)| *at)
            .map(|(_, k)| k)
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

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn every_kind_has_its_own_slot() {
        let now = Instant::now();
        for (position, kind) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, position);
            let mut deadlines = Deadlines::default();
            deadlines.set(*kind, Some(now));
            assert_eq!(deadlines.expired(now), Some(*kind));
            assert_eq!(deadlines.get(*kind), Some(now));
            deadlines.set(*kind, None);
            assert_eq!(deadlines.next(), None);
        }
    }

    #[test]
    fn the_earliest_is_told_first() {
        let now = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.set(Deadline::Total, Some(now + second(1)));
        deadlines.set(Deadline::Head, Some(now + second(2)));
        assert_eq!(deadlines.next(), Some(now + second(1)));
        assert_eq!(deadlines.expired(now + second(3)), Some(Deadline::Total));
    }

    #[test]
    fn a_deadline_passes_at_its_instant_and_not_before() {
        let now = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.set(Deadline::Progress, Some(now + second(1)));
        assert_eq!(
            deadlines.expired(now + second(1) - Duration::from_nanos(1)),
            None
        );
        assert_eq!(deadlines.expired(now + second(1)), Some(Deadline::Progress));
        deadlines.clear();
        assert_eq!(deadlines.expired(now + second(9)), None);
    }
}
