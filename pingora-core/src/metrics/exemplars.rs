//! Examples of what a histogram has counted: for each bucket the last request whose trace was kept.
//!
//! Each thread keeps its own, behind a lock that only a reading takes as well. There is nothing until the first
//! trace is kept; then at most one for each bucket, histogram and thread (40 bytes each). Those of a thread that has ended
//! are gone.

use super::histogram::{self, BUCKETS, Exemplar, OfBuckets, merge};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

/// By the number of the block, and the place in it.
type ByPlace = HashMap<(u16, usize), OfBuckets>;

static ALL: Mutex<Vec<Weak<Mutex<ByPlace>>>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: Arc<Mutex<ByPlace>> = own();
}

fn own() -> Arc<Mutex<ByPlace>> {
    let own = Arc::<Mutex<ByPlace>>::default();
    let mut all = locked(&ALL);
    all.retain(|one| one.strong_count() > 0);
    all.push(Arc::downgrade(&own));
    own
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers a trace for what was counted at this place of a block, in units of 2⁻²⁰ s.
#[cold]
pub(super) fn keep(block: u16, place: usize, units: u64, trace_id: u128) {
    let exemplar = Exemplar {
        trace_id,
        seconds: histogram::seconds(units),
        at: SystemTime::now(),
    };
    // A thread that is ending keeps nothing more.
    let _ = OWN.try_with(|own| {
        let mut own = locked(own);
        let of_place = own.entry((block, place)).or_insert([None; BUCKETS]);
        if let Some(kept) = of_place.get_mut(histogram::bucket(units)) {
            *kept = Some(exemplar);
        }
    });
}

/// The latest of all threads.
pub(super) fn all() -> ByPlace {
    let threads: Vec<_> = locked(&ALL).iter().filter_map(Weak::upgrade).collect();
    let mut all = ByPlace::new();
    for thread in threads {
        for (place, kept) in locked(&thread).iter() {
            let sum = all.entry(*place).or_insert([None; BUCKETS]);
            merge(sum, kept);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_for_each_bucket_and_the_latest_stays() {
        let place = (u16::MAX, 3);
        std::thread::spawn(move || {
            for trace in 1..=100_000_u64 {
                keep(place.0, place.1, trace << 8, u128::from(trace));
            }
            let kept = all()[&place];
            let some: Vec<u128> = kept.iter().flatten().map(|one| one.trace_id).collect();
            // The last below each power of two, and the last of all.
            let powers = (1..=18).map(|power| (1 << power) - 1);
            let below: Vec<u128> = powers.take_while(|trace| *trace < 100_000).collect();
            assert_eq!(some[..below.len()], below);
            assert_eq!(some.last(), Some(&100_000));
            assert_eq!(locked(&OWN.with(Arc::clone)).len(), 1);
        })
        .join()
        .unwrap();
        assert!(!all().contains_key(&place), "the thread has ended");
    }
}
