//! A small gRPC service and client, written by hand on the `h2` crate: they show the bytes on the wire,
//! without a code generator in between. Messages are plain text instead of protobuf.

mod framing;
mod greeter;

pub use framing::{Messages, frame, timeout_of};
pub use greeter::Greeter;
