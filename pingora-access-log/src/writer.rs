//! The writer thread.

use crate::queue::{Lines, Queue};
use crate::sink::Sink;
use pingora_core::metrics::{Collect, Collected};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// The minimum time between two lines about the same problem in the error log.
const QUIET: Duration = Duration::from_secs(10);

/// The state shared by the workers and the writer.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    /// The maximum age of a line when it is written.
    pub(crate) flush_after: Duration,
    pub(crate) written: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// For starting the writer with the first line: a server that goes into the background must not have
    /// threads before.
    pub(crate) sink: Mutex<Option<Box<dyn Sink>>>,
    pub(crate) writer: OnceLock<Option<Thread>>,
    pub(crate) reopen: AtomicBool,
    pub(crate) stop: AtomicBool,
    /// The number of requests to write everything, and the number that were fulfilled.
    pub(crate) asked: AtomicU64,
    pub(crate) done: Mutex<u64>,
    pub(crate) did: Condvar,
}

impl Shared {
    /// Wakes the writer. Has no effect before its start.
    pub(crate) fn wake(&self) {
        self.queue.awake();
        if let Some(Some(writer)) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Waits until everything so far is written, within this limit; `true` if it is.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        if !matches!(self.writer.get(), Some(Some(_))) {
            return true;
        }
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake();
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .did
            .wait_timeout_while(done, limit, |done| *done < ticket);
        waited.is_ok_and(|(done, _)| *done >= ticket)
    }
}

impl Collect for Shared {
    fn collect(&self, out: &mut Collected) {
        let counts = [
            ("written", self.written.load(Ordering::Relaxed)),
            ("dropped", self.queue.dropped()),
            ("failed", self.lost.load(Ordering::Relaxed)),
        ];
        for (outcome, lines) in counts {
            out.counter(
                "pingora_access_log_lines_total",
                "Lines of access logs: written, dropped because the queue was full, or lost to the disk or the daemon.",
                &[("outcome", outcome)],
                lines,
            );
        }
    }
}

/// A problem that is logged once in a while.
#[derive(Default)]
struct Trouble {
    told: Option<Instant>,
    count: u64,
}

impl Trouble {
    fn tell(&mut self, count: u64, what: &str) {
        if count == self.count || self.told.is_some_and(|told| told.elapsed() < QUIET) {
            return;
        }
        log::error!("access log: {what}; {count} lines are missing so far");
        (self.told, self.count) = (Some(Instant::now()), count);
    }
}

/// Writes until it is told to stop and nothing is left.
pub(crate) fn run(shared: &Shared, mut sink: Box<dyn Sink>) {
    let mut room = shared.queue.room();
    let (mut full, mut failing) = (Trouble::default(), Trouble::default());
    loop {
        let (ticket, stops) = (
            shared.asked.load(Ordering::SeqCst),
            shared.stop.load(Ordering::SeqCst),
        );
        shared.queue.take(&mut room);
        let wrote = write(shared, &mut *sink, &room, &mut failing);
        full.tell(
            shared.queue.dropped(),
            "the writer does not keep up with the requests",
        );
        if shared.reopen.swap(false, Ordering::SeqCst) {
            match sink.reopen() {
                Ok(()) => log::info!("the access log was opened anew"),
                Err(error) => {
                    log::error!("access log: it can't be opened anew, so it stays open: {error}");
                }
            }
        }
        *shared.done.lock().unwrap_or_else(PoisonError::into_inner) = ticket;
        shared.did.notify_all();
        if stops {
            return;
        }
        if wrote {
            std::thread::park_timeout(shared.flush_after);
            continue;
        }
        let asked = || {
            shared.stop.load(Ordering::SeqCst)
                || shared.reopen.load(Ordering::SeqCst)
                || shared.asked.load(Ordering::SeqCst) > ticket
        };
        if shared.queue.may_sleep() && !asked() {
            std::thread::park();
        }
        shared.queue.awake();
    }
}

/// Whether there was anything to write.
fn write(shared: &Shared, sink: &mut dyn Sink, room: &[Lines], failing: &mut Trouble) -> bool {
    let mut wrote = false;
    for lines in room.iter().filter(|lines| lines.count > 0) {
        wrote = true;
        let written = sink.write(&lines.bytes);
        let good = lines.count.saturating_sub(written.lost);
        shared.written.fetch_add(good, Ordering::Relaxed);
        let lost = shared.lost.fetch_add(written.lost, Ordering::Relaxed) + written.lost;
        if let Some(error) = written.error {
            match written.lost {
                0 => log::warn!("access log: {error}"),
                _ => failing.tell(lost, &format!("it can't be written: {error}")),
            }
        }
    }
    wrote
}
