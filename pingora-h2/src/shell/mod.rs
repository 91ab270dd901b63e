//! The machine on a connection: one task drives it, handles of its streams may be anywhere.
//!
//! This is the one module that reads, writes and looks at the clock. The handles are those that
//! programs know from other libraries; a mutex stands between them and the machine, which is never
//! held while anything is awaited.
//!
//! | file | what |
//! |---|---|
//! | `server`, `client` | connections, and what begins streams on them |
//! | `stream` | the two halves of a stream |
//! | `shared` | what the handles of a connection share |
//! | `drive` | the bytes of a connection |
//! | `failure` | why a stream or a connection ended |
//!
//! # Memory
//! An idle connection holds no buffer: what is read goes through one of the thread's, and only a frame
//! that is not whole is kept; what is written is made in another, and only what the transport did not
//! take is kept.

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
