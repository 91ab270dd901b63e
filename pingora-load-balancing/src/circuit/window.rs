//! Results of the recent past, in ten time slices. Pure: the time is an argument.

use std::time::Duration;

const SLICES: usize = 10;

/// The number of results, and of bad results, within a time window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    slices: [Counts; SLICES],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The number of the slice since the start of time.
    slice: u64,
    pub(crate) all: u32,
    pub(crate) bad: u32,
}

impl Window {
    /// Counts a result, and returns the counts within the last `length`, this one included.
    pub(crate) fn count(&mut self, now: Duration, length: Duration, bad: bool) -> Counts {
        let width = (length / SLICES as u32).max(Duration::from_millis(1));
        let number = now.as_millis() / width.as_millis();
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let place = (number % SLICES as u64) as usize;
        if let Some(slice) = self.slices.get_mut(place) {
            if slice.slice != number {
                *slice = Counts::default();
                slice.slice = number;
            }
            slice.all = slice.all.saturating_add(1);
            slice.bad = slice.bad.saturating_add(u32::from(bad));
        }
        let oldest = number.saturating_sub(SLICES as u64 - 1);
        let recent = self.slices.iter().filter(|s| s.slice >= oldest);
        recent.fold(Counts::default(), |sum, s| Counts {
            slice: number,
            all: sum.all.saturating_add(s.all),
            bad: sum.bad.saturating_add(s.bad),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut window = Window::default();
        let length = Duration::from_secs(10);
        let mut at = |second, bad| {
            let counts = window.count(Duration::from_secs(second), length, bad);
            (counts.all, counts.bad)
        };
        assert_eq!(at(0, true), (1, 1));
        assert_eq!(at(3, false), (2, 1));
        assert_eq!(at(9, true), (3, 2));
        assert_eq!(at(10, false), (3, 1));
        assert_eq!(at(13, false), (3, 1));
        assert_eq!(at(100, true), (1, 1));
    }

    #[test]
    fn a_window_without_length_is_a_short_one() {
        let mut window = Window::default();
        window.count(Duration::MAX, Duration::ZERO, true);
        assert_eq!(window.count(Duration::MAX, Duration::ZERO, true).bad, 2);
    }
}
