//! One worker's part of the pool.

use super::ends::{IdleEnd, idle_closed};
use super::janitor::{Janitor, SHORTEST_SWEEP, Tended, UNWATCHED};
use super::slots::{Entry, Slots};
use super::watch::{Index, SlotWaker, WakeQueue};
use super::{Counters, IdleEvent, Poolable, RuntimeId};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// One worker's part of the pool. Removed entries are dropped after the lock has been released:
/// closing a connection may run user code.
pub(super) struct Stripe<S: Poolable> {
    state: Mutex<State<S>>,
    /// The number of entries, for readers without the lock. Written while holding it.
    len: AtomicUsize,
    wakes: Arc<WakeQueue>,
    counters: Arc<Counters>,
    this: Weak<Stripe<S>>,
}

struct State<S> {
    slots: Slots<S>,
    janitor: Option<Janitor>,
    /// When the janitor will look for entries that exceeded their idle time.
    next_sweep: Option<Instant>,
    /// Whether there may be unwatched entries.
    has_unwatched: bool,
    /// When the janitor will watch the entries that are still there.
    next_watch: Option<Instant>,
}

/// Polls an idle connection outside of the task's budget: the answer must not depend on how much
/// the current task has already done.
fn poll_item<S: Poolable>(item: &mut S, waker: &Waker) -> Poll<IdleEvent> {
    let news = pin!(tokio::task::coop::unconstrained(poll_fn(
        |cx| item.poll_idle(cx)
    )));
    news.poll(&mut Context::from_waker(waker))
}

impl<S: Poolable> Stripe<S> {
    pub(super) fn new(counters: Arc<Counters>) -> Arc<Self> {
        Arc::new_cyclic(|this| Stripe {
            state: Mutex::new(State {
                slots: Slots::new(),
                janitor: None,
                next_sweep: None,
                has_unwatched: false,
                next_watch: None,
            }),
            len: AtomicUsize::new(0),
            wakes: Arc::default(),
            counters,
            this: this.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, State<S>>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(e)) => Some(e.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Removes an entry and updates the count.
    fn remove(&self, state: &mut State<S>, index: Index) -> Option<Entry<S>> {
        let entry = state.slots.remove(index)?;
        self.len.store(state.slots.len(), Ordering::Relaxed);
        Some(entry)
    }

    /// Keeps an entry, unless something has already happened on it. Returns whether it was kept.
    pub(super) fn put(&self, mut entry: Entry<S>) -> bool {
        let mut state = self.lock();
        let index = state
            .slots
            .next_empty(|slot| SlotWaker::new(self.wakes.clone(), slot));
        if entry.item.is_quiet() != Some(true) {
            if let Poll::Ready(event) = poll_item(&mut entry.item, state.slots.fresh_waker(index)) {
                drop(state);
                self.counters.note(event);
                return false;
            }
            entry.is_watched = true;
        }
        let is_first = !entry.is_watched && !std::mem::replace(&mut state.has_unwatched, true);
        let sweep_earlier = entry
            .deadline
            .is_some_and(|deadline| state.next_sweep.is_none_or(|sweep| deadline < sweep));
        if sweep_earlier {
            state.next_sweep = entry.deadline;
        }
        state.slots.fill(index, entry);
        self.len.store(state.slots.len(), Ordering::Relaxed);
        if state.janitor.as_ref().is_none_or(Janitor::is_gone) {
            state.janitor = self.new_janitor();
        }
        drop(state);
        if sweep_earlier || is_first {
            self.wakes.wake_janitor();
        }
        true
    }

    /// `None` outside of any runtime.
    #[cold]
    fn new_janitor(&self) -> Option<Janitor> {
        let runtime = Handle::try_current().ok()?;
        let (stripe, wakes) = (self.this.clone(), self.wakes.clone());
        Some(Janitor::start(stripe, wakes, &runtime))
    }

    pub(super) fn take(&self, key: u64, runtime: RuntimeId) -> Option<Entry<S>> {
        if self.len() == 0 {
            return None;
        }
        self.take_locked(self.lock(), key, runtime)
    }

    /// [`take`](Stripe::take), unless the lock is taken.
    pub(super) fn try_take(&self, key: u64, runtime: RuntimeId) -> Option<Entry<S>> {
        if self.len() == 0 {
            return None;
        }
        self.take_locked(self.try_lock()?, key, runtime)
    }

    fn take_locked(
        &self,
        mut state: MutexGuard<'_, State<S>>,
        key: u64,
        runtime: RuntimeId,
    ) -> Option<Entry<S>> {
        // Allocates only if a dead entry is found.
        let mut dead = Vec::new();
        let mut taken = None;
        let mut at = state.slots.first(key);
        while let Some(index) = at {
            at = state.slots.after(index);
            let woken = state.slots.was_woken(index);
            let Some((entry, _)) = state.slots.entry_mut(index) else {
                break;
            };
            if entry.runtime != runtime {
                continue;
            }
            let expired = entry.deadline.is_some() && entry.is_expired(Instant::now());
            // The waker of the slot stays with the connection until its new user registers one; at
            // worst the janitor examines the slot in vain.
            let is_quiet = if entry.is_watched {
                !woken
            } else {
                entry.item.is_quiet() == Some(true)
            };
            let event = if is_quiet {
                Poll::Pending
            } else {
                poll_item(&mut entry.item, Waker::noop())
            };
            let entry = self.remove(&mut state, index);
            match event {
                Poll::Pending if !expired => {
                    taken = entry;
                    break;
                }
                Poll::Pending => idle_closed(IdleEnd::Expired, 1),
                Poll::Ready(event) => self.counters.note(event),
            }
            dead.push(entry);
        }
        drop(state);
        drop(dead);
        taken
    }

    /// Takes out the oldest entry if there are more than `keep`.
    pub(super) fn evict_all_but(&self, keep: usize) -> Option<Entry<S>> {
        self.evict_locked(self.lock(), keep)
    }

    /// Takes out the oldest entry, unless the lock is taken.
    pub(super) fn try_evict(&self) -> Option<Entry<S>> {
        self.evict_locked(self.try_lock()?, 0)
    }

    fn evict_locked(&self, mut state: MutexGuard<'_, State<S>>, keep: usize) -> Option<Entry<S>> {
        if state.slots.len() <= keep {
            return None;
        }
        let oldest = state.slots.oldest()?;
        self.remove(&mut state, oldest)
    }

    /// The number of connections without a waker.
    #[cfg(test)]
    pub(super) fn unwatched(&self) -> usize {
        self.lock().slots.unwatched().len()
    }
}

impl<S: Poolable> Tended for Stripe<S> {
    /// Examines entries that were woken, and drops those on which something happened.
    fn examine(&self, woken: &[Index]) {
        let mut dead = Vec::new();
        let mut state = self.lock();
        for &index in woken {
            let Some((entry, waker)) = state.slots.entry_mut(index) else {
                continue;
            };
            if let Poll::Ready(event) = poll_item(&mut entry.item, waker) {
                self.counters.note(event);
                dead.push(self.remove(&mut state, index));
            }
        }
        drop(state);
    }

    /// Registers wakers with connections that have none, once those have had time to be reused, and
    /// returns when to do so again.
    fn watch(&self) -> Option<Instant> {
        let mut state = self.lock();
        if !state.has_unwatched {
            return None;
        }
        let now = Instant::now();
        let due = *state.next_watch.get_or_insert(now + UNWATCHED);
        if now < due {
            return Some(due);
        }
        (state.has_unwatched, state.next_watch) = (false, None);
        let mut dead = Vec::new();
        for index in state.slots.unwatched() {
            state.slots.fresh_waker(index);
            let Some((entry, waker)) = state.slots.entry_mut(index) else {
                continue;
            };
            entry.is_watched = true;
            if let Poll::Ready(event) = poll_item(&mut entry.item, waker) {
                self.counters.note(event);
                dead.push(self.remove(&mut state, index));
            }
        }
        drop(state);
        None
    }

    /// Drops entries that exceeded their idle time, and returns when to do so again.
    fn sweep(&self) -> Option<Instant> {
        let mut state = self.lock();
        let due = state.next_sweep?;
        let now = Instant::now();
        if now < due {
            return Some(due);
        }
        let expired: Vec<Index> = state
            .slots
            .iter()
            .filter_map(|(index, entry)| entry.is_expired(now).then_some(index))
            .collect();
        let dead: Vec<_> = expired
            .into_iter()
            .map(|index| self.remove(&mut state, index))
            .collect();
        idle_closed(IdleEnd::Expired, dead.len());
        // Not separately for every entry: those of the next second are swept together.
        let earliest = state
            .slots
            .iter()
            .filter_map(|(_, entry)| entry.deadline)
            .min();
        state.next_sweep = earliest.map(|at| at.max(now + SHORTEST_SWEEP));
        let next = state.next_sweep;
        drop(state);
        drop(dead);
        next
    }
}

impl<S: Poolable> Drop for Stripe<S> {
    fn drop(&mut self) {
        // It finds no stripe to work for, and ends.
        self.wakes.wake_janitor();
    }
}
