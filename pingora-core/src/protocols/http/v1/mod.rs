//! HTTP/1 over a connection: the asynchronous shell around the rules in [`super::h1`].
//!
//! Sessions own their buffers and queues. Every `poll_*` keeps its state in the session, so that a
//! future that is dropped loses nothing; the `async` methods are thin wrappers over them.

pub mod client;
pub mod common;
mod input;
mod output;
pub mod server;
mod splice;

use super::{faults, timed};
pub use splice::{SpliceSink, SpliceSource};

/// A head that is smaller, in bytes, is not worth being counted by itself.
const LARGE_HEAD: u32 = 8 * 1024;

/// The size of a head, where it is worth being counted; 0 otherwise.
fn large_head(bytes: usize) -> u32 {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    if bytes >= LARGE_HEAD { bytes } else { 0 }
}
