//! Counting by key in bounded memory, for limits: events per second, requests in flight.
//!
//! | module | what it counts |
//! |---|---|
//! | [`rate`] | events by key, in the current and the previous interval of time |
//! | [`inflight`] | what has begun and not ended, by key |
//! | [`estimator`] | anything, by key, until it is reset |
//! | [`quota`], [`keyed`] | what is left of a quota that is refilled without pause (a token bucket), for one key and for many |
//!
//! The first three are count-min sketches of atomics: they never allocate after they were made, whatever
//! number of keys there is, take no lock, and can be shared between all threads.
//!
//! # Which one
//! To limit a rate, take [`keyed`]: it is exact for each key, lets no more than a burst pass where two intervals
//! meet, and knows when to come back. [`rate`] and [`estimator`] answer for any number of keys with a small
//! error, and are for measuring.
//!
//! # How far off they are
//! A key is counted in one slot of each row (`hashes` rows of `slots` slots), and the smallest of these
//! counts is the answer. As long as nothing negative is counted, an answer is never too low. It is too high
//! where all slots of a key are shared with others: by more than *total of all keys* × 2.72 / `slots`
//! with a probability of e^-`hashes`. With the defaults of [`Rate`](rate::Rate) (4 × 1024, 64 KiB) that is
//! more than 0.27 % of all events for 2 % of the keys. Where keys lie is random and differs from one sketch to
//! the next, so that no client can choose a key that collides with another one.
//!
//! Don't use them where a count must be exact, as for bills.
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
//! Page in the repository: `docs/migrating.md`, for differences from the crate of the same name.
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
