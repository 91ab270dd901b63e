//! Access to the threads of a runtime from anywhere.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinHandle;

thread_local! {
    /// The pinned workers that this thread belongs to.
    static WORKERS: RefCell<Option<Arc<Pinned>>> = const { RefCell::new(None) };
}

/// Access to all threads of one [`Runtime`](super::Runtime). Cheap to clone.
///
/// If the runtime does not steal work, tokio's own handle reaches only the calling thread, because
/// every thread is a runtime of its own.
#[derive(Clone, Debug)]
pub struct Handle(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Stealing(tokio::runtime::Handle),
    Pinned(Arc<Pinned>),
}

/// Runtimes of one thread each, none of which takes work from another.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) workers: Box<[tokio::runtime::Handle]>,
    next: AtomicUsize,
}

impl Handle {
    pub(super) fn stealing(handle: tokio::runtime::Handle) -> Self {
        Handle(Inner::Stealing(handle))
    }

    /// `workers` must not be empty.
    pub(super) fn pinned(workers: Vec<tokio::runtime::Handle>) -> Self {
        debug_assert!(!workers.is_empty());
        Handle(Inner::Pinned(Arc::new(Pinned {
            workers: workers.into(),
            next: AtomicUsize::new(0),
        })))
    }

    /// The runtime that the calling thread works for; `None` outside of any. A foreign tokio
    /// runtime is treated as a work-stealing one.
    pub fn current() -> Option<Self> {
        let pinned = WORKERS.with(|w| w.borrow().clone());
        pinned.map(|p| Handle(Inner::Pinned(p))).or_else(|| {
            let handle = tokio::runtime::Handle::try_current().ok()?;
            Some(Handle(Inner::Stealing(handle)))
        })
    }

    /// The tokio runtimes behind it.
    pub(super) fn all(&self) -> &[tokio::runtime::Handle] {
        match &self.0 {
            Inner::Stealing(handle) => std::slice::from_ref(handle),
            Inner::Pinned(pinned) => &pinned.workers,
        }
    }

    /// Makes [`Handle::current`] return this handle on the calling thread.
    pub(super) fn enter_thread(&self) {
        if let Inner::Pinned(pinned) = &self.0 {
            WORKERS.with(|w| *w.borrow_mut() = Some(pinned.clone()));
        }
    }

    /// Whether threads take work from one another.
    pub fn steals_work(&self) -> bool {
        matches!(self.0, Inner::Stealing(_))
    }

    /// The tokio runtime for the next task: the threads in turn, or the one that all threads share.
    /// Sockets must be registered on the runtime that uses them, so code that passes on a raw
    /// descriptor must call this first.
    pub fn next_worker(&self) -> &tokio::runtime::Handle {
        match &self.0 {
            Inner::Stealing(handle) => handle,
            Inner::Pinned(p) => {
                let turn = p.next.fetch_add(1, Ordering::Relaxed);
                &p.workers[turn % p.workers.len()]
            }
        }
    }

    /// Runs a task on [some thread](Handle::next_worker) of the runtime.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.next_worker().spawn(future)
    }
}
