//! Programs as users write them, with the names of the kept interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod answers;
mod apps;
mod compression;
mod filters;
mod sessions;
mod tls;
