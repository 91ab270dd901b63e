//! Files in memory that never change.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// These files take at most this part of the descriptors that the process may open.
const SHARE_OF_DESCRIPTORS: usize = 8;
const MOST: usize = 1024;

/// How many there are in this process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

fn most() -> usize {
    static SHARE: OnceLock<usize> = OnceLock::new();
    *SHARE.get_or_init(|| {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let share = usize::try_from(descriptors).unwrap_or(usize::MAX) / SHARE_OF_DESCRIPTORS;
        share.min(MOST)
    })
}

/// Counts a file for as long as it lives.
struct Counted;

impl Counted {
    fn new() -> io::Result<Counted> {
        let others = OPEN.fetch_add(1, Ordering::Relaxed);
        // From here on `drop` counts it out.
        let counted = Counted;
        if others < most() {
            Ok(counted)
        } else {
            Err(io::ErrorKind::QuotaExceeded.into())
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file without a name, in memory, whose content can't be changed by anybody any more: sealed, and mapped for reading.
pub(crate) struct MemoryFile {
    file: File,
    start: NonNull<u8>,
    length: NonZeroUsize,
    _counted: Counted,
}

// SAFETY: the mapping is read only, its content is sealed, and it lives as long as this.
unsafe impl Send for MemoryFile {}
// SAFETY: as above.
unsafe impl Sync for MemoryFile {}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl MemoryFile {
    /// A file that consists of these pieces. It takes one descriptor and one mapping.
    ///
    /// # Errors
    /// `QuotaExceeded` if there are too many: 1,024, or an eighth of the descriptors. `InvalidInput` if it would be empty.
    /// Those of memfd_create(2), write(2), fcntl(2) and mmap(2).
    pub(crate) fn of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<MemoryFile> {
        let counted = Counted::new()?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut file = File::from(memfd_create(c"body", flags)?);
        let mut length = 0_usize;
        for piece in pieces {
            file.write_all(piece)?;
            length = length
                .checked_add(piece.len())
                .ok_or(io::ErrorKind::InvalidInput)?;
        }
        let length = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        let seals = SealFlag::F_SEAL_WRITE
            | SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        // SAFETY: a new mapping at a place of the kernel's choice, of a file that is open and this long.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length.get(),
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last().into());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(MemoryFile {
            file,
            start,
            length,
            _counted: counted,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn content(&self) -> &[u8] {
        // SAFETY: the mapping is readable for this length until `drop`. Nobody can write to it, neither through the mapping nor
        // through the file, nor make the file shorter, because that is sealed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length.get()) }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        // SAFETY: the mapping that `of` made; no slice of it outlives this.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.length.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn it_has_what_was_written_and_cannot_be_changed() {
        let pieces = [&b"hello "[..], b"", b"world"];
        let file = MemoryFile::of(pieces.into_iter()).unwrap();
        assert_eq!(file.content(), b"hello world");
        assert!(file.file.write_all_at(b"J", 0).is_err());
        assert!(file.file.set_len(3).is_err());
        assert!(file.file.set_len(99).is_err());
        assert_eq!(file.content(), b"hello world");
    }

    #[test]
    fn there_are_only_so_many_and_none_is_empty() {
        let empty = MemoryFile::of(std::iter::empty()).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::InvalidInput);
        let made: Vec<_> = (0..most() + 1)
            .map_while(|_| MemoryFile::of(std::iter::once(&b"a"[..])).ok())
            .collect();
        // Other tests may have some.
        assert!(!made.is_empty() && made.len() <= most());
        drop(made);
        assert!(MemoryFile::of(std::iter::once(&b"a"[..])).is_ok());
    }
}
