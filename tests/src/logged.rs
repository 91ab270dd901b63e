//! The framework's log in this process.

use log::{LevelFilter, Log, Metadata, Record};
use std::sync::{Mutex, Once, PoisonError};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ONCE: Once = Once::new();

struct Keeper;

impl Log for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        LINES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn flush(&self) {}
}

/// Keeps every line that is logged at `info` or above from now on. To be called ahead of the server's start.
///
/// The tests of a suite run in one process, and beside each other: a line is found by something that
/// no other test mentions, such as a path.
pub fn keep_log() {
    ONCE.call_once(|| {
        log::set_logger(&Keeper).expect("nobody else logs in a test");
        log::set_max_level(LevelFilter::Info);
    });
}

/// The lines until now that contain this text, with their level.
pub fn log_lines(text: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let found = lines.iter().filter(|line| line.contains(text));
    found.cloned().collect()
}

/// Waits for a line with this text, and returns the first such.
///
/// # Panics
/// When none comes.
pub async fn logged(text: &str) -> String {
    let mut found = Vec::new();
    crate::eventually(&format!("a line with {text:?} is logged"), || {
        found = log_lines(text);
        !found.is_empty()
    })
    .await;
    found.swap_remove(0)
}
