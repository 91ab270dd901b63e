//! HTTP/2 sessions over streams of a connection, built on [`pingora_h2`].
//!
//! That crate does the framing, the field compression and the flow control, and keeps account of the
//! work that a peer causes without doing anything useful. The rules for messages are in `message`,
//! which is pure; `ledger` counts the bytes that the responses of a connection hold.

pub mod client;
pub(crate) mod faults;
mod gather;
pub(crate) mod ledger;
pub(crate) mod message;
pub mod server;
pub(crate) mod turns;

/// The reasons for which a stream or a connection ends (RFC 9113 section 7).
pub use pingora_h2::Reason;
/// The protocol of an extended CONNECT (RFC 8441), stored in the extensions of its request.
pub use pingora_h2::ext::Protocol;
