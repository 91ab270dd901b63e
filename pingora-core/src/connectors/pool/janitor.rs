//! The one task of a stripe: it removes connections that died or waited too long.

use super::Poolable;
use super::slots::Index;
use super::stripe::Stripe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Wake;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Least time between two searches for entries that waited too long.
pub(super) const SHORTEST_SWEEP: Duration = Duration::from_secs(1);

/// How long a connection may be idle without being watched, about.
pub(super) const UNWATCHED: Duration = Duration::from_millis(100);

/// Tells the janitor which entries to look at.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// Held for a moment only, and nothing is called meanwhile: wakers run anywhere.
    woken: Mutex<Vec<Index>>,
    janitor: Notify,
}

impl Alarm {
    pub(super) fn wake_janitor(&self) {
        self.janitor.notify_one();
    }

    fn take_woken(&self) -> Vec<Index> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Behind the waker of one slot.
#[derive(Debug)]
pub(super) struct Watch {
    alarm: Arc<Alarm>,
    slot: Index,
    /// Nothing can have happened on a connection that did not wake its slot: the reactor is the
    /// only one who knows, and this is how it tells. So nobody has to ask the connection.
    woken: AtomicBool,
}

impl Watch {
    pub(super) fn new(alarm: Arc<Alarm>, slot: Index) -> Self {
        Watch {
            alarm,
            slot,
            woken: AtomicBool::new(false),
        }
    }

    pub(super) fn reset(&self) {
        self.woken.store(false, Ordering::Release);
    }

    pub(super) fn was_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.alarm
            .woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.slot);
        self.alarm.wake_janitor();
    }
}

/// The task, and how to tell whether it still runs: it ends with the runtime that it was started
/// on.
#[derive(Debug)]
pub(super) struct Janitor(JoinHandle<()>);

impl Janitor {
    pub(super) fn start<S: Poolable>(
        stripe: Weak<Stripe<S>>,
        alarm: Arc<Alarm>,
        runtime: &Handle,
    ) -> Self {
        Janitor(runtime.spawn(work(stripe, alarm)))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.is_finished()
    }
}

/// Works until the pool is gone.
async fn work<S: Poolable>(stripe: Weak<Stripe<S>>, alarm: Arc<Alarm>) {
    loop {
        // What was woken while no janitor was there is looked at first.
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
        wait(&alarm, next).await;
    }
}

async fn wait(alarm: &Alarm, next: Option<Instant>) {
    match next {
        Some(at) => drop(tokio::time::timeout_at(at, alarm.janitor.notified()).await),
        None => alarm.janitor.notified().await,
    }
}
