//! Reaching the threads of a runtime from anywhere.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinHandle;

thread_local! {
    /// The pinned workers that this thread is one of.
    static WORKERS: RefCell<Option<Arc<Pinned>>> = const { RefCell::new(None) };
}

/// The way to all threads of one [`Runtime`](super::Runtime). Cheap to clone.
///
/// tokio's own handle reaches only the calling thread where the runtime doesn't steal work, because
/// there every thread is a runtime of its own.
#[derive(Clone, Debug)]
pub struct Handle(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Stealing(tokio::runtime::Handle),
    Pinned(Arc<Pinned>),
}

/// Runtimes of one thread each, of which none takes work from another.
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
    /// runtime is taken for a work-stealing one.
    pub fn current() -> Option<Self> {
        let pinned = WORKERS.with(|w| w.borrow().clone());
        pinned.map(|p| Handle(Inner::Pinned(p))).or_else(|| {
            let handle = tokio::runtime::Handle::try_current().ok()?;
            Some(Handle(Inner::Stealing(handle)))
        })
    }

    /// Makes this handle what [`Handle::current`] returns on the calling thread.
    pub(super) fn enter_thread(&self) {
        if let Inner::Pinned(pinned) = &self.0 {
            WORKERS.with(|w| *w.borrow_mut() = Some(pinned.clone()));
        }
    }

    /// Whether threads take work from one another.
    pub fn steals_work(&self) -> bool {
        matches!(self.0, Inner::Stealing(_))
    }

    /// The tokio runtime that the next task should go to: the threads in turn, or the one that all
    /// threads share. Sockets must be registered on the runtime that uses them, so whoever has a
    /// raw descriptor to give away asks here first.
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
