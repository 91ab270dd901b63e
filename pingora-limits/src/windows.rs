//! Counts of the current and the previous time interval, without a clearing step.
//!
//! There are two tables, for even and for odd intervals. Each slot is one atomic word, which contains the
//! interval that its count belongs to:
//!
//! ```text
//! 63           44 43                                0
//! [ stamp: 20 bits | count: 44 bits, signed          ]
//! ```
//!
//! A slot with an old stamp counts as 0, and the next thread that adds to it writes the new stamp and the new
//! count in one exchange. So no thread ever has to clear a table, and none sees one that is half cleared.
//!
//! Stamps repeat after 2²¹ intervals, which is 24 days of seconds. A count that old could be mistaken for a new one
//! if nothing was added to its slot in all that time, in this row or any other.

use crate::rows::Rows;
use std::sync::atomic::{AtomicU64, Ordering};

const COUNT_BITS: u32 = 44;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const COUNT_MAX: i64 = (1 << (COUNT_BITS - 1)) - 1;
const COUNT_MIN: i64 = -(1 << (COUNT_BITS - 1));

/// The counts of the last two intervals.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) rows: Rows,
    even: Box<[AtomicU64]>,
    odd: Box<[AtomicU64]>,
}

/// The interval that has begun since an addition began.
struct Overtaken(u64);

impl Windows {
    pub(crate) fn new(rows: Rows) -> Self {
        let table = || (0..rows.cells()).map(|_| AtomicU64::new(0)).collect();
        Windows {
            even: table(),
            odd: table(),
            rows,
        }
    }

    /// Adds to the count of the current interval, and returns it. `clock` returns the current interval's
    /// number, which never decreases.
    pub(crate) fn add(&self, hash: u64, events: isize, clock: impl Fn() -> u64) -> isize {
        let mut interval = clock();
        loop {
            match self.add_in(interval, hash, events, &clock) {
                Ok(count) => return count,
                // Some rows may have counted it in the interval that has just ended. Counting it in all rows
                // of the new interval makes an answer too high at worst.
                Err(Overtaken(current)) => interval = current,
            }
        }
    }

    fn add_in(
        &self,
        interval: u64,
        hash: u64,
        events: isize,
        clock: &impl Fn() -> u64,
    ) -> Result<isize, Overtaken> {
        let mut least = i64::MAX;
        for cell in self.rows.of(hash, self.table(interval)) {
            let mut word = cell.load(Ordering::Acquire);
            loop {
                let before = match count_in(word, interval) {
                    Some(count) => count,
                    // The stamp differs. It can only be newer if time has passed since the interval was
                    // determined; the clock is read after the slot, so it tells.
                    None => match clock() {
                        current if current == interval => 0,
                        current => return Err(Overtaken(current)),
                    },
                };
                let count = before.saturating_add(events as i64);
                let count = count.clamp(COUNT_MIN, COUNT_MAX);
                let new = stamp(interval) << COUNT_BITS | (count as u64 & COUNT_MASK);
                match cell.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        least = least.min(count);
                        break;
                    }
                    Err(now) => word = now,
                }
            }
        }
        Ok(least as isize)
    }

    /// The count of a key in this interval.
    pub(crate) fn count(&self, hash: u64, interval: u64) -> isize {
        let cells = self.rows.of(hash, self.table(interval));
        let counts = cells.map(|cell| count_in(cell.load(Ordering::Acquire), interval));
        counts.map(|count| count.unwrap_or(0)).min().unwrap_or(0) as isize
    }

    fn table(&self, interval: u64) -> &[AtomicU64] {
        if interval.is_multiple_of(2) {
            &self.even
        } else {
            &self.odd
        }
    }
}

/// A number that distinguishes an interval from the others in the same table.
fn stamp(interval: u64) -> u64 {
    (interval / 2) & (u64::MAX >> COUNT_BITS)
}

/// The count of a slot, if it belongs to this interval.
fn count_in(word: u64, interval: u64) -> Option<i64> {
    // The right shift extends the sign.
    let count = (word << (64 - COUNT_BITS)) as i64 >> (64 - COUNT_BITS);
    (word >> COUNT_BITS == stamp(interval)).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::thread;

    fn windows() -> Windows {
        Windows::new(Rows::new(4, 64))
    }

    #[test]
    fn an_old_count_is_none() {
        let w = windows();
        assert_eq!(w.add(7, 5, || 10), 5);
        assert_eq!((w.count(7, 10), w.count(7, 11), w.count(7, 12)), (5, 0, 0));
        assert_eq!(w.add(7, 1, || 12), 1);
        assert_eq!((w.count(7, 10), w.count(7, 12)), (0, 1));
    }

    #[test]
    fn counts_have_a_sign_and_stop_at_the_ends() {
        let w = windows();
        assert_eq!(w.add(1, -3, || 2), -3);
        assert_eq!(w.count(1, 2), -3);
        assert_eq!(w.add(1, isize::MIN, || 2), COUNT_MIN as isize);
        assert_eq!(w.add(2, isize::MAX, || 2), COUNT_MAX as isize);
        assert_eq!(w.add(2, 1, || 2), COUNT_MAX as isize);
        assert_eq!(w.count(2, 2), COUNT_MAX as isize);
    }

    #[test]
    fn one_that_is_overtaken_adds_to_what_has_begun() {
        let w = windows();
        w.add(7, 5, || 12);
        // It determines the interval, sleeps for two of them, and finds the newer stamp.
        let times = Cell::new(0);
        let late = || {
            times.set(times.get() + 1);
            if times.get() == 1 { 10 } else { 12 }
        };
        assert_eq!(w.add(7, 1, late), 6);
        assert_eq!(w.count(7, 12), 6);
    }

    #[test]
    fn nothing_is_lost_where_intervals_meet() {
        let w = windows();
        let interval = AtomicU64::new(0);
        let added: isize = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let (w, interval) = (&w, &interval);
                    scope.spawn(move || {
                        for i in 0..2000 {
                            w.add(7, 1, || interval.load(Ordering::SeqCst));
                            if thread == 0 && i == 1000 {
                                interval.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                        2000
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        let counted = w.count(7, 0) + w.count(7, 1);
        // Each thread may have been overtaken once.
        assert!((added..=added + 4).contains(&counted), "{counted}");
    }
}
