//! A disk that fails is left alone for a while.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many errors in a row turn the store off.
const IN_A_ROW: u64 = 3;
/// For so long.
const PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Health {
    since: Instant,
    in_a_row: AtomicU64,
    errors: AtomicU64,
    /// Milliseconds after `since`; 0: not off.
    off_until: AtomicU64,
    is_told: AtomicBool,
}

impl Health {
    pub(super) fn new() -> Self {
        Health {
            since: Instant::now(),
            in_a_row: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            off_until: AtomicU64::new(0),
            is_told: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn is_off(&self) -> bool {
        let until = self.off_until.load(Ordering::Relaxed);
        until > 0 && self.now() < until
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub(super) fn note<T>(&self, result: &io::Result<T>) {
        match result {
            Ok(_) => {
                // Most of the time nothing has to be written.
                if self.in_a_row.load(Ordering::Relaxed) > 0 {
                    self.in_a_row.store(0, Ordering::Relaxed);
                    self.off_until.store(0, Ordering::Relaxed);
                    if self.is_told.swap(false, Ordering::Relaxed) {
                        log::info!("the cache's disk works again");
                    }
                }
            }
            Err(error) => self.note_error(error),
        }
    }

    fn note_error(&self, error: &io::Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row < IN_A_ROW {
            return;
        }
        let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
        self.off_until
            .store(self.now().saturating_add(pause), Ordering::Relaxed);
        // One line, until it works again.
        if !self.is_told.swap(true, Ordering::Relaxed) {
            log::error!(
                "the cache's disk fails, and is not used for {} seconds at a time: {error}",
                PAUSE.as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    #[test]
    fn errors_in_a_row_turn_it_off() {
        let health = Health::new();
        health.note(&error());
        health.note(&error());
        health.note(&Ok(()));
        health.note(&error());
        health.note(&error());
        assert!(!health.is_off());
        health.note(&error());
        assert!(health.is_off());
        assert_eq!(health.errors(), 5);
        // A request that was under way got through.
        health.note(&Ok(()));
        assert!(!health.is_off());
    }
}
