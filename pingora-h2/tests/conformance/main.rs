//! RFC 9113 sections 3 to 8 as tables: a handwritten peer sends one thing, and the machine answers
//! with nothing, with RST_STREAM or with GOAWAY. If the connection survives, other streams and the
//! field compression must be unaffected.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "it is a test"
)]

mod edges;
mod flow;
mod messages;
mod settings;
mod states;
mod subject;
