//! HTTP/2 (RFC 9113) as a pure state machine.
//!
//! Bytes and the time go in; frames, events and deadlines come out. Only [`shell`] performs I/O,
//! reads the clock and works with tasks; everything else is pure. A test can therefore run two
//! endpoints against each other in virtual time.
//!
//! This crate is neither a client nor a server: requests, bodies and sessions are built on it
//! elsewhere.
//!
//! It is an internal part of the framework: programs use HTTP/2 through `pingora_core::protocols::http::v2`, and
//! the public items here may change with any version.
//!
//! # Example
//! ```
//! use pingora_h2::Reason;
//!
//! assert_eq!(Reason::from(7), Reason::REFUSED_STREAM);
//! ```
//!
//! For more, see `docs/architecture.md` in the repository.
//!
//! # Errors
//! Every [`Error`] states its scope (one stream or the connection), the party at fault, the code
//! sent to the peer, and the section of the RFC that requires it. A malformed message ends its
//! stream; only errors that make the two ends disagree about state shared by all streams (framing,
//! compression, the connection's window) end the connection.
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

mod flat;
mod head;
mod pieces;
mod spare;

pub use error::{Error, Fault, Reason, Scope};
pub use flat::FlatFields;
pub use frame::StreamId;
pub use head::{Head, HeadFault};
pub use machine::{Offence, ResetFrame};
pub use pieces::Pieces;
pub use shell::{Failure, PingPong, RecvStream, SendStream, client, server};
pub use spare::{give_fields, give_head, take_fields, take_head};
