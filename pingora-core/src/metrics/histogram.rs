//! Histograms of durations in fixed memory: log-linear, eight steps for each power of two.
//!
//! The unit is 2⁻²⁰ s, a little less than a microsecond, so that the powers of two of it are those of a second as
//! well. A step is an eighth of a power of two wide: a quantile is off by at most 12.5 %, mostly by half of that.

use std::time::{Duration, SystemTime};

/// Steps for each power of two.
const STEPS: usize = 1 << STEP_BITS;
const STEP_BITS: u32 = 3;
/// Durations from 2⁷ s on are in one cell.
const TOP: u32 = 27;
/// The cell of those.
const OVERFLOW: usize = ((TOP - STEP_BITS) as usize + 1) * STEPS;
/// The cell of the sum, in units.
const SUM: usize = OVERFLOW + 1;
/// Cells of a histogram.
pub(super) const CELLS: usize = SUM + 1;

/// Units per second, as a power of two.
const UNITS: u32 = 20;

/// The first and the last upper bound that is written out, as powers of two of the unit: 122 µs and 64 s.
const WRITTEN: std::ops::RangeInclusive<u32> = FIRST..=LAST;
const FIRST: u32 = 7;
const LAST: u32 = 26;
/// How many buckets are written out, that without a bound included.
pub(super) const BUCKETS: usize = (LAST - FIRST) as usize + 2;

/// In units.
#[inline]
pub(super) fn units(time: Duration) -> u64 {
    // 2^52 / 10^9, so that the nanoseconds take a multiplication instead of a division.
    const SCALE: u64 = (1 << 52) / 1_000_000_000;
    let nanos = u64::from(time.subsec_nanos());
    (time.as_secs() << UNITS) + ((nanos * SCALE) >> 32)
}

/// So many units.
pub(super) fn duration(units: u64) -> Duration {
    Duration::from_secs_f64(seconds(units))
}

pub(super) fn seconds(units: u64) -> f64 {
    units as f64 / f64::from(1 << UNITS)
}

/// The cell for so many units.
#[inline]
fn cell(units: u64) -> usize {
    if units < STEPS as u64 {
        return units as usize;
    }
    let power = units.ilog2();
    if power >= TOP {
        return OVERFLOW;
    }
    let shift = power - STEP_BITS;
    let step = (units >> shift) as usize & (STEPS - 1);
    (shift as usize + 1) * STEPS + step
}

/// The least number of units that belong into a cell.
fn floor(cell: usize) -> u64 {
    if cell < STEPS {
        return cell as u64;
    }
    let shift = cell / STEPS - 1;
    ((STEPS + cell % STEPS) as u64) << shift
}

/// The cell that a duration of so many units is counted in, and what it adds to that of the sum.
#[inline]
pub(super) fn place(units: u64) -> (usize, (usize, u64)) {
    (cell(units), (SUM, units))
}

/// The bucket, of those that are written out, that so many units are counted in first.
pub(super) fn bucket(units: u64) -> usize {
    let power = units.checked_ilog2().map_or(0, |power| power + 1);
    (power.max(FIRST) - FIRST).min(LAST + 1 - FIRST) as usize
}

/// An example of what a bucket of a [`Histogram`] has counted.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exemplar {
    /// The trace that it belongs to.
    pub trace_id: u128,
    /// The duration that was counted, in seconds.
    pub seconds: f64,
    /// When it was counted.
    pub at: SystemTime,
}

/// One for each bucket, the last being that without a bound.
pub(super) type OfBuckets = [Option<Exemplar>; BUCKETS];

/// Of two for the same bucket, the later one stays.
pub(super) fn merge(sum: &mut OfBuckets, others: &OfBuckets) {
    for (kept, other) in sum.iter_mut().zip(others) {
        if other.is_some_and(|other| kept.is_none_or(|kept| other.at > kept.at)) {
            *kept = *other;
        }
    }
}

/// The durations of something, as far as it was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    cells: Vec<u64>,
    exemplars: Option<Box<OfBuckets>>,
}

impl Histogram {
    pub(super) fn new(cells: &[u64]) -> Self {
        let mut cells = cells.to_vec();
        cells.resize(CELLS, 0);
        Histogram {
            cells,
            exemplars: None,
        }
    }

    pub(super) fn with_exemplars(self, exemplars: Option<&OfBuckets>) -> Self {
        Histogram {
            exemplars: exemplars.map(|some| Box::new(*some)),
            ..self
        }
    }

    /// One for each of the [`buckets`](Self::buckets), and one for what is longer than all of their bounds; empty where
    /// no trace was kept. `None` for a bucket whose requests had no trace that was kept.
    pub fn exemplars(&self) -> &[Option<Exemplar>] {
        self.exemplars.as_ref().map_or(&[], |some| some.as_slice())
    }

    fn counts(&self) -> &[u64] {
        self.cells.get(..SUM).unwrap_or_default()
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    /// The sum of all, in seconds.
    pub fn sum(&self) -> f64 {
        self.cells.get(SUM).map_or(0.0, |units| seconds(*units))
    }

    /// The duration that this share of all did not exceed, in seconds: 0.99 for the 99th percentile. `None` where there
    /// was none. At most 128 s.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        let rank = (share.clamp(0.0, 1.0) * count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (cell, n) in self.counts().iter().enumerate() {
            if *n > 0 && below + n >= rank {
                let (from, to) = (floor(cell), floor(cell + 1));
                let within = (rank - below) as f64 / *n as f64;
                return Some(seconds(from) + (seconds(to) - seconds(from)) * within)
                    .filter(|_| cell < OVERFLOW)
                    .or(Some(seconds(floor(OVERFLOW))));
            }
            below += n;
        }
        None
    }

    /// The counts since `before`.
    pub fn since(&self, before: &Histogram) -> Histogram {
        let pairs = self.cells.iter().zip(&before.cells);
        Histogram {
            cells: pairs.map(|(now, then)| now.wrapping_sub(*then)).collect(),
            exemplars: self.exemplars.clone(),
        }
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Histogram) {
        for (sum, n) in self.cells.iter_mut().zip(&other.cells) {
            *sum = sum.wrapping_add(*n);
        }
        match (&mut self.exemplars, &other.exemplars) {
            (Some(sum), Some(others)) => merge(sum, others),
            (none, others) => *none = none.take().or(others.clone()),
        }
    }

    /// Upper bounds in seconds, and how many were below each; without the last one, which is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut below = 0;
        let mut next = 0;
        WRITTEN.map(move |power| {
            let end = cell(1 << power);
            below += self
                .cells
                .get(next..end)
                .map_or(0, |cells| cells.iter().sum());
            next = end;
            (seconds(1 << power), below)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[Duration]) -> Histogram {
        let mut cells = vec![0; CELLS];
        for time in times {
            let (cell, (sum, units)) = place(units(*time));
            cells[cell] += 1;
            cells[sum] += units;
        }
        Histogram::new(&cells)
    }

    #[test]
    fn each_cell_begins_where_the_one_before_ends() {
        for at in 0..OVERFLOW {
            let floor = floor(at);
            assert_eq!(cell(floor), at);
            assert!(at == 0 || cell(floor - 1) == at - 1);
        }
        assert_eq!(cell(floor(OVERFLOW)), OVERFLOW);
        assert_eq!(cell(u64::MAX), OVERFLOW);
        assert_eq!(CELLS, 202);
    }

    #[test]
    fn a_duration_belongs_to_the_first_bucket_that_counts_it() {
        for units in [
            0,
            1,
            127,
            128,
            255,
            256,
            1 << 20,
            (1 << 26) - 1,
            1 << 26,
            u64::MAX,
        ] {
            let mut cells = vec![0; CELLS];
            cells[cell(units)] = 1;
            let histogram = Histogram::new(&cells);
            let counts = histogram.buckets().position(|(_, below)| below == 1);
            assert_eq!(bucket(units), counts.unwrap_or(BUCKETS - 1), "{units}");
        }
    }

    #[test]
    fn units_are_parts_of_a_second() {
        let rows = [
            (Duration::ZERO, 0),
            (Duration::from_nanos(954), 1),
            (Duration::from_millis(500), 1 << 19),
            (Duration::from_secs(3), 3 << 20),
        ];
        for (time, expected) in rows {
            let units = units(time);
            assert!(units.abs_diff(expected) <= 1, "{time:?}: {units}");
        }
        assert!(units(Duration::from_nanos(999_999_999)) < 1 << 20);
    }

    #[test]
    fn quantiles_are_near() {
        let times: Vec<_> = (1..=1000).map(Duration::from_millis).collect();
        let histogram = of(&times);
        assert_eq!(histogram.count(), 1000);
        assert!((histogram.sum() - 500.5).abs() < 0.01);
        for (share, expected) in [
            (0.5, 0.5),
            (0.9, 0.9),
            (0.99, 0.99),
            (0.0, 0.001),
            (1.0, 1.0),
        ] {
            let found = histogram.quantile(share).unwrap();
            let off = (found - expected).abs() / expected;
            assert!(off <= 0.125, "{share}: {found}");
        }
        assert_eq!(of(&[]).quantile(0.5), None);
        assert_eq!(of(&[Duration::MAX]).quantile(0.5), Some(128.0));
    }

    #[test]
    fn buckets_are_cumulative_and_powers_of_two() {
        let histogram = of(&[100, 300, 2_000_000, 500_000_000].map(Duration::from_micros));
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets.len(), 20);
        assert_eq!(buckets[0], (0.0001220703125, 1));
        assert!(buckets.contains(&(0.25, 2)) && buckets.contains(&(2.0, 2)));
        assert!(buckets.contains(&(4.0, 3)));
        assert_eq!(buckets[19], (64.0, 3), "one is longer than all bounds");
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        let later = histogram.since(&of(&[Duration::from_micros(100)]));
        assert_eq!(later.count(), 3);
    }
}
