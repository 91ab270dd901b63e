//! TLS towards clients, with the clients that people use: `openssl s_client`, curl.
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

/// Whether this is the suite of `rustls.rs`.
const RUSTLS: bool = false;

/// Has the suite's library speak TLS: OpenSSL, unless something else is said.
fn choose_library(_settings: &mut TlsSettings) {}

/// As many sessions are kept in memory.
fn bound_sessions(settings: &mut TlsSettings, most: i32) {
    settings.set_session_cache_size(most);
}

/// Has a handshake bring so many tickets.
fn want_tickets(settings: &mut TlsSettings, tickets: usize) {
    settings.set_num_tickets(tickets).unwrap();
}
