//! The memory of each holder, to find the largest one.

use super::{Account, PROCESS};
use futures::task::AtomicWaker;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Context;

/// A holder of fewer bytes is never closed because of them, and need not be found.
const NOTABLE: usize = 64 * 1024;
/// Fewer waiting bytes than this are not entered.
const LEAST: usize = 4 * 1024;
/// A change smaller than this, in bytes, is not entered.
const GRAIN: usize = 4 * 1024;

/// Something that can be closed to free memory: a connection, or an exchange.
pub(crate) struct Holder {
    account: &'static Account,
    held: AtomicUsize,
    /// It must be closed.
    given_up: AtomicBool,
    /// Its account can find it.
    listed: AtomicBool,
    task: AtomicWaker,
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder")
            .field("held", &self.held)
            .field("given_up", &self.given_up)
            .finish_non_exhaustive()
    }
}

impl Default for Holder {
    fn default() -> Self {
        Holder::of(&PROCESS)
    }
}

impl Holder {
    pub(super) const fn of(account: &'static Account) -> Self {
        Holder {
            account,
            held: AtomicUsize::new(0),
            given_up: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            task: AtomicWaker::new(),
        }
    }

    /// It now holds this many bytes.
    pub(crate) fn set(self: &Arc<Self>, bytes: usize) {
        let before = self.held.swap(bytes, Ordering::Relaxed);
        if bytes >= NOTABLE && !self.listed.swap(true, Ordering::Relaxed) {
            self.account.holders.enter(self);
        }
        match bytes.checked_sub(before) {
            Some(more) => self.account.add(more),
            None => self.account.sub(before - bytes),
        }
    }

    /// [`set`](Self::set), unless the change would be small.
    pub(crate) fn settle(self: &Arc<Self>, bytes: usize, grain: usize) {
        let before = self.held.load(Ordering::Relaxed);
        if bytes.abs_diff(before) >= grain || bytes == 0 && before > 0 {
            self.set(bytes);
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether it must be closed.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// The same; the task is woken when that changes.
    pub(crate) fn poll_given_up(&self, cx: &Context<'_>) -> bool {
        if !self.is_given_up() {
            self.task.register(cx.waker());
        }
        self.is_given_up()
    }

    fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.account.sub(*self.held.get_mut());
    }
}

/// The entry of one session; none while the session holds little.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<Arc<Holder>>);

impl Held {
    /// This many bytes are waiting now.
    #[inline]
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes >= LEAST || self.0.is_some() {
            self.set_in(&PROCESS, bytes);
        }
    }

    #[cold]
    pub(super) fn set_in(&mut self, account: &'static Account, bytes: usize) {
        match &self.0 {
            Some(holder) => holder.settle(bytes, GRAIN),
            None if bytes < LEAST => {}
            None => {
                let holder = Arc::new(Holder::of(account));
                holder.set(bytes);
                self.0 = Some(holder);
            }
        }
    }

    /// Nothing is waiting, and nothing will be for a while.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    /// Whether anything was entered since it was last cleared.
    #[inline]
    pub(crate) fn is_entered(&self) -> bool {
        self.0.is_some()
    }

    /// The number of entered bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |holder| holder.held())
    }

    /// Whether to close it, because it holds the most; the task is woken when that changes.
    #[inline]
    pub(crate) fn poll_given_up(&self, cx: &Context<'_>) -> bool {
        self.0
            .as_ref()
            .is_some_and(|holder| holder.poll_given_up(cx))
    }
}

/// All holders that hold, or held, a notable amount.
///
/// Bounded: each entry held 64 KiB when it was added, and those that no longer do are removed
/// whenever the list has doubled.
#[derive(Debug)]
pub(super) struct Holders(Mutex<List>);

#[derive(Debug)]
struct List {
    entries: Vec<Weak<Holder>>,
    sweep_at: usize,
}

/// A shorter list is not swept.
const SHORT_LIST: usize = 64;

impl Holders {
    pub(super) const fn new() -> Self {
        Holders(Mutex::new(List {
            entries: Vec::new(),
            sweep_at: SHORT_LIST,
        }))
    }

    fn enter(&self, holder: &Arc<Holder>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.entries.len() >= list.sweep_at {
            list.sweep();
        }
        list.entries.push(Arc::downgrade(holder));
    }

    /// Closes the holders with the most memory until `excess` bytes are being released; returns the
    /// number of holders notified now. Holders that were notified earlier and are not gone yet
    /// count.
    pub(super) fn close_greediest(&self, excess: usize) -> usize {
        let mut closing = vec![];
        {
            let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            list.sweep();
            // Each amount is read only once: it changes meanwhile, and sorting by a changing key is
            // undefined.
            let held = |holder: Arc<Holder>| (holder.held(), holder);
            let holders = list.entries.iter().filter_map(Weak::upgrade).map(held);
            let (leaving, mut staying): (Vec<_>, Vec<_>) =
                holders.partition(|(_, holder)| holder.is_given_up());
            let mut left = excess.saturating_sub(leaving.iter().map(|(held, _)| held).sum());
            staying.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
            for (held, holder) in staying {
                if left == 0 {
                    break;
                }
                left = left.saturating_sub(held);
                closing.push(holder);
            }
            // Under the lock, so that no other thread notifies the same holders.
            for holder in &closing {
                holder.given_up.store(true, Ordering::Release);
            }
        }
        closing.iter().for_each(|holder| holder.give_up());
        closing.len()
    }
}

impl List {
    fn sweep(&mut self) {
        self.entries.retain(|entry| {
            entry.upgrade().is_some_and(|holder| {
                let stays = holder.held() >= NOTABLE;
                // It is entered again once it holds much.
                holder.listed.store(stays, Ordering::Relaxed);
                stays
            })
        });
        self.sweep_at = (2 * self.entries.len()).max(SHORT_LIST);
    }
}
