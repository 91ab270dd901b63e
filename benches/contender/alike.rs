//! The selections that both frameworks have, compiled once with each of them.
//!
//! ```sh
//! cargo run --release -p pingora-benches --bin alike
//! cargo run --release --manifest-path benches/peer/Cargo.toml --bin alike
//! ```

use pingora::lb::LoadBalancer;
use pingora::lb::selection::{
    BackendIter, BackendSelection, Consistent, FNVHash, Random, RoundRobin,
};
use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

const BACKENDS: usize = 100;
const SELECTIONS: u32 = 50_000;

/// The time of one selection: the shortest of several runs, each of which ends before another process is likely to
/// interrupt it.
fn best(mut select: impl FnMut(u64)) -> Duration {
    let mut best = Duration::MAX;
    for run in 0..20 {
        let begun = Instant::now();
        (0..SELECTIONS).for_each(|n| select(u64::from(run * SELECTIONS + n)));
        best = best.min(begun.elapsed() / SELECTIONS);
    }
    best
}

fn measure<S>(name: &str) -> io::Result<()>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let addresses = (0..BACKENDS).map(|n| format!("10.0.{n}.1:80"));
    let upstreams = LoadBalancer::<S>::try_from_iter(addresses)?;
    let took = best(|key| {
        black_box(upstreams.select(&key.to_le_bytes(), 256));
    });
    let nanos = took.as_nanos();
    writeln!(io::stdout(), "{name:12} {nanos:4} ns")
}

fn main() -> io::Result<()> {
    measure::<RoundRobin>("RoundRobin")?;
    measure::<Random>("Random")?;
    measure::<FNVHash>("FNVHash")?;
    measure::<Consistent>("Consistent")
}
