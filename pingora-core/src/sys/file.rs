//! Sending files to sockets inside the kernel.

use nix::errno::Errno;
use nix::sys::sendfile::sendfile64;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::LazyLock;

/// Sends up to `most` bytes of a file from position `at`, as many as the socket has room for. The file's own position stays
/// where it is. 0: the file ends there.
///
/// # Errors
/// Those of sendfile(2); `WouldBlock` means the socket. A peer that is gone also raises SIGPIPE, which every Rust
/// program ignores unless it was told otherwise.
pub(crate) fn send_file(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    at: u64,
    most: usize,
) -> io::Result<usize> {
    let start = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        let mut start = start;
        match sendfile64(socket, file, Some(&mut start), most) {
            Err(Errno::EINTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// Whether the byte at this position can be read without waiting for a disk, as far as the kernel tells.
///
/// # Errors
/// Those of preadv2(2); `Unsupported` where the file system can't tell.
pub(crate) fn is_in_memory(file: BorrowedFd<'_>, at: u64) -> io::Result<bool> {
    let at = libc::off_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut byte = 0_u8;
    let slice = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    loop {
        // SAFETY: `slice` and the byte that it names are valid, and not used otherwise, until the call returns.
        let read =
            unsafe { libc::preadv2(file.as_raw_fd(), &raw const slice, 1, at, libc::RWF_NOWAIT) };
        if read >= 0 {
            return Ok(read > 0);
        }
        match Errno::last() {
            Errno::EINTR => {}
            Errno::EAGAIN => return Ok(false),
            Errno::EOPNOTSUPP => return Err(io::ErrorKind::Unsupported.into()),
            other => return Err(other.into()),
        }
    }
}

/// `cachestat(2)`, which libc has no number for. The same on all architectures but three old ones.
const CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range` of linux/mman.h.
#[repr(C)]
struct Range {
    at: u64,
    length: u64,
}

/// `struct cachestat` of linux/mman.h, all in pages.
#[repr(C)]
#[derive(Default)]
struct Cached {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// How many of the pages in which these bytes are have a place in memory, those that are being read included, and how
/// many pages that is of.
///
/// # Errors
/// Those of cachestat(2): `Unsupported` with a kernel before 6.5, `PermissionDenied` for the file of another user.
pub(crate) fn pages_in_memory(
    file: BorrowedFd<'_>,
    at: u64,
    length: NonZeroU64,
) -> io::Result<(u64, u64)> {
    let page = page_size();
    let last = at
        .checked_add(length.get() - 1)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let range = Range {
        at,
        length: length.get(),
    };
    let mut found = Cached::default();
    // SAFETY: both structures are laid out as the kernel's, valid, and not used otherwise until the call returns.
    let result = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut found,
            0,
        )
    };
    if result == 0 {
        return Ok((found.cached, last / page - at / page + 1));
    }
    match Errno::last() {
        Errno::ENOSYS | Errno::EOPNOTSUPP => Err(io::ErrorKind::Unsupported.into()),
        other => Err(other.into()),
    }
}

/// The size of a page, in bytes.
fn page_size() -> u64 {
    static SIZE: LazyLock<u64> = LazyLock::new(|| {
        let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
        let size = size
            .ok()
            .flatten()
            .and_then(|size| u64::try_from(size).ok());
        size.filter(|size| *size > 0).unwrap_or(4096)
    });
    *SIZE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn file(content: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("sent-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file
    }

    #[test]
    fn a_part_of_a_file_is_sent_as_far_as_there_is_room() {
        let file = file(b"hello world");
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        assert_eq!(send_file(near.as_fd(), file.as_fd(), 6, 3).unwrap(), 3);
        assert_eq!(send_file(near.as_fd(), file.as_fd(), 9, 99).unwrap(), 2);
        assert_eq!(send_file(near.as_fd(), file.as_fd(), 11, 99).unwrap(), 0);
        let mut got = [0; 5];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"world");
        while (&near).write(&[0; 4096]).is_ok() {}
        let full = send_file(near.as_fd(), file.as_fd(), 0, 1).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        drop(far);
        let gone = send_file(near.as_fd(), file.as_fd(), 0, 1).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_was_written_a_moment_ago_is_in_memory_and_what_is_behind_the_end_is_nowhere() {
        let file = file(b"hello world");
        // A file system that can't tell says so.
        let known = |at| match is_in_memory(file.as_fd(), at) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
            other => Some(other.unwrap()),
        };
        assert!(known(4).unwrap_or(true));
        assert!(!known(11).unwrap_or(false));
    }

    #[test]
    fn pages_in_memory_are_counted() {
        let file = file(&vec![7; 40_000]);
        let count = |at, length| {
            let length = NonZeroU64::new(length).unwrap();
            // An older kernel, or a sandbox.
            pages_in_memory(file.as_fd(), at, length).ok()
        };
        let page = page_size();
        let all = 40_000_u64.div_ceil(page);
        for (at, length, of) in [(0, 40_000, all), (1, 1, 1), (page - 1, 2, 2)] {
            assert_eq!(count(at, length).unwrap_or((of, of)), (of, of), "{at}");
        }
        let behind = count(0, 40_000 + 9 * page).unwrap_or((all, all + 9));
        assert!(behind.0 < behind.1);
    }
}
