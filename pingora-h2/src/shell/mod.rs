//! The machine on a connection: one task drives it, and handles of its streams may be used
//! anywhere.
//!
//! This is the only module that reads, writes and reads the clock. The handles resemble those of
//! other libraries. A mutex protects the machine; it is never held across an await.
//!
//! | file | content |
//! |---|---|
//! | `server`, `client` | connections, and what begins streams on them |
//! | `stream` | the two halves of a stream |
//! | `shared` | the state that the handles of a connection share |
//! | `drive` | the bytes of a connection |
//! | `failure` | the reasons why a stream or a connection ended |
//!
//! # Memory
//! An idle connection holds no buffer: reads go through a thread-local buffer, and only an incomplete
//! frame is kept; output is built in another, and only bytes that the transport did not accept are
//! kept.

pub mod client;
mod drive;
mod failure;
mod ping;
pub mod server;
mod shared;
mod stream;

#[cfg(test)]
mod tests;

pub use failure::Failure;
pub use ping::PingPong;
pub use stream::{RecvStream, SendStream};
