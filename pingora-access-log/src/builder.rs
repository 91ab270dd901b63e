//! Configuring and opening a log.

use crate::file::{LogFile, Rotation};
use crate::queue::Queue;
use crate::sink::{Sink, Stdout, Syslog, SyslogSink};
use crate::writer::Shared;
use crate::{AccessLog, Format, Handle, Redaction};
use pingora_core::metrics::register;
use pingora_error::{Error, ErrorType, Result};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::time::Duration;

/// The maximum number of parts of the queue.
const MOST_PARTS: usize = 8;

#[derive(Debug, Clone)]
pub(crate) enum Target {
    File(PathBuf),
    Stdout,
    Syslog(Syslog),
}

/// Settings of an [`AccessLog`]: created by [`AccessLog::to_file`] and the like, consumed by
/// [`Builder::open`].
#[derive(Debug, Clone)]
pub struct Builder {
    target: Target,
    format: Format,
    redaction: Redaction,
    rotation: Rotation,
    queue_bytes: usize,
    flush_after: Duration,
}

impl Builder {
    pub(crate) fn new(target: Target) -> Self {
        Builder {
            target,
            format: Format::combined(),
            redaction: Redaction::default(),
            rotation: Rotation {
                kept: 7,
                ..Rotation::default()
            },
            queue_bytes: 4 << 20,
            flush_after: Duration::from_millis(100),
        }
    }

    /// The format of a line. Default: [`Format::combined`].
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The values that must not appear in the log. Default: the well-known secrets, see
    /// [`Redaction`].
    #[must_use]
    pub fn redaction(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    /// The total number of bytes that may wait to be written; default: 4 MiB. Divided among the workers. While
    /// they are being written, the same amount again may be held.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// The time for which lines are gathered before they are written together; default: 100
    /// milliseconds.
    #[must_use]
    pub fn flush_after(mut self, time: Duration) -> Self {
        self.flush_after = time;
        self
    }

    /// A file that would exceed this many bytes is renamed to `NAME.1`, that one to `NAME.2` and so on, and a new one
    /// is created. By default, and with 0, a file grows until something else moves it. Lines that are written together
    /// stay together.
    #[must_use]
    pub fn rotate_at(mut self, bytes: u64) -> Self {
        self.rotation.size = (bytes > 0).then_some(bytes);
        self
    }

    /// A file is rotated as by [`Builder::rotate_at`] when a period of this length is over and there is a line to
    /// write; periods are counted from 1970 in UTC, so daily ones end at midnight. Less than a second means never.
    #[must_use]
    pub fn rotate_every(mut self, period: Duration) -> Self {
        self.rotation.period = Some(period);
        self
    }

    /// The number of rotated files that are kept; default: 7. With 0, a file is removed instead of being
    /// renamed.
    #[must_use]
    pub fn keep(mut self, files: u32) -> Self {
        self.rotation.kept = files;
        self
    }

    /// Opens the log. The writer thread starts with the first line, so this can be called before a server goes into
    /// the background.
    ///
    /// # Errors
    /// If the file or the daemon's socket can't be opened; the error names it.
    pub fn open(self) -> Result<AccessLog> {
        let opened: io::Result<Box<dyn Sink>> = match &self.target {
            Target::File(path) => {
                LogFile::open(path, self.rotation).map(|file| Box::new(file) as Box<dyn Sink>)
            }
            Target::Stdout => Ok(Box::new(Stdout::default())),
            Target::Syslog(to) => {
                SyslogSink::open(to.clone()).map(|sink| Box::new(sink) as Box<dyn Sink>)
            }
        };
        let sink = opened.map_err(|error| {
            let what = format!("access log: {:?}", self.target);
            Error::because(ErrorType::FileOpenError, what, error)
        })?;
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(self.open_on(sink, workers.min(MOST_PARTS)))
    }

    pub(crate) fn open_on(self, sink: Box<dyn Sink>, parts: usize) -> AccessLog {
        let shared = Arc::new(Shared {
            queue: Queue::new(parts, self.queue_bytes),
            flush_after: self.flush_after,
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            sink: Mutex::new(Some(sink)),
            writer: OnceLock::new(),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            done: Mutex::new(0),
            did: Condvar::new(),
        });
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        register(weak);
        AccessLog(Arc::new(Handle {
            shared,
            format: self.format,
            redaction: self.redaction,
        }))
    }
}
