//! Warns about things that were created but do not run.

use log::warn;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The maximum number of open reminders; later ones are not recorded. Each is a few words.
const MOST: usize = 256;

/// The reminders for the servers of this process.
static OPEN: Mutex<Vec<Arc<Inner>>> = Mutex::new(Vec::new());

fn open() -> MutexGuard<'static, Vec<Arc<Inner>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Belongs to something that has no effect unless it runs, and that is easily forgotten: a background service,
/// a health check.
///
/// Unless it is [`done`](Reminder::done) or dropped by then, a server that has become ready logs its text
/// as a warning, once.
pub struct Reminder(Arc<Inner>);

struct Inner {
    text: String,
    done: AtomicBool,
    kept: AtomicBool,
}

impl Reminder {
    /// A reminder with this text, a sentence for the log that says what does not happen and how to fix
    /// it.
    pub fn new(text: impl Into<String>) -> Self {
        let inner = Arc::new(Inner {
            text: text.into(),
            done: AtomicBool::new(false),
            kept: AtomicBool::new(false),
        });
        let mut open = open();
        if open.len() < MOST {
            open.push(inner.clone());
        }
        Reminder(inner)
    }

    /// It runs: no reminder is needed. May be called often.
    #[inline]
    pub fn done(&self) {
        if !self.0.done.swap(true, Ordering::Relaxed) {
            open().retain(|other| !Arc::ptr_eq(other, &self.0));
        }
    }

    /// Keeps the reminder even after this is dropped.
    pub(crate) fn keep(&self) {
        self.0.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Reminder {
    fn drop(&mut self) {
        if !self.0.kept.load(Ordering::Relaxed) {
            self.done();
        }
    }
}

impl fmt::Debug for Reminder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reminder").field(&self.0.text).finish()
    }
}

/// Warns about all open reminders, once.
pub(crate) fn remind() {
    for reminder in std::mem::take(&mut *open()) {
        warn!("{}", reminder.text);
    }
}
