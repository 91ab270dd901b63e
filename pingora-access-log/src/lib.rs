//! An access log for proxies: a line for each request, written off the worker threads.
//!
//! ```no_run
//! # use pingora_access_log::{AccessLog, Format};
//! # use pingora_core::server::Server;
//! # fn main() -> pingora_error::Result<()> {
//! # let mut server = Server::new(None)?;
//! let access_log = AccessLog::to_file("/var/log/proxy/access.log")
//!     .format(Format::json())
//!     .open()?;
//! server.add_reload_hook(access_log.reload_hook()); // SIGHUP opens the file anew
//! # Ok(())
//! # }
//! // In the proxy's `early_request_filter`, for durations:  self.access_log.begin(session);
//! // In its `logging`:                                      self.access_log.write(session, error);
//! ```
//!
//! A worker formats its line and copies it into a bounded queue; a separate writer thread writes the queued lines,
//! many at once. If the queue is full, or the disk is slow or full, lines are dropped and counted, and no request
//! waits. All data that a client sends is escaped, and well-known secrets are redacted.
//!
//! # Layout
//! - [`AccessLog`], [`Builder`]: the destination of lines, and the rotation of files.
//! - [`Format`]: the format of a line.
//! - [`Redaction`]: values that must not appear in it.
//!
//! For more, see `docs/access_log.md` in the repository.
#![forbid(unsafe_code)]

mod builder;
mod clock;
mod escape;
mod file;
mod format;
mod queue;
mod redaction;
mod sink;
mod variable;
mod writer;

pub use builder::Builder;
pub use format::Format;
pub use redaction::Redaction;
pub use sink::Syslog;

use pingora_core::server::ReloadHook;
use pingora_error::Error;
use pingora_proxy::Session;
use queue::Wake;
use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use variable::Facts;
use writer::Shared;

/// How long the last handle waits until everything is written.
const PATIENCE: Duration = Duration::from_secs(2);

thread_local! {
    /// The line that this thread is formatting.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An access log. Clones write to the same one.
///
/// When the last clone is dropped, the remaining lines are written, for at most two seconds. A program that exits
/// in another way should call [`AccessLog::flush`] before.
#[derive(Clone)]
pub struct AccessLog(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    format: Format,
    redaction: Redaction,
}

/// The number of lines by outcome, since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Lines that were written.
    pub written: u64,
    /// Lines for which there was no room in the queue.
    pub dropped: u64,
    /// Lines that could not be written.
    pub failed: u64,
}

impl AccessLog {
    /// A log that appends to this file, which need not exist; its directory must. See [`Builder`].
    pub fn to_file(path: impl Into<std::path::PathBuf>) -> Builder {
        Builder::new(builder::Target::File(path.into()))
    }

    /// A log to standard output.
    pub fn to_stdout() -> Builder {
        Builder::new(builder::Target::Stdout)
    }

    /// A log to the syslog daemon of this machine.
    pub fn to_syslog(to: Syslog) -> Builder {
        Builder::new(builder::Target::Syslog(to))
    }

    /// Records how long the parts of this request take ([`Session::record_times`]), if the format has a variable that
    /// tells. Call it in `early_request_filter`. Without it, the line lacks durations, and the address of an upstream that
    /// did not fail.
    pub fn begin(&self, session: &mut Session) {
        if self.0.format.takes_times() {
            session.record_times();
        }
    }

    /// Writes the line of a request. Call it in `logging`. Does not block.
    pub fn write(&self, session: &Session, error: Option<&Error>) {
        self.write_with(session, error, &[]);
    }

    /// [`AccessLog::write`] with the program's own values, for the variables `own.NAME`. They are escaped, but not
    /// redacted.
    pub fn write_with(&self, session: &Session, error: Option<&Error>, own: &[(&str, &str)]) {
        let facts = Facts::new(session, error, own, &self.0.redaction);
        LINE.with_borrow_mut(|line| {
            line.clear();
            self.0.format.write(&facts, line);
            self.push(line);
        });
    }

    fn push(&self, line: &[u8]) {
        let shared = &self.0.shared;
        let wake = shared.queue.push(line);
        if shared.writer.get().is_none() {
            start(shared);
        } else if wake == Wake::Yes {
            shared.wake();
        }
    }

    /// Reopens the file by its name, after it was moved away; returns at once. No line is lost or split: earlier lines
    /// go to the old file or to the new one. If the file can't be opened, the old one stays open, and the error log
    /// gives the reason.
    pub fn reopen(&self) {
        let shared = &self.0.shared;
        shared.reopen.store(true, Ordering::SeqCst);
        start(shared);
        shared.wake();
    }

    /// [`AccessLog::reopen`] for `Server::add_reload_hook`: on SIGHUP.
    pub fn reload_hook(&self) -> ReloadHook {
        let log = Arc::downgrade(&self.0);
        ReloadHook::new("access log", move |_| {
            let log = log.upgrade().map(AccessLog);
            async move {
                if let Some(log) = log {
                    log.reopen();
                }
                Ok(())
            }
        })
    }

    /// Waits until all lines so far are written, within this limit; `true` if they are. Blocks the
    /// thread.
    pub fn flush(&self, limit: Duration) -> bool {
        self.0.shared.flush(limit)
    }

    /// The number of lines by outcome.
    pub fn counts(&self) -> Counts {
        let shared = &self.0.shared;
        Counts {
            written: shared.written.load(Ordering::Relaxed),
            dropped: shared.queue.dropped(),
            failed: shared.lost.load(Ordering::Relaxed),
        }
    }
}

/// Starts the writer, once.
#[cold]
fn start(shared: &Arc<Shared>) {
    shared.writer.get_or_init(|| {
        let sink = shared
            .sink
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        let theirs = shared.clone();
        let writer = std::thread::Builder::new().name("access log".to_owned());
        match writer.spawn(move || writer::run(&theirs, sink)) {
            Ok(writer) => Some(writer.thread().clone()),
            Err(error) => {
                log::error!("access log: no thread can be started, so nothing is written: {error}");
                None
            }
        }
    });
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.flush(PATIENCE);
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccessLog").field(&self.counts()).finish()
    }
}

#[cfg(test)]
mod tests;
