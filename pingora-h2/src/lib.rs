//! HTTP/2 (RFC 9113) as a pure state machine.
//!
//! Bytes and the time go in; frames, events and deadlines come out. Nothing in here opens a socket,
//! reads a clock or spawns a task, apart from the module that says so. A test can therefore run two
//! endpoints against each other in virtual time.
//!
//! It is not a client or a server: requests, bodies and sessions are made of it elsewhere.
//!
//! It is a part of the framework's inside: programs meet HTTP/2 in `pingora_core::protocols::http::v2`, and what is
//! public here may change with any version.
//!
//! # Example
//! ```
//! use pingora_h2::Reason;
//!
//! assert_eq!(Reason::from(7), Reason::REFUSED_STREAM);
//! ```
//!
//! Page in the repository: `docs/architecture.md`.
//!
//! # Errors
//! Every [`Error`] says how far it reaches (one stream or the connection), whose fault it is, the
//! code that the peer is told, and the section of the RFC that asks for it. What is malformed in a
//! message ends its stream; only what makes the two ends disagree about the state that all streams
//! share (framing, compression, the connection's window) ends the connection.
//!
//! # Layout
//! | module | what it is |
//! |---|---|
//! | [`error`] | error codes (section 7), and errors with their scope |
//! | [`frame`] | frames from bytes and to bytes (sections 4 and 6) |
//! | [`hpack`] | compression of fields (RFC 7541) |
//! | [`shell`] | the machine on a connection: the only place with I/O and a clock |
//! | [`machine`] | one connection, either side of it (sections 3, 5, 6 and 8) |
#![forbid(unsafe_code)]

pub mod error;
pub mod ext;
pub mod frame;
pub mod hpack;
pub mod machine;
pub mod shell;

mod head;

pub use error::{Error, Fault, Reason, Scope};
pub use frame::StreamId;
pub use head::{Head, HeadFault};
pub use machine::Offence;
pub use shell::{Failure, PingPong, RecvStream, SendStream, client, server};
