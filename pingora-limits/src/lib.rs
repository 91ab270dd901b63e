//! Counting by key in bounded memory, for limits: events per second, requests in flight.
//!
//! | module | what it counts |
//! |---|---|
//! | [`rate`] | events by key, in the current and the previous interval of time |
//! | [`inflight`] | things that have begun and not ended, by key |
//! | [`estimator`] | anything, by key, until it is reset |
//! | [`quota`], [`keyed`] | the rest of a quota that is refilled continuously (a token bucket), for one key and for many |
//!
//! The first three are count-min sketches of atomics: they never allocate after they were created, with
//! any number of keys, take no lock, and can be shared between all threads.
//!
//! # Which one to use
//! To limit a rate, use [`keyed`]: it is exact for each key, allows no more than a burst where two intervals
//! meet, and knows when to retry. [`rate`] and [`estimator`] answer for any number of keys with a small error,
//! and are for measuring.
//!
//! # Accuracy
//! A key is counted in one slot of each row (`hashes` rows of `slots` slots), and the smallest of these counts
//! is the answer. As long as nothing negative is counted, an answer is never too low. It is too high if all
//! slots of a key are shared with others: by more than *total of all keys* × 2.72 / `slots` with a probability
//! of e^-`hashes`. With the defaults of [`Rate`](rate::Rate) (4 × 1024, 64 KiB) that is more than 0.27 % of
//! all events for 2 % of the keys. The slots of a key are random and differ from one sketch to the next, so no
//! client can choose a key that collides with another one.
//!
//! Don't use them if a count must be exact, as for billing.
//!
//! # Example
//! ```
//! use pingora_limits::rate::Rate;
//! use std::sync::LazyLock;
//! use std::time::Duration;
//!
//! static REQUESTS: LazyLock<Rate> = LazyLock::new(|| Rate::new(Duration::from_secs(1)));
//!
//! /// Whether this client has sent more than 100 requests in the current second.
//! fn too_many(client: &str) -> bool {
//!     REQUESTS.observe(&client, 1) > 100
//! }
//! assert!(!too_many("192.0.2.1"));
//! ```
//!
//! For differences from the crate of the same name, see `docs/migrating.md` in the repository.
#![forbid(unsafe_code)]

pub mod estimator;
pub mod inflight;
pub mod keyed;
pub mod quota;
#[cfg(test)]
mod random;
pub mod rate;
mod rows;
mod windows;
