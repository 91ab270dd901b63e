//! Moving bytes between memory and a socket.
//!
//! In a process with threads, the C library's wrappers of these calls announce that the thread could be
//! cancelled while it is in there: two atomic operations for each call. Nothing cancels the threads of a
//! Rust program, so on Linux the calls are made directly.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use tokio::io::ReadBuf;

/// The kernel takes no more slices in one call (`UIO_MAXIOV`).
pub(crate) const MOST_SLICES: usize = 1024;

/// Repeats a call that a signal interrupted.
#[inline]
fn uninterrupted(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<usize> {
    loop {
        if let Ok(n) = usize::try_from(call()) {
            return Ok(n);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Reads what has arrived, as much as `buf` has room for; 0 is the end. Never waits on a socket that
/// does not block.
///
/// # Errors
/// Those of recv(2), `WouldBlock` where nothing has arrived.
#[inline]
pub(crate) fn recv(socket: BorrowedFd<'_>, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
    // SAFETY: only bytes that the kernel has written are taken for initialised below, and none that
    // are initialised are made anything else.
    let room = unsafe { buf.unfilled_mut() };
    let (fd, place, length) = (socket.as_raw_fd(), room.as_mut_ptr(), room.len());
    let n = uninterrupted(|| {
        // SAFETY: `place` is valid for writes of `length` bytes and outlives the call.
        #[cfg(target_os = "linux")]
        let n = unsafe {
            let none = std::ptr::null_mut::<libc::c_void>();
            libc::syscall(libc::SYS_recvfrom, fd, place, length, 0, none, none)
        };
        // SAFETY: as above.
        #[cfg(not(target_os = "linux"))]
        let n = unsafe { libc::recv(fd, place.cast(), length, 0) };
        n as libc::ssize_t
    })?;
    // SAFETY: the kernel has written so many bytes, and no more than there is room for.
    unsafe { buf.assume_init(n) };
    buf.advance(n);
    Ok(n)
}

/// Sends as much of `bytes` as the socket has room for. A connection that the peer has closed is an
/// error, not a signal.
///
/// # Errors
/// Those of send(2), `WouldBlock` where there is no room.
#[inline]
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let (fd, place, length) = (socket.as_raw_fd(), bytes.as_ptr(), bytes.len());
    uninterrupted(|| {
        // SAFETY: `place` is valid for reads of `length` bytes and outlives the call.
        #[cfg(target_os = "linux")]
        let n = unsafe {
            let none = std::ptr::null::<libc::c_void>();
            let flags = libc::MSG_NOSIGNAL;
            libc::syscall(libc::SYS_sendto, fd, place, length, flags, none, 0)
        };
        // SAFETY: as above.
        #[cfg(not(target_os = "linux"))]
        let n = unsafe { libc::send(fd, place.cast(), length, 0) };
        n as libc::ssize_t
    })
}

/// Sends the bytes of several slices, [`MOST_SLICES`] at most, as if they were one.
///
/// On a connection that the peer has closed there is a signal, which Rust's runtime has the process
/// ignore.
///
/// # Errors
/// As [`send`].
#[inline]
pub(crate) fn send_vectored(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // The next call sends the slices that are left out: a write may always be a short one.
    let slices = slices.get(..MOST_SLICES).unwrap_or(slices);
    let (fd, place) = (socket.as_raw_fd(), slices.as_ptr());
    uninterrupted(|| {
        // SAFETY: an `IoSlice` has the layout of an `iovec`; the slices and what they point to
        // outlive the call, and the kernel only reads them.
        #[cfg(target_os = "linux")]
        let n = unsafe { libc::syscall(libc::SYS_writev, fd, place, slices.len()) };
        // SAFETY: as above.
        #[cfg(not(target_os = "linux"))]
        let n = unsafe { libc::writev(fd, place.cast(), slices.len() as libc::c_int) };
        n as libc::ssize_t
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        (client, server)
    }

    #[test]
    fn what_is_sent_is_received_where_there_is_room() {
        let (near, far) = pair();
        assert_eq!(send(near.as_fd(), b"abc").unwrap(), 3);
        let slices = [IoSlice::new(b"de"), IoSlice::new(b""), IoSlice::new(b"f")];
        assert_eq!(send_vectored(near.as_fd(), &slices).unwrap(), 3);
        let mut memory = [std::mem::MaybeUninit::uninit(); 8];
        let mut buf = ReadBuf::uninit(&mut memory);
        buf.put_slice(b"->");
        while buf.filled().len() < 8 {
            assert!(recv(far.as_fd(), &mut buf).unwrap() > 0);
        }
        assert_eq!(buf.filled(), b"->abcdef");
        assert_eq!(buf.initialized().len(), 8);
    }

    #[test]
    fn the_end_is_nothing_and_an_empty_socket_blocks() {
        let (near, far) = pair();
        far.set_nonblocking(true).unwrap();
        let mut memory = [0; 8];
        let mut buf = ReadBuf::new(&mut memory);
        let empty = recv(far.as_fd(), &mut buf).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        near.shutdown(std::net::Shutdown::Write).unwrap();
        far.set_nonblocking(false).unwrap();
        assert_eq!(recv(far.as_fd(), &mut buf).unwrap(), 0);
        assert!(buf.filled().is_empty());
    }

    #[test]
    fn a_closed_connection_is_an_error_and_no_signal() {
        let (near, far) = pair();
        drop(far);
        let failed = (0..1000).find_map(|_| send(near.as_fd(), b"x").err());
        assert!(failed.is_some_and(|e| e.kind() != io::ErrorKind::WouldBlock));
        let failed = send_vectored(near.as_fd(), &[IoSlice::new(b"x")]);
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn more_slices_than_the_kernel_takes_are_a_short_write() {
        let (near, mut far) = pair();
        let slices = vec![IoSlice::new(b"x"); MOST_SLICES + 1];
        assert_eq!(send_vectored(near.as_fd(), &slices).unwrap(), MOST_SLICES);
        let mut read = vec![0; MOST_SLICES];
        far.read_exact(&mut read).unwrap();
    }
}
