//! Taking hold of file descriptors.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

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
    // SAFETY: the kernel just made this descriptor for us and no other code knows of it.
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

/// A descriptor of our own for what this number stands for, close-on-exec. The number itself stays what it
/// was, whoever owns it.
///
/// # Errors
/// Where the number is not an open descriptor, or no descriptor is left.
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl takes any number, and fails for one that is not open; it changes nothing about it.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us and no other code knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The first descriptor that a service manager passes (sd_listen_fds(3)).
pub(crate) const FIRST_PASSED: RawFd = 3;
/// More than is ever passed; a limit on what the environment may ask for.
const MOST_PASSED: usize = 4096;

/// How many descriptors a service manager has passed to the process `own`, as the variables LISTEN_PID and
/// LISTEN_FDS say; `None` where they are for another one, or say nothing.
pub(crate) fn number_passed(own: u32, pid: Option<&str>, count: Option<&str>) -> Option<usize> {
    if pid?.parse() != Ok(own) {
        return None;
    }
    let count: usize = count?.parse().ok()?;
    Some(count.min(MOST_PASSED))
}

/// Takes over the descriptors that the service manager passed to this process, in their order, from
/// [`FIRST_PASSED`] on; an error for each that is not open. Empty from the second call on: they have an owner
/// then.
pub(crate) fn take_passed() -> Vec<io::Result<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name| std::env::var(name).ok();
    let (pid, count) = (variable("LISTEN_PID"), variable("LISTEN_FDS"));
    let count = number_passed(std::process::id(), pid.as_deref(), count.as_deref()).unwrap_or(0);
    if count == 0 || TAKEN.swap(true, Ordering::Relaxed) {
        return vec![];
    }
    let take = |number| {
        // SAFETY: fcntl takes any number, and fails for one that is not open.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is open, and has been since before this process ran: the environment, which names this
        // very process, gives it to the first caller, which is here and once.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    (FIRST_PASSED..).take(count).map(take).collect()
}

/// The most descriptors that the kernel takes in one message (SCM_MAX_FD).
pub(crate) const MOST_IN_A_MESSAGE: usize = 253;

/// A message with descriptors.
#[derive(Debug)]
pub(crate) struct Received {
    /// Bytes of the message.
    pub(crate) length: usize,
    /// Bytes or descriptors were lost for want of room.
    pub(crate) is_cut: bool,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Receives one message with the descriptors that come with it, close-on-exec. Descriptors that fitted into a
/// message that was cut are here too: dropping them closes them.
///
/// # Errors
/// Those of recvmsg(2). An interrupted call is repeated.
pub(crate) fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<Received> {
    receive_up_to(socket, bytes, MOST_IN_A_MESSAGE)
}

/// [`receive`] with room for about this many descriptors (the kernel rounds up).
fn receive_up_to(socket: BorrowedFd<'_>, bytes: &mut [u8], most: usize) -> io::Result<Received> {
    let payload = (most * size_of::<RawFd>()) as libc::c_uint;
    // SAFETY: arithmetic on a number, which is small.
    let room = unsafe { libc::CMSG_SPACE(payload) } as usize;
    // Of whole words, because control messages are aligned to them.
    let mut control = vec![0usize; room.div_ceil(size_of::<usize>())];
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the structure consists of integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = room as _;
    let length = loop {
        let header = &raw mut header;
        // SAFETY: the header describes `bytes` and `control`, which outlive the call; the kernel writes no
        // more than their lengths.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), header, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(length) {
            Ok(length) => break length,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    };
    Ok(Received {
        length,
        is_cut: header.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0,
        descriptors: passed_in(&header, &control),
    })
}

/// The descriptors of a message that recvmsg(2) has just filled in, whose control messages are in `control`.
/// Must be called once for a message. The standard library and `nix` give none of a message that was cut, and
/// would leave them open.
fn passed_in(header: &libc::msghdr, control: &[usize]) -> Vec<OwnedFd> {
    let mut descriptors = vec![];
    let filled = header.msg_controllen.min(size_of_val(control));
    // SAFETY: every byte of a word may be looked at, and `filled` is within the slice.
    let bytes = unsafe { std::slice::from_raw_parts(control.as_ptr().cast::<u8>(), filled) };
    let head = size_of::<libc::cmsghdr>();
    let mut rest = bytes;
    while rest.len() >= head {
        // SAFETY: so many bytes are there, and every pattern of them is a value of this structure of integers.
        let message: libc::cmsghdr = unsafe { std::ptr::read_unaligned(rest.as_ptr().cast()) };
        let length = message.cmsg_len.clamp(head, rest.len());
        let (this, next) = rest.split_at(length);
        if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            let numbers = this.get(head..).unwrap_or_default().as_chunks().0;
            for number in numbers {
                // SAFETY: the kernel just made this descriptor for us, in the message that was received, of
                // which no other code knows; each is looked at once.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(*number)) });
            }
        }
        let padding = length.next_multiple_of(size_of::<usize>()) - length;
        rest = next.get(padding..).unwrap_or_default();
    }
    descriptors
}

/// A descriptor that is registered with a runtime. It is lent for reading only: if it were replaced, the
/// runtime would watch a closed descriptor.
#[derive(Debug)]
pub(crate) struct Watched(AsyncFd<OwnedFd>);

impl Watched {
    /// Registers a descriptor with the calling runtime, to be told when it can be read from.
    ///
    /// # Errors
    /// When the descriptor can't be watched, or no descriptor is left.
    pub(crate) fn readable_on(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` stays the same descriptor, and stays open, for as long as it lives. It lives in
        // a private field, of which no method of this type gives out anything but a shared reference.
        let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Watched(watched?))
    }

    /// Waits until it can be read from. May be dropped.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub(crate) async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.0.readable().await
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

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
        let watched = Watched::readable_on(listener.into()).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let mut ready = watched.readable().await.unwrap();
        let accepted = ready.try_io(|fd| accept(fd.as_fd())).ok();
        assert!(accepted.is_some_and(|accepted| accepted.is_ok()));
    }

    #[test]
    fn a_duplicate_is_of_our_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = duplicate(listener.as_raw_fd()).unwrap();
        assert_eq!(flags(&own), (true, false));
        drop(listener);
        assert_eq!(TcpListener::from(own).local_addr().unwrap(), address);
        assert!(duplicate(-1).is_err());
        assert!(duplicate(1_000_000_000).is_err());
    }

    #[test]
    fn nothing_is_taken_that_was_not_passed() {
        // This process has no service manager.
        assert!(take_passed().is_empty());
        for (pid, count, number) in [
            (None, Some("1"), None),
            (Some("8"), Some("1"), None),
            (Some("7"), None, None),
            (Some("7"), Some("many"), None),
            (Some("7"), Some("0"), Some(0)),
            (Some("7"), Some("3"), Some(3)),
            (Some("7"), Some("99999999"), Some(MOST_PASSED)),
        ] {
            assert_eq!(number_passed(7, pid, count), number, "{pid:?} {count:?}");
        }
    }

    #[test]
    fn descriptors_come_with_their_message() {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        use std::io::IoSlice;
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sent = [listener.as_raw_fd(); 2];
        let rights = [ControlMessage::ScmRights(&sent)];
        let bytes = [IoSlice::new(b"two")];
        sendmsg::<()>(near.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).unwrap();
        let mut room = [0; 8];
        let received = receive(far.as_fd(), &mut room).unwrap();
        assert_eq!((received.length, received.is_cut), (3, false));
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(received.descriptors.len(), 2);
        for own in received.descriptors {
            assert!(flags(&own).0, "close-on-exec");
            assert_eq!(TcpListener::from(own).local_addr().unwrap(), address);
        }
    }

    #[test]
    fn descriptors_of_a_message_that_was_cut_are_not_left_open() {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        use std::io::{IoSlice, Read};
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let (mut kept, sent) = std::os::unix::net::UnixStream::pair().unwrap();
        let numbers = [sent.as_raw_fd(); 5];
        let rights = [ControlMessage::ScmRights(&numbers)];
        let bytes = [IoSlice::new(b"five")];
        sendmsg::<()>(near.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).unwrap();
        drop(sent);
        let received = receive_up_to(far.as_fd(), &mut [0; 8], 1).unwrap();
        assert!(received.is_cut);
        assert!((1..5).contains(&received.descriptors.len()));
        drop(received);
        kept.set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        assert_eq!(kept.read(&mut [0]).unwrap(), 0, "the last one was closed");
    }
}
