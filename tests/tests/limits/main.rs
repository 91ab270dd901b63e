//! Limits on what a client may use: connections, concurrent requests, requests per time, time.
//!
//! - `connections`: in total, of one endpoint, of one client.
//! - `deadlines`: times that no byte puts off.
//! - `requests`: requests that phases refuse, and the answers to their clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]
#![allow(clippy::print_stderr, reason = "a test says what it can't show here")]

mod connections;
mod deadlines;
mod requests;
