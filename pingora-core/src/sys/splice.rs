//! Moving bytes between sockets and pipes inside the kernel.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::pipe2;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The capacity that is asked for, in bytes. The larger a pipe is, the fewer times a body changes hands.
const PIPE_SIZE: i32 = 1024 * 1024;
/// The size while there are many of them. Data in pipes to slow peers is memory that no socket is charged
/// with; this bounds it.
const CROWDED_PIPE_SIZE: i32 = 256 * 1024;
/// So many pipes are not many: half of what the kernel allows a user without privileges by default.
const CROWD: usize = 32;
/// A pipe that holds less is not worth its two system calls for each filling. The kernel makes such
/// small ones for a user who has used up the quota (`fs.pipe-user-pages-soft`).
const SMALLEST_PIPE: usize = 64 * 1024;
/// Pipes take at most this part of the descriptors that the process may open.
const SHARE_OF_DESCRIPTORS: usize = 8;
const MOST_PIPES: usize = 512;

/// How many pipes there are in this process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// How many there may be.
fn most_pipes() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let share = usize::try_from(descriptors).unwrap_or(usize::MAX) / SHARE_OF_DESCRIPTORS / 2;
        share.min(MOST_PIPES)
    })
}

/// A pipe: bytes on their way from one socket to another, in the kernel's memory.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
}

impl Pipe {
    /// An empty pipe, close-on-exec.
    ///
    /// # Errors
    /// Those of pipe2(2), and `QuotaExceeded` where there are too many pipes already, or the kernel
    /// gives only a small one.
    pub(crate) fn new() -> io::Result<Pipe> {
        let others = OPEN.fetch_add(1, Ordering::Relaxed);
        if others >= most_pipes() {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let made = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).inspect_err(|_| {
            OPEN.fetch_sub(1, Ordering::Relaxed);
        });
        let (reader, writer) = made?;
        // From here on `drop` counts it out.
        let mut pipe = Pipe {
            reader,
            writer,
            capacity: 0,
        };
        let size = if others < CROWD {
            PIPE_SIZE
        } else {
            CROWDED_PIPE_SIZE
        };
        let size = fcntl(&pipe.writer, FcntlArg::F_SETPIPE_SZ(size))
            // The quota, or the limit of one pipe, may still allow this.
            .or_else(|_| fcntl(&pipe.writer, FcntlArg::F_SETPIPE_SZ(CROWDED_PIPE_SIZE)))
            .or_else(|_| fcntl(&pipe.writer, FcntlArg::F_GETPIPE_SZ))?;
        pipe.capacity = usize::try_from(size).unwrap_or(0);
        if pipe.capacity >= SMALLEST_PIPE {
            Ok(pipe)
        } else {
            Err(io::ErrorKind::QuotaExceeded.into())
        }
    }

    /// Its capacity in bytes. It may be full with fewer, if they came in small
    /// packets.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Moves up to `most` bytes from a socket into this pipe. 0: the peer has closed its side.
    ///
    /// # Errors
    /// Those of splice(2). `WouldBlock` means the socket only if the pipe is empty.
    pub(crate) fn fill(&self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        uninterrupted(|| splice(socket, None, &self.writer, None, most, flags()))
    }

    /// Moves up to `most` bytes, of which there must be so many, from this pipe into a socket.
    ///
    /// # Errors
    /// Those of splice(2). A peer that is gone also raises SIGPIPE, which every Rust program ignores
    /// unless it was told otherwise.
    pub(crate) fn drain(&self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        uninterrupted(|| splice(&self.reader, None, socket, None, most, flags()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

fn uninterrupted(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_pipe_is_closed_on_exec_and_holds_what_was_asked_for() {
        let pipe = Pipe::new().unwrap();
        assert!(pipe.capacity() >= SMALLEST_PIPE);
        for end in [&pipe.reader, &pipe.writer] {
            assert_ne!(fcntl(end, FcntlArg::F_GETFD).unwrap() & libc::FD_CLOEXEC, 0);
            assert_ne!(fcntl(end, FcntlArg::F_GETFL).unwrap() & libc::O_NONBLOCK, 0);
        }
    }

    #[test]
    fn bytes_pass_from_socket_to_socket() {
        let (mut client, near) = UnixStream::pair().unwrap();
        let (far, mut server) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let pipe = Pipe::new().unwrap();
        let dry = pipe.fill(near.as_fd(), 64).unwrap_err();
        assert_eq!(dry.kind(), io::ErrorKind::WouldBlock);
        client.write_all(b"hello world").unwrap();
        assert_eq!(pipe.fill(near.as_fd(), 5).unwrap(), 5);
        assert_eq!(pipe.drain(far.as_fd(), 5).unwrap(), 5);
        let mut got = [0; 5];
        server.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        drop(client);
        assert_eq!(pipe.fill(near.as_fd(), 64).unwrap(), 6);
        drop(server);
        let gone = pipe.drain(far.as_fd(), 6).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn the_end_of_a_stream_is_no_bytes() {
        let (client, near) = UnixStream::pair().unwrap();
        drop(client);
        assert_eq!(Pipe::new().unwrap().fill(near.as_fd(), 64).unwrap(), 0);
    }
}
