//! Two processes share the directory during an upgrade: the newer one owns it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// The file with the number of the process that opened the directory last.
const FILE: &str = "owner";

/// Whether this process may add to the directory, and remove what is not in its way. An older one only reads.
#[derive(Debug)]
pub(super) struct Owner {
    path: PathBuf,
    number: String,
    is_ours: AtomicBool,
    since: Instant,
    /// When the file was last read, in seconds after `since`.
    asked: AtomicU64,
}

impl Owner {
    /// Takes the directory.
    pub(super) fn take(dir: &Path) -> io::Result<Self> {
        let number = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        let beside = dir.join(format!("{FILE}.{number}"));
        std::fs::write(&beside, &number)?;
        std::fs::rename(&beside, dir.join(FILE))?;
        Ok(Owner {
            path: dir.join(FILE),
            number,
            is_ours: AtomicBool::new(true),
            since: Instant::now(),
            asked: AtomicU64::new(0),
        })
    }

    /// Reads the file. It stays another's once it is.
    pub(super) fn is_ours_now(&self) -> bool {
        if !self.is_ours.load(Ordering::Relaxed) {
            return false;
        }
        // Only who can read another's number knows that there is another.
        let is_ours = match std::fs::read_to_string(&self.path) {
            Ok(number) => number == self.number,
            Err(_) => true,
        };
        if !is_ours {
            self.is_ours.store(false, Ordering::Relaxed);
            log::info!("a newer process uses the cache's directory: this one only reads from it");
        }
        is_ours
    }

    /// The same, as of a second ago at most.
    pub(super) fn is_ours(&self) -> bool {
        let now = self.since.elapsed().as_secs();
        if self.asked.swap(now, Ordering::Relaxed) == now {
            return self.is_ours.load(Ordering::Relaxed);
        }
        self.is_ours_now()
    }
}
