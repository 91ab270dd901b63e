//! The cache, from end to end: what is stored, what is served, who asks the origin, and what never happens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod hits;
mod parts;
mod phases;
mod queries;
mod ranges;
mod ready;
mod rows;
mod stale;
mod stores;
mod support;
mod waits;
