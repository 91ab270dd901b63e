//! A small gRPC service and what it takes to call one, by hand over the `h2` crate: how the bytes lie,
//! without a generator of code in between. Messages are plain text where others have protobuf.

mod framing;
mod greeter;

pub use framing::{Messages, frame, timeout_of};
pub use greeter::Greeter;
