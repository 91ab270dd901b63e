//! The suite of `main.rs` over rustls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod bad_input;
mod certificates;
mod client_certificates;
mod clients;
mod fingerprint;
mod offload;
mod plain_http;
mod preferences;
mod records;
mod reporter;
mod resumption;
mod stapling;
mod swaps;
mod trust;
mod tunnels;

use clients::*;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::tls::rustls::RustlsServer;

/// Whether this is the suite of `rustls.rs`.
const RUSTLS: bool = true;

/// Has the suite's library speak TLS.
fn choose_library(settings: &mut TlsSettings) {
    if !format!("{settings:?}").contains("backend: Some") {
        settings.set_backend(RustlsServer::new());
    }
}

/// As many sessions are kept in memory.
fn bound_sessions(settings: &mut TlsSettings, most: i32) {
    let most = most.try_into().unwrap();
    settings.set_backend(RustlsServer::new().session_cache_size(most));
}

/// Has a handshake bring so many tickets.
fn want_tickets(settings: &mut TlsSettings, tickets: usize) {
    settings.set_backend(RustlsServer::new().num_tickets(tickets));
}
