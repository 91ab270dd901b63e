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
