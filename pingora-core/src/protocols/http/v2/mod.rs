//! HTTP/2 over streams of a connection: sessions on the `h2` crate.
//!
//! That crate does the framing, the compression of fields and the flow control. What a message may
//! be is told by the rules in `message`, which are pure; what a peer may do to a connection by
//! `guard`; what its responses hold is counted by `ledger`.

pub mod client;
pub(crate) mod faults;
mod gather;
pub(crate) mod guard;
pub(crate) mod ledger;
pub(crate) mod message;
pub mod server;
pub(crate) mod turns;
