//! Two machines against each other over a simulated network: virtual time, one seed for everything.
//!
//! In two of the tests, the `h2` crate replaces one of them.
//!
//! Bytes arrive late and in pieces. The programs on both sides get their turns in any order, and act
//! only on streams that were woken, so a lost wake-up causes a stall. Streams are reset, abandoned,
//! answered early, and read slowly; SETTINGS change; connections are shut down.
//!
//! An observer shares nothing with the machine but the codec. It keeps its own account of windows,
//! states and limits, and checks every frame that a side sends against the frames that this side
//! has received.
//!
//! `SIMULATION_RUNS` sets how many schedules each test runs, `SIMULATION_SEED` the first. The long form,
//! which runs 100,000 of each kind, is `cargo test -p pingora-h2 --test simulation -- --ignored`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "it is a test"
)]

mod executor;
mod library;
mod observer;
mod plan;
mod program;
mod world;

use library::Match;
use pingora_h2::frame::Role;
use world::World;

/// Schedules of each kind in the long form.
const MANY: u64 = 100_000;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// Runs one schedule for each seed.
fn schedules(default: u64, run: impl Fn(u64)) {
    let runs = from_environment("SIMULATION_RUNS", default);
    let first = from_environment("SIMULATION_SEED", 0);
    for seed in first..first + runs {
        let run = std::panic::AssertUnwindSafe(|| run(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            // Printed so that the schedule can be run on its own.
            eprintln!("SIMULATION_SEED={seed} SIMULATION_RUNS=1");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn random_schedules_lose_no_byte_no_window_and_no_wake_up() {
    schedules(2_000, |seed| World::new(seed).run());
}

#[test]
fn a_client_gets_along_with_a_server_of_the_library() {
    schedules(500, |seed| Match::new(seed, Role::Client).run());
}

#[test]
fn a_server_gets_along_with_a_client_of_the_library() {
    schedules(500, |seed| Match::new(seed, Role::Server).run());
}

#[test]
#[ignore = "the long form: it takes many minutes"]
fn many_schedules_of_two_machines() {
    schedules(MANY, |seed| World::new(seed).run());
}

#[test]
#[ignore = "the long form: it takes many minutes"]
fn many_schedules_of_a_client_and_the_library() {
    schedules(MANY, |seed| Match::new(seed, Role::Client).run());
}

#[test]
#[ignore = "the long form: it takes many minutes"]
fn many_schedules_of_a_server_and_the_library() {
    schedules(MANY, |seed| Match::new(seed, Role::Server).run());
}
