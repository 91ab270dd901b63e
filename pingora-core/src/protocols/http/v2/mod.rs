//! HTTP/2 over streams of a connection: sessions on [`pingora_h2`].
//!
//! That crate does the framing, the compression of fields, the flow control, and keeps account of what
//! a peer asks for that is no work. What a message may be is told by the rules in `message`, which are
//! pure; `ledger` counts what the responses of a connection hold.

pub mod client;
pub(crate) mod faults;
mod gather;
pub(crate) mod ledger;
pub(crate) mod message;
pub mod server;
pub(crate) mod turns;

/// Why a stream or a connection ends (RFC 9113 section 7).
pub use pingora_h2::Reason;
/// The protocol of an extended CONNECT (RFC 8441), which stands among the extensions of its request.
pub use pingora_h2::ext::Protocol;
