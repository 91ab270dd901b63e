//! The transport layer: TCP, Unix domain sockets, and whatever behaves like one.

mod bind;
mod buffers;
mod connect;
pub mod ext;
pub mod listener;
pub mod socket;
pub mod stream;
mod tracer;
pub mod virt;

pub(crate) use bind::BindTo;
pub(crate) use connect::{Connect, ConnectErrorExt, ConnectFailure};
pub(crate) use tracer::{Tracer, Tracing};
