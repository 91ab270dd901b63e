//! The engine: carries an exchange between any two halves, in a single task.
//!
//! [`Exchange`] is the pure part: what is open, what may be read, when it is over. [`Turn`] waits on both
//! halves at once and returns the next event; it moves a body that no filter needs to see by `splice(2)`.
//! [`drive`] is the loop around them, and a [`Handler`] decides what each event means: requests to an
//! upstream and sub-requests are two of them, in the private module `flow`.
//!
//! The engine is open: it also drives a custom protocol, whose sessions implement
//! [`DownstreamHalf`](pingora_core::protocols::http::exchange::DownstreamHalf) and
//! [`UpstreamHalf`](pingora_core::protocols::http::exchange::UpstreamHalf), with a custom handler.
//! `tests/tests/tcp_relay.rs` does so for plain TCP.
//!
//! # Bounds
//! A half is not read while the other has 64 KiB queued. Each direction holds one pipe at most, and only
//! while the pipe has data in it. After 32 events or 256 KiB other tasks get their turn.

pub mod deadline;
mod drive;
mod splice;
mod state;
mod turn;

pub use drive::{Flow, Handler, drive};
pub use state::{Client, Exchange, OnFailure, RequestFlow, ResponseFlow};
#[cfg(test)]
pub(crate) use turn::PASSED;
pub(crate) use turn::Pace;
pub use turn::{Failure, Limits, MinRate, Turn, Until};

#[cfg(test)]
mod tests;
