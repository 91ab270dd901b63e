//! TLS towards upstreams, through a whole proxy: what is wrong with a certificate, and what real servers
//! do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that can't go on ends by panicking"
)]

mod certificates;
mod failures;
mod programs;
mod quick_start;
mod routes;
mod tunnels;
