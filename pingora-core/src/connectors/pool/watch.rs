//! How an idle connection signals that something has happened on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The number of a slot. Stays the same while its entry is in it.
pub(super) type Index = u32;

/// Tells the janitor which entries to examine.
#[derive(Debug, Default)]
pub(super) struct WakeQueue {
    /// Only held for a moment, and nothing is called meanwhile: wakers may run anywhere.
    woken: Mutex<Vec<Index>>,
    janitor: Notify,
}

impl WakeQueue {
    pub(super) fn wake_janitor(&self) {
        self.janitor.notify_one();
    }

    /// Waits for a wake-up, until `next` at the latest.
    pub(super) async fn wait(&self, next: Option<Instant>) {
        match next {
            Some(at) => drop(tokio::time::timeout_at(at, self.janitor.notified()).await),
            None => self.janitor.notified().await,
        }
    }

    pub(super) fn take_woken(&self) -> Vec<Index> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The state behind the waker of one slot.
#[derive(Debug)]
pub(super) struct SlotWaker {
    wakes: Arc<WakeQueue>,
    slot: Index,
    /// Nothing can have happened on a connection that did not wake its slot: only the reactor
    /// knows, and this is how it tells. So the connection need not be queried.
    woken: AtomicBool,
}

impl SlotWaker {
    pub(super) fn new(wakes: Arc<WakeQueue>, slot: Index) -> Self {
        SlotWaker {
            wakes,
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

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.wakes
            .woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.slot);
        self.wakes.wake_janitor();
    }
}
