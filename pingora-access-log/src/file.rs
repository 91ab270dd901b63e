//! A log file, and its rotation.

use crate::sink::{Written, write_lines};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When a file is full, and how many older ones are kept.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rotation {
    /// Size in bytes.
    pub(crate) size: Option<u64>,
    /// Each period begins at a multiple of its length since 1970, in UTC.
    pub(crate) period: Option<Duration>,
    pub(crate) kept: u32,
}

/// A file that is only appended to, with one `write` for many lines, so that several processes can share
/// it.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    size: u64,
    /// The number of the period that the content belongs to.
    period: u64,
    torn: bool,
}

impl LogFile {
    pub(crate) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        // The working directory may change.
        let path = std::path::absolute(path)?;
        let file = open(&path)?;
        let mut log = LogFile {
            path,
            rotation,
            file,
            size: 0,
            period: 0,
            torn: false,
        };
        log.note_state();
        Ok(log)
    }

    fn note_state(&mut self) {
        let known = self.file.metadata().ok();
        self.size = known.as_ref().map_or(0, |known| known.len());
        let written = known
            .filter(|_| self.size > 0)
            .and_then(|known| known.modified().ok());
        self.period = self.period_at(written.unwrap_or_else(SystemTime::now));
    }

    fn period_at(&self, time: SystemTime) -> u64 {
        let length = self.rotation.period.map_or(0, |period| period.as_secs());
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        time.as_secs().checked_div(length).unwrap_or(0)
    }

    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        self.torn = false;
        self.note_state();
        Ok(())
    }

    pub(crate) fn write(&mut self, lines: &[u8]) -> Written {
        let period = self.period_at(SystemTime::now());
        let length = lines.len() as u64;
        let full = self
            .rotation
            .size
            .is_some_and(|size| self.size + length > size);
        let mut failed = None;
        if period != self.period || full {
            if self.size > 0
                && let Err(error) = self.rotate()
            {
                failed = Some(error);
                // Not again for each batch.
                self.size = 0;
            }
            self.period = period;
        }
        let mut written = write_lines(&self.file, lines, &mut self.torn);
        self.size += length;
        written.error = written.error.or(failed);
        written
    }

    /// Renames the file, unless another process has done so.
    fn rotate(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let there = fs::metadata(&self.path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            let numbered = |number: u32| {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{number}"));
                name
            };
            // Up to the first gap: as many files as exist, however many may be kept.
            let exists = |number: &u32| fs::symlink_metadata(numbered(*number)).is_ok();
            let moved = (1..self.rotation.kept).take_while(exists).last();
            for number in (1..=moved.unwrap_or(0)).rev() {
                fs::rename(numbered(number), numbered(number + 1))?;
            }
            match self.rotation.kept {
                0 => fs::remove_file(&self.path)?,
                _ => fs::rename(&self.path, numbered(1))?,
            }
        }
        self.reopen()
    }
}

/// Readable for the group, but not for everyone: it reveals users' activity.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Directory;

    #[test]
    fn a_full_file_is_moved_and_so_many_are_kept() {
        let directory = Directory::new("size");
        let path = directory.path("log");
        let rotation = Rotation {
            size: Some(10),
            kept: 2,
            ..Rotation::default()
        };
        let mut log = LogFile::open(&path, rotation).unwrap();
        for line in [
            "aaaa\n",
            "bbbb\n",
            "cccc\n",
            "dddddddddddddddd\n",
            "eeee\n",
            "ffff\n",
        ] {
            assert!(log.write(line.as_bytes()).error.is_none());
        }
        let read = |name: &str| fs::read_to_string(directory.path(name)).unwrap();
        assert_eq!(read("log"), "eeee\nffff\n");
        assert_eq!(read("log.1"), "dddddddddddddddd\n");
        assert_eq!(read("log.2"), "cccc\n");
        assert!(!directory.path("log.3").exists());
        // Another process has renamed it: it is reopened, and nothing else is renamed.
        fs::rename(&path, directory.path("elsewhere")).unwrap();
        assert!(log.write(b"gggg\n").error.is_none());
        assert_eq!(
            (&*read("log"), &*read("log.1")),
            ("gggg\n", "dddddddddddddddd\n")
        );
    }

    #[test]
    fn a_file_of_an_earlier_period_is_moved() {
        let directory = Directory::new("period");
        let path = directory.path("log");
        fs::write(&path, "old\n").unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(86_399))
            .unwrap();
        let rotation = Rotation {
            period: Some(Duration::from_secs(86_400)),
            kept: 1,
            ..Rotation::default()
        };
        let mut log = LogFile::open(&path, rotation).unwrap();
        log.write(b"new\n");
        let read = |name: &str| fs::read_to_string(directory.path(name)).unwrap();
        assert_eq!((&*read("log.1"), &*read("log")), ("old\n", "new\n"));
    }

    #[test]
    fn a_full_disk_loses_lines_by_count() {
        let mut log = LogFile::open(Path::new("/dev/full"), Rotation::default()).unwrap();
        let written = log.write(b"one\ntwo\n");
        assert_eq!(written.lost, 2);
        assert_eq!(written.error.unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
