//! The single task of a stripe: it removes connections that died or exceeded their idle time.

use super::watch::{Index, WakeQueue};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The minimum time between two searches for entries that exceeded their idle time.
pub(super) const SHORTEST_SWEEP: Duration = Duration::from_secs(1);

/// The approximate time that a connection may be idle without being watched.
pub(super) const UNWATCHED: Duration = Duration::from_millis(100);

/// The part of a pool that a janitor maintains.
pub(super) trait Tended: Send + Sync + 'static {
    /// Examines the entries that were woken.
    fn examine(&self, woken: &[Index]);

    /// Removes entries that exceeded their idle time; returns when to sweep again.
    fn sweep(&self) -> Option<Instant>;

    /// Begins to watch entries that have been idle for a while; returns when to do so again.
    fn watch(&self) -> Option<Instant>;
}

/// The task, and a way to tell whether it still runs: it ends with the runtime that it was started
/// on.
#[derive(Debug)]
pub(super) struct Janitor(JoinHandle<()>);

impl Janitor {
    pub(super) fn start<T: Tended>(
        stripe: Weak<T>,
        wakes: Arc<WakeQueue>,
        runtime: &Handle,
    ) -> Self {
        Janitor(runtime.spawn(work(stripe, wakes)))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.is_finished()
    }
}

/// Runs until the pool is gone.
async fn work<T: Tended>(stripe: Weak<T>, wakes: Arc<WakeQueue>) {
    loop {
        // Entries that were woken while there was no janitor are examined first.
        let next = {
            let Some(stripe) = stripe.upgrade() else {
                return;
            };
            let woken = wakes.take_woken();
            if !woken.is_empty() {
                stripe.examine(&woken);
            }
            let (sweep, watch) = (stripe.sweep(), stripe.watch());
            sweep.into_iter().chain(watch).min()
        };
        wakes.wait(next).await;
    }
}
