//! Which order of eviction keeps more of what is asked for again: `cargo run -p pingora-cache --example eviction`.
//!
//! Requests follow Zipf's law over 20,000 responses of 1 to 64 KiB; a share of them belongs to scans of responses
//! that nobody asks for again. Printed are the hits among the others, for caches of 2 % and 10 % of all bytes.
//! The figures in `docs/caching.md` are from here; they depend on the seed, not on the machine.
#![allow(clippy::print_stdout, reason = "figures are what it is for")]

use pingora_cache::CacheKey;
use pingora_cache::eviction::{CacheEntryKey, EvictionManager, lru, s3_fifo};
use std::time::SystemTime;

const RESPONSES: u32 = 20_000;
const REQUESTS: u32 = 150_000;
/// Not counted: the cache fills.
const WARM_UP: u32 = 50_000;

fn main() {
    println!(
        "{:>6} {:>6} {:>6} {:>8} {:>8}",
        "skew", "scans", "cache", "lru", "s3-fifo"
    );
    for skew in [0.7, 0.9, 1.1] {
        for scans in [0, 30] {
            for percent in [2, 10] {
                let limit = total() / 100 * percent;
                let lru = hits(&lru::Manager::<16>::with_capacity(limit, 0), skew, scans);
                let fifo = hits(&s3_fifo::Manager::<16>::new(limit), skew, scans);
                println!("{skew:>6} {scans:>5}% {percent:>5}% {lru:>7.1}% {fifo:>7.1}%");
            }
        }
    }
}

fn size(response: u32) -> usize {
    // Spread over the popular and the others alike.
    let spread = response.wrapping_mul(2_654_435_761) >> 26;
    1024 * (1 + spread as usize)
}

fn total() -> usize {
    (0..RESPONSES).map(size).sum()
}

fn entry(response: u32) -> CacheEntryKey {
    CacheEntryKey::key_only(CacheKey::new(response.to_le_bytes(), "").to_compact())
}

/// The share of requests outside of scans that find their response, in per cent.
fn hits(manager: &dyn EvictionManager, skew: f64, scans: u32) -> f64 {
    let mut random = fastrand::Rng::with_seed(7);
    let steps = zipf(skew);
    let mut scanned = RESPONSES;
    let (mut asked, mut found) = (0u32, 0u32);
    let now = SystemTime::now();
    for request in 0..REQUESTS {
        if random.u32(..100) < scans {
            scanned += 1;
            manager.admit(entry(scanned), size(scanned), now);
            continue;
        }
        let place = random.f64();
        let response = steps.partition_point(|step| *step < place) as u32;
        let item = entry(response);
        let is_hit = manager.peek(&item);
        if is_hit {
            manager.access(&item, size(response), now);
        } else {
            manager.admit(item, size(response), now);
        }
        if request >= WARM_UP {
            asked += 1;
            found += u32::from(is_hit);
        }
    }
    f64::from(found) / f64::from(asked) * 100.0
}

/// The probability that a request is for one of the first responses, for each of them.
fn zipf(skew: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let weights: Vec<_> = (1..=RESPONSES)
        .map(|rank| {
            sum += f64::from(rank).powf(-skew);
            sum
        })
        .collect();
    weights.into_iter().map(|weight| weight / sum).collect()
}
