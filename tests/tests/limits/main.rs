//! What a client may take: connections, requests at once, requests in so much time.
//!
//! - `connections`: in all, of one endpoint, of one client.
//! - `requests`: what phases refuse, and what their clients are told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]
#![allow(clippy::print_stderr, reason = "a test says what it can't show here")]

mod connections;
mod requests;
