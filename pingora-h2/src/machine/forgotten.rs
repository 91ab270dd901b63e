//! Streams that are over, and the frames that still arrive for them (RFC 9113 section 5.1,
//! "closed").

use super::Clock;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The meaning of a frame for a closed stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// The frame was in flight when we reset the stream.
    InFlight,
    /// We reset that stream long ago, or may have done so: send the reset again.
    Stale,
    /// The peer itself ended or reset the stream, or never opened it.
    AfterEnd,
}

/// The streams that we reset most recently. Bounded in number.
///
/// ```text
///   reset ──▶ InFlight ──lifetime──▶ Stale ──pushed out by later ones──▶ Stale
/// ```
#[derive(Debug)]
pub(crate) struct Forgotten {
    resets: VecDeque<(u32, Instant)>,
    most: usize,
    lifetime: Duration,
    /// The highest stream reset by us that is no longer in the list.
    pushed_out: u32,
}

impl Forgotten {
    pub(crate) fn new(most: usize, lifetime: Duration) -> Self {
        Forgotten {
            resets: VecDeque::new(),
            most,
            lifetime,
            pushed_out: 0,
        }
    }

    /// Records that we reset a stream that the peer had not ended.
    pub(crate) fn remember(&mut self, id: u32, clock: Clock<'_>) {
        if self.most == 0 {
            self.pushed_out = self.pushed_out.max(id);
            return;
        }
        while self.resets.len() >= self.most {
            if let Some((old, _)) = self.resets.pop_front() {
                self.pushed_out = self.pushed_out.max(old);
            }
        }
        self.resets.push_back((id, clock()));
    }

    /// Classifies a frame for this stream, which was open once but no longer is.
    pub(crate) fn late(&self, id: u32, clock: Clock<'_>) -> Late {
        let known = self.resets.iter().rev().find(|(reset, _)| *reset == id);
        match known {
            Some((_, when)) if clock().saturating_duration_since(*when) <= self.lifetime => {
                Late::InFlight
            }
            Some(_) => Late::Stale,
            None if id <= self.pushed_out => Late::Stale,
            None => Late::AfterEnd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_stream_is_remembered_by_number_and_time() {
        let start = Instant::now();
        let at = |seconds: u64| move || start + Duration::from_secs(seconds);
        let mut forgotten = Forgotten::new(2, Duration::from_secs(30));
        forgotten.remember(3, &at(0));
        forgotten.remember(7, &at(20));
        let rows = [
            (3, 0, Late::InFlight),
            (3, 31, Late::Stale),
            (7, 31, Late::InFlight),
            (5, 0, Late::AfterEnd),
        ];
        for (id, when, expected) in rows {
            assert_eq!(
                forgotten.late(id, &at(when)),
                expected,
                "{id} after {when} s"
            );
        }
        forgotten.remember(9, &at(20));
        assert_eq!(forgotten.late(3, &at(20)), Late::Stale, "pushed out");
        assert_eq!(forgotten.late(7, &at(20)), Late::InFlight);
        assert_eq!(forgotten.late(9, &at(60)), Late::Stale);
        assert_eq!(forgotten.late(11, &at(60)), Late::AfterEnd);
    }
}
