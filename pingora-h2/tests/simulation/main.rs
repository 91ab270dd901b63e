//! Two machines against each other over a simulated network: virtual time, one seed for everything.
//!
//! Bytes arrive late and in pieces; the programs on both sides have their turns in any order, and act
//! only on streams that were woken, so that a wake-up that is lost is a stall. Streams are reset,
//! abandoned, answered early, and read slowly; SETTINGS change; connections are shut down.
//!
//! An observer that shares nothing with the machine but the codec keeps its own account of windows,
//! states and limits, and judges every frame that a side sends by what that side has received.
//!
//! `SIMULATION_RUNS` sets how many schedules are run (2,000 unless set), `SIMULATION_SEED` the first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "it is a test"
)]

mod observer;
mod plan;
mod program;
mod world;

use world::World;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn random_schedules_lose_no_byte_no_window_and_no_wake_up() {
    let runs = from_environment("SIMULATION_RUNS", 2_000);
    let first = from_environment("SIMULATION_SEED", 0);
    for seed in first..first + runs {
        let run = || World::new(seed).run();
        if let Err(panic) = std::panic::catch_unwind(run) {
            // So that it can be run alone.
            eprintln!("SIMULATION_SEED={seed} SIMULATION_RUNS=1");
            std::panic::resume_unwind(panic);
        }
    }
}
