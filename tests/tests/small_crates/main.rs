//! Every listed item of the small crates, of the features and of the facade's modules, used once as a program would.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod facade;
mod ketama;
mod limits;
mod lru;
mod memory_cache;
mod metrics;
mod reexports;
mod timers;
