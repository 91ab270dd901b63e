//! The one task of a stripe: it removes connections that died or waited too long.

use super::watch::{Alarm, Index};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Least time between two searches for entries that waited too long.
pub(super) const SHORTEST_SWEEP: Duration = Duration::from_secs(1);

/// How long a connection may be idle without being watched, about.
pub(super) const UNWATCHED: Duration = Duration::from_millis(100);

/// The part of a pool that a janitor looks after.
pub(super) trait Tended: Send + Sync + 'static {
    /// Looks at the entries that were woken.
    fn examine(&self, woken: &[Index]);

    /// Removes what has waited too long; returns when to look again.
    fn sweep(&self) -> Option<Instant>;

    /// Begins to watch what has been idle for a while; returns when to look again.
    fn watch(&self) -> Option<Instant>;
}

/// The task, and how to tell whether it still runs: it ends with the runtime that it was started
/// on.
#[derive(Debug)]
pub(super) struct Janitor(JoinHandle<()>);

impl Janitor {
    pub(super) fn start<T: Tended>(stripe: Weak<T>, alarm: Arc<Alarm>, runtime: &Handle) -> Self {
        Janitor(runtime.spawn(work(stripe, alarm)))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.is_finished()
    }
}

/// Works until the pool is gone.
async fn work<T: Tended>(stripe: Weak<T>, alarm: Arc<Alarm>) {
    loop {
        // Entries that were woken while there was no janitor are looked at first.
        let next = {
            let Some(stripe) = stripe.upgrade() else {
                return;
            };
            let woken = alarm.take_woken();
            if !woken.is_empty() {
                stripe.examine(&woken);
            }
            let (sweep, watch) = (stripe.sweep(), stripe.watch());
            sweep.into_iter().chain(watch).min()
        };
        alarm.wait(next).await;
    }
}
