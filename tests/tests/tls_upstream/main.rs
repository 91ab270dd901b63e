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

use pingora::protocols::tls::backend::ClientBackend;
use std::sync::Arc;

/// Whether this is the suite of `rustls.rs`.
const RUSTLS: bool = false;

/// What speaks TLS with upstreams: OpenSSL, unless something else is said.
fn backend() -> Option<Arc<dyn ClientBackend>> {
    None
}
