//! Taking hold of file descriptors.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Accepts one connection, non-blocking and close-on-exec, with the address of the peer where it
/// has one: one system call, where the standard library makes two.
///
/// # Errors
/// Those of accept(2). An interrupted call is repeated.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let fd = loop {
        // SAFETY: `storage` is valid for writes of `length` bytes, and `length` outlives the call.
        let fd = unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                storage.as_mut_ptr().cast(),
                &mut length,
                libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            )
        };
        if fd >= 0 {
            break fd;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    // SAFETY: the kernel just made this descriptor for us and nobody else knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all bytes are initialised: by `zeroed`, and then by the kernel.
    let storage = unsafe { storage.assume_init() };
    Ok((fd, inet_address(&storage)))
}

/// The IP address in `storage`; `None` where it is of another family.
fn inet_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure this is, and storage is large and aligned
            // enough for every one.
            let v4 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Takes over a descriptor that was opened elsewhere and handed to this process, such as a listening
/// socket passed on by the server before us.
///
/// # Errors
/// When the number is not an open descriptor.
pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: fcntl accepts any number and only fails for one that is not open.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open (checked above), and the caller takes it out of the table through which it
    // was handed to us, so there is no second owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers a descriptor with the calling runtime, to be told when it can be read from.
///
/// # Errors
/// When the descriptor can't be watched, or no descriptor is left.
pub(crate) fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays the same descriptor, and stays open, for as long as it lives; it
    // lives in what is returned, which never lends it mutably to anybody who could replace it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, IntoRawFd};

    fn flags(fd: &OwnedFd) -> (bool, bool) {
        use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
        let descriptor = FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap());
        let status = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap());
        (
            descriptor.contains(FdFlag::FD_CLOEXEC),
            status.contains(OFlag::O_NONBLOCK),
        )
    }

    #[test]
    fn accepts_with_flags_and_address() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                assert_eq!(address, "[::1]:0", "a machine without IPv6");
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (fd, peer) = accept(listener.as_fd()).unwrap();
            assert_eq!(peer, Some(client.local_addr().unwrap()));
            assert_eq!(flags(&fd), (true, true));
        }
    }

    #[test]
    fn a_unix_peer_has_no_inet_address() {
        let dir = std::env::temp_dir().join(format!("accept-{}.sock", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&dir).unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(accept(listener.as_fd()).unwrap().1, None);
    }

    #[test]
    fn an_empty_queue_is_an_error_and_not_a_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let error = accept(listener.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_watched_listener_says_when_somebody_connects() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let watched = watch_readable(listener.into()).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let mut ready = watched.readable().await.unwrap();
        let accepted = ready.try_io(|fd| accept(fd.as_fd())).ok();
        assert!(accepted.is_some_and(|accepted| accepted.is_ok()));
    }

    #[test]
    fn adopts_what_is_open_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let adopted = adopt(listener.into_raw_fd()).unwrap();
        assert_eq!(TcpListener::from(adopted).local_addr().unwrap(), address);
        assert!(adopt(-1).is_err());
        assert!(adopt(1_000_000_000).is_err());
    }
}
