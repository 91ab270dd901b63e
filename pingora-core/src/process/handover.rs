//! Handing listening sockets to another process over a Unix socket (unix(7), SCM_RIGHTS).
//!
//! ```text
//!   giver (runs)                         taker (starts)
//!     connect ───────────────────────────▶ listen, accept
//!     Part, Part, ..., Last ─────────────▶ names, with their descriptors
//!     waits                                binds what is missing, starts its services
//!     ◀──────────────────────────── Accepting
//!     stops accepting
//! ```
//!
//! The giver goes on serving until the taker says that it accepts connections, and for good when the
//! connection ends before that. The socket keeps the boundaries of messages (SOCK_SEQPACKET).

use crate::sys::descriptor::{self, MOST_IN_A_MESSAGE};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect,
    getsockopt, listen, recv, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Uid;
use std::fs::Permissions;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The most bytes of one message: every name is at most as long as the path of a Unix socket and a
/// number, or as a host name and a port.
const MOST_BYTES: usize = 128 * 1024;
/// How often the giver looks whether the taker is there.
const RETRY: Duration = Duration::from_millis(50);

/// The first byte of a message.
const PART: u8 = b'p';
const LAST: u8 = b'l';
const ACCEPTING: u8 = b'a';

/// The connection between two servers.
#[derive(Debug)]
pub(crate) struct Handover {
    connection: OwnedFd,
}

/// Sockets with their names.
pub(crate) type Sockets = Vec<(String, OwnedFd)>;

impl Handover {
    /// The giver's side: waits for the taker, at most until `deadline`, and sends it the sockets.
    ///
    /// # Errors
    /// When nobody takes them in time, or somebody who is not this user or root would.
    pub(crate) fn give(
        path: &Path,
        names: &[String],
        fds: &[RawFd],
        deadline: Instant,
    ) -> io::Result<Self> {
        let connection = loop {
            match dial(path) {
                Ok(connection) => break connection,
                Err(e) if Instant::now() + RETRY < deadline => {
                    let absent = matches!(
                        e.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    );
                    if !absent {
                        return Err(e);
                    }
                    thread::sleep(RETRY);
                }
                Err(e) => return Err(e),
            }
        };
        set_deadline(&connection, deadline)?;
        check_peer(&connection, None)?;
        let count = names.len().min(fds.len());
        let parts = count.div_ceil(MOST_IN_A_MESSAGE).max(1);
        for part in 0..parts {
            let range = part * MOST_IN_A_MESSAGE..count.min((part + 1) * MOST_IN_A_MESSAGE);
            let kind = if part + 1 == parts { LAST } else { PART };
            let mut bytes = vec![kind];
            for name in names.get(range.clone()).unwrap_or_default() {
                bytes.extend_from_slice(name.as_bytes());
                bytes.push(0);
            }
            let rights = fds.get(range).unwrap_or_default();
            send(&connection, &bytes, rights)?;
        }
        Ok(Handover { connection })
    }

    /// The giver's side: waits until the taker accepts connections.
    ///
    /// # Errors
    /// When it ended before, or did not say so until `deadline`: it can't be relied upon.
    pub(crate) fn wait_until_accepting(self, deadline: Instant) -> io::Result<()> {
        set_deadline(&self.connection, deadline)?;
        let mut byte = [0; 1];
        let read = uninterrupted(|| {
            let mut parts = [IoSliceMut::new(&mut byte)];
            let (fd, flags) = (self.connection.as_raw_fd(), MsgFlags::empty());
            recvmsg::<UnixAddr>(fd, &mut parts, None, flags).map(|message| message.bytes)
        })?;
        match (read, byte) {
            (1, [ACCEPTING]) => Ok(()),
            _ => Err(io::Error::other(
                "the other server ended before it accepted connections",
            )),
        }
    }

    /// The taker's side: listens on `path`, which only this user may connect to, and receives the
    /// sockets of whoever connects. A taker that root has started gives the path to `giver`, the user
    /// that the giver has become, because root alone may not be whom it waits for.
    ///
    /// # Errors
    /// When nobody gives any until `deadline`, or somebody who is none of this user, root and `giver`
    /// would.
    pub(crate) fn take(
        path: &Path,
        giver: Option<Uid>,
        deadline: Instant,
    ) -> io::Result<(Sockets, Self)> {
        let giver = giver.filter(|_| nix::unistd::geteuid().is_root());
        remove_stale(path)?;
        let listener = new_socket()?;
        bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
        let connection = accept_one(&listener, path, giver, deadline);
        // Nobody else is to connect, whatever came of it.
        let _ = std::fs::remove_file(path);
        let connection = connection?;
        set_deadline(&connection, deadline)?;
        check_peer(&connection, giver)?;
        let mut sockets = Sockets::new();
        while !receive(&connection, &mut sockets)? {}
        Ok((sockets, Handover { connection }))
    }

    /// The taker's side: says that it accepts connections.
    ///
    /// # Errors
    /// When the giver has ended.
    pub(crate) fn accepting(self) -> io::Result<()> {
        send(&self.connection, &[ACCEPTING], &[])
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        flags,
        None,
    )?)
}

fn dial(path: &Path) -> io::Result<OwnedFd> {
    let connection = new_socket()?;
    let address = UnixAddr::new(path)?;
    uninterrupted(|| connect(connection.as_raw_fd(), &address))?;
    Ok(connection)
}

fn accept_one(
    listener: &OwnedFd,
    path: &Path,
    giver: Option<Uid>,
    deadline: Instant,
) -> io::Result<OwnedFd> {
    // Before anybody can connect.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    if let Some(giver) = giver {
        nix::unistd::chown(path, Some(giver), None)?;
    }
    listen(listener, Backlog::new(1)?)?;
    set_deadline(listener, deadline)?;
    // The standard library does not ask which kind of Unix socket it is.
    let (connection, _) = UnixListener::from(listener.try_clone()?).accept()?;
    Ok(connection.into())
}

/// Makes a call again that a signal interrupted, as the kernel does only where a socket has no time-out.
/// That begins anew: signals that come all the time delay the deadline.
fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(nix::errno::Errno::EINTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Lets every blocking call on the socket end at `deadline`.
fn set_deadline(socket: &OwnedFd, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    // Zero would mean: forever.
    let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX).max(1);
    let left = TimeVal::milliseconds(left);
    setsockopt(socket, sockopt::ReceiveTimeout, &left)?;
    setsockopt(socket, sockopt::SendTimeout, &left)?;
    Ok(())
}

/// Listening sockets are given to, and taken from, this user, root, and who was named only: everybody
/// can bind a path in a directory like `/tmp`.
fn check_peer(connection: &OwnedFd, named: Option<Uid>) -> io::Result<()> {
    let peer = Uid::from_raw(getsockopt(connection, sockopt::PeerCredentials)?.uid());
    if peer.is_root() || peer == nix::unistd::geteuid() || Some(peer) == named {
        return Ok(());
    }
    let message = format!("the process at the other end belongs to the user {peer}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

fn send(connection: &OwnedFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL;
    let (fd, parts) = (connection.as_raw_fd(), [IoSlice::new(bytes)]);
    uninterrupted(|| sendmsg::<()>(fd, &parts, control, flags, None))?;
    Ok(())
}

/// Receives one message; returns whether it was the last one.
fn receive(connection: &OwnedFd, sockets: &mut Sockets) -> io::Result<bool> {
    let mut bytes = vec![0; MOST_BYTES];
    // Waits; what is there then is received without waiting, so that no signal comes in between.
    uninterrupted(|| recv(connection.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK))?;
    let received = descriptor::receive(connection.as_fd(), &mut bytes)?;
    let (length, descriptors) = (received.length, received.descriptors);
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the other server sent nonsense");
    let (kind, names) = match bytes.get(..length).and_then(<[u8]>::split_first) {
        Some((kind @ &(PART | LAST), names)) if !received.is_cut => (*kind, names),
        Some(_) => return Err(broken()),
        None => return Err(io::Error::other("the other server ended in the middle")),
    };
    let names = names.strip_suffix(&[0]).map(|n| n.split(|byte| *byte == 0));
    let names: Vec<&[u8]> = names.map_or(vec![], Iterator::collect);
    if names.len() != descriptors.len() {
        return Err(broken());
    }
    for (name, fd) in names.into_iter().zip(descriptors) {
        let name = String::from_utf8(name.to_vec()).map_err(|_| broken())?;
        sockets.push((name, fd));
    }
    Ok(kind == LAST)
}

/// Removes the socket of a taker that was killed. One that somebody listens on stays, as does what
/// is not a socket: bind(2) then fails.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if is_socket && dial(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn fresh_path() -> PathBuf {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        std::env::temp_dir().join(format!("handover-{}-{n}.sock", std::process::id()))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn sockets_arrive_with_their_names_and_close_on_exec() {
        for count in [0, 1, MOST_IN_A_MESSAGE, MOST_IN_A_MESSAGE + 1] {
            let path = fresh_path();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let names: Vec<String> = (0..count).map(|n| format!("address#{n}")).collect();
            let fds = vec![listener.as_raw_fd(); count];
            let (to, sent) = (path.clone(), names.clone());
            let giver = thread::spawn(move || {
                let handover = Handover::give(&to, &sent, &fds, soon())?;
                handover.wait_until_accepting(soon())
            });
            let (sockets, handover) = Handover::take(&path, None, soon()).unwrap();
            assert!(!path.exists());
            assert!(!giver.is_finished(), "serves until the other one does");
            handover.accepting().unwrap();
            giver.join().unwrap().unwrap();
            let (received, fds): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
            assert_eq!(received, names);
            for fd in fds {
                use nix::fcntl::{FcntlArg, FdFlag, fcntl};
                let flags = fcntl(&fd, FcntlArg::F_GETFD).unwrap();
                assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
                let same = TcpListener::from(fd).local_addr().unwrap();
                assert_eq!(same, listener.local_addr().unwrap());
            }
        }
    }

    #[test]
    fn a_taker_that_ends_early_is_an_error_for_the_giver() {
        let path = fresh_path();
        let to = path.clone();
        let giver = thread::spawn(move || {
            Handover::give(&to, &[], &[], soon())?.wait_until_accepting(soon())
        });
        drop(Handover::take(&path, None, soon()).unwrap());
        let error = giver.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("ended before"), "{error}");
    }

    #[test]
    fn waiting_for_the_other_one_has_an_end() {
        let soon = || Instant::now() + Duration::from_millis(100);
        let path = fresh_path();
        assert!(Handover::give(&path, &[], &[], soon()).is_err());
        assert!(Handover::take(&path, None, soon()).is_err());
        assert!(!path.exists(), "nothing is left behind");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else() {
        let path = fresh_path();
        let stale = new_socket().unwrap();
        bind(stale.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        drop(stale);
        let to = path.clone();
        let giver = thread::spawn(move || Handover::give(&to, &[], &[], soon()).map(drop));
        Handover::take(&path, None, soon()).unwrap();
        giver.join().unwrap().unwrap();

        std::fs::write(&path, "precious").unwrap();
        assert!(Handover::take(&path, None, soon()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn nonsense_is_refused() {
        for message in [&b"x"[..], b"pno end", b"lname\0", &[b'l', 0xff, 0]] {
            let path = fresh_path();
            let to = path.clone();
            let giver = thread::spawn(move || {
                let connection = loop {
                    match dial(&to) {
                        Ok(connection) => break connection,
                        Err(_) => thread::sleep(Duration::from_millis(1)),
                    }
                };
                send(&connection, message, &[]).unwrap();
            });
            assert!(Handover::take(&path, None, soon()).is_err(), "{message:?}");
            giver.join().unwrap();
        }
    }
}
