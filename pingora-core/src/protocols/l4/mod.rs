//! The transport layer: TCP, Unix domain sockets, and anything that behaves like one.

mod addresses;
mod attempt;
mod bind;
mod buffers;
mod connect;
pub mod ext;
pub(crate) mod faults;
pub mod listener;
mod networks;
pub(crate) mod plain;
pub mod socket;
pub mod splice;
pub mod stream;
mod tracer;
pub mod virt;

pub use attempt::ConnectErrorExt;
pub use bind::BindTo;
pub use connect::{Announcement, Connect};
pub use networks::{Network, Networks};
pub use tracer::{Tracer, Tracing};

pub(crate) use addresses::Addresses;
pub(crate) use attempt::ConnectFailure;
