//! RFC 9113 sections 3 to 8 as tables: a peer by hand says one thing, and the machine answers with
//! nothing, with RST_STREAM or with GOAWAY. Whatever does not end the connection leaves another
//! stream, and the compression of fields, as they were.
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
