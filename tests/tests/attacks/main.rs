//! Malicious HTTP/2 clients and origins: the proxy's memory stays bounded, their connection is ended
//! or gets nowhere, and others are served meanwhile.
//!
//! The proxy is a separate process, so that its memory can be measured. Each attack is bounded in
//! count and stays on 127.0.0.1. `cargo test -p pingora-tests --test attacks -- --ignored` runs the
//! long form.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]
#![allow(
    clippy::print_stdout,
    reason = "what it cost is to be seen, with --nocapture"
)]

mod floods;
mod heads;
mod held;
mod measured;
mod origins;
mod patient;
mod resets;
mod victim;
mod windows;

use victim::Victim;

/// All attacks by clients, twenty times as long as in their tests, on one process: nothing
/// accumulates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form takes minutes"]
async fn all_of_them_on_one_process() {
    let mut victim = Victim::new().await;
    victim.scale = 20;
    for round in 0..3 {
        resets::all(&victim).await;
        heads::all(&victim).await;
        floods::all(&victim).await;
        windows::all(&victim).await;
        println!("round {round}: {} bytes over the base", victim.over_base());
    }
}
