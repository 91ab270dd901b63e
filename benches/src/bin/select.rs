//! The cost of a selection and of an update: processor time per call, for each selector, on this machine.
//!
//! ```sh
//! cargo run --release -p pingora-benches --bin select
//! ```
//!
//! Names of selectors as arguments limit it to these. `measured` is a selection once every backend has answered
//! requests, so that their latencies are known; `by two threads`, the same while another thread selects, too.

use nix::time::{ClockId, clock_gettime};
use pingora::Result;
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::outcome::Outcome;
use pingora::lb::selection::{
    BackendIter, BackendSelection, Consistent, FNVHash, LeastConnections, LeastTime, Maglev,
    PeakEwma, Random, RoundRobin, SmoothRoundRobin,
};
use pingora::lb::{Backend, Backends, LoadBalancer};
use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

const SELECTIONS: u32 = 50_000;
const UPDATES: u32 = 5;

/// Each discovery finds one backend less, or more, than the last.
struct Changing(Mutex<bool>, usize);

impl Changing {
    fn set(&self, one_less: bool) -> BTreeSet<Backend> {
        let numbers = usize::from(one_less)..self.1;
        let address = |n: usize| format!("10.{}.{}.1:80", n / 250, n % 250);
        numbers
            .filter_map(|n| Backend::new(&address(n)).ok())
            .collect()
    }
}

#[async_trait::async_trait]
impl ServiceDiscovery for Changing {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut one_less = self.0.lock().unwrap_or_else(|e| e.into_inner());
        *one_less = !*one_less;
        Ok((self.set(*one_less), HashMap::new()))
    }

    fn known(&self) -> Option<BTreeSet<Backend>> {
        Some(self.set(false))
    }
}

fn balancer<S>(backends: usize) -> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let discovery = Changing(Mutex::new(false), backends);
    LoadBalancer::from_backends(Backends::new(Box::new(discovery)))
}

/// The processor time of this thread: others may be busy on the same cores.
fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The shortest of several runs, each of which ends before another process is likely to interrupt it.
fn best(count: u32, mut run: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let begun = used();
        (0..count).for_each(|_| run());
        best = best.min((used() - begun) / count);
    }
    best
}

async fn measure<S>(name: &str) -> io::Result<()>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    if std::env::args().len() > 1 && std::env::args().all(|wanted| wanted != name) {
        return Ok(());
    }
    let upstreams = balancer::<S>(100);
    let mut key = 0_u64;
    let select = best(SELECTIONS, || {
        key = key.wrapping_add(1);
        black_box(upstreams.select(&key.to_le_bytes(), 256));
    });
    let lease = best(SELECTIONS, || {
        key = key.wrapping_add(1);
        black_box(upstreams.lease(&key.to_le_bytes(), 256));
    });
    for backend in upstreams.backends().get_backend().iter() {
        let mut ticket = upstreams.backends().begin(backend);
        ticket.responded(200);
        ticket.end(Outcome::Completed);
    }
    let measured = best(SELECTIONS, || {
        key = key.wrapping_add(1);
        black_box(upstreams.select(&key.to_le_bytes(), 256));
    });
    let together = thread::scope(|scope| {
        let run = || {
            let mut key = 0_u64;
            best(SELECTIONS, || {
                key = key.wrapping_add(1);
                black_box(upstreams.select(&key.to_le_bytes(), 256));
            })
        };
        let other = scope.spawn(run);
        run().max(other.join().unwrap_or_default())
    });
    let upstreams = balancer::<S>(1_000);
    let begun = used();
    for _ in 0..UPDATES {
        let _ = upstreams.update().await;
    }
    let update = (used() - begun) / UPDATES;
    writeln!(
        io::stdout(),
        "{name:18} select {:4} ns   measured {:4} ns   by two threads {:4} ns   lease {:4} ns   update of 1,000 {:7.3} ms",
        select.as_nanos(),
        measured.as_nanos(),
        together.as_nanos(),
        lease.as_nanos(),
        update.as_secs_f64() * 1e3
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    measure::<RoundRobin>("RoundRobin").await?;
    measure::<SmoothRoundRobin>("SmoothRoundRobin").await?;
    measure::<Random>("Random").await?;
    measure::<FNVHash>("FNVHash").await?;
    measure::<Consistent>("Consistent").await?;
    measure::<Maglev>("Maglev").await?;
    measure::<PeakEwma>("PeakEwma").await?;
    measure::<LeastConnections>("LeastConnections").await?;
    measure::<LeastTime>("LeastTime").await
}
