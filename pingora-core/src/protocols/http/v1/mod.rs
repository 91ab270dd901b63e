//! HTTP/1 over a connection: the asynchronous shell around the rules in [`super::h1`].
//!
//! Sessions own their buffers and queues. Every `poll_*` keeps its state in the session, so nothing
//! is lost if a future is dropped; the `async` methods are thin wrappers around them.

pub mod client;
pub mod common;
mod input;
mod output;
pub mod server;
mod splice;

use super::{faults, timed};
pub use splice::{SpliceSink, SpliceSource};

/// Heads smaller than this, in bytes, are not counted individually.
const LARGE_HEAD: u32 = 8 * 1024;

/// The size of a head if it is large enough to be counted; 0 otherwise.
fn large_head(bytes: usize) -> u32 {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    if bytes >= LARGE_HEAD { bytes } else { 0 }
}
