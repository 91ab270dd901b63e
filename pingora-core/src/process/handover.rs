//! Hands listening sockets, and bound datagram sockets, to another process over a Unix socket (unix(7),
//! SCM_RIGHTS).
//!
//! ```text
//!   giver (runs)                         taker (starts)
//!     connect ───────────────────────────▶ listen, accept
//!     greeting: version, number ─────────▶ refuses another version, and says which one it takes
//!     entries, entries, ... ─────────────▶ transports and names, with their descriptors
//!     waits                                binds what is missing, starts its services
//!     ◀──────────────────────────── accepting
//!     stops accepting
//! ```
//!
//! The giver continues to serve until the taker reports that it accepts connections, and for good if the
//! connection ends before that. [`message`] has the format. A message has at most 253 descriptors and 128 KiB;
//! the number of messages is bounded by the descriptors that a process may have. Descriptors that arrived
//! before an error are closed.
//!
//! A giver that speaks an entirely different protocol is a server of the framework whose names these crates
//! have. [`foreign`] takes its sockets.

mod foreign;
mod message;

use super::names::{SocketKind, names, recognised};
use crate::sys::descriptor::{self, MOST_IN_A_MESSAGE};
use message::Entries;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect,
    getsockopt, listen, recv, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Uid;
use std::fs::Permissions;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The interval at which the giver checks whether the taker is there.
const RETRY: Duration = Duration::from_millis(50);

/// The connection between two servers.
#[derive(Debug)]
pub(crate) struct Handover {
    connection: OwnedFd,
    /// The giver waits for no answer.
    is_foreign: bool,
}

/// A socket that was passed to this process.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) kind: SocketKind,
    pub(crate) name: String,
    pub(crate) fd: OwnedFd,
}

/// A socket to be passed on.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) kind: SocketKind,
    pub(crate) name: String,
    pub(crate) fd: GivenFd,
}

#[derive(Debug)]
pub(crate) enum GivenFd {
    /// Owned by the service that claimed it.
    Number(RawFd),
    /// Owned by the table.
    Shared(Arc<OwnedFd>),
}

impl AsRawFd for GivenFd {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            GivenFd::Number(number) => *number,
            GivenFd::Shared(fd) => fd.as_raw_fd(),
        }
    }
}

impl Handover {
    /// The giver's side: waits for the taker until `deadline` at the latest, and sends it the sockets.
    /// `sockets` is called when the taker is there, because their descriptors may change until then. Also
    /// returns their number.
    ///
    /// # Errors
    /// If no process takes them in time, the taker runs as neither this user nor root, or it speaks
    /// another version.
    pub(crate) fn give(
        path: &Path,
        sockets: impl FnOnce() -> Vec<Given>,
        deadline: Instant,
    ) -> io::Result<(usize, Self)> {
        let connection = dial_until(path, deadline)?;
        set_deadline(&connection, deadline)?;
        check_peer(&connection, None)?;
        let sockets = sockets();
        if let Err(failed) = send_all(&connection, &sockets) {
            // A taker that refused has given its reason before it closed the connection.
            let said = answer(&connection).and_then(|a| message::verdict(&a));
            let refused = said
                .err()
                .filter(|e| e.kind() == io::ErrorKind::Unsupported);
            return Err(refused.unwrap_or(failed));
        }
        let handover = Handover {
            connection,
            is_foreign: false,
        };
        Ok((sockets.len(), handover))
    }

    /// The giver's side: waits until the taker accepts connections.
    ///
    /// # Errors
    /// If it ended before, or did not report until `deadline`: it can't be relied upon.
    pub(crate) fn wait_until_accepting(self, deadline: Instant) -> io::Result<()> {
        set_deadline(&self.connection, deadline)?;
        message::verdict(&answer(&self.connection)?)
    }

    /// The taker's side: listens on `path`, which only this user may connect to, and receives the
    /// sockets of the process that connects. A taker that was started by root gives the path to
    /// `giver`, the user that the giver has switched to, because it may not be waiting for root.
    ///
    /// # Errors
    /// If no process gives any until `deadline`, the giver runs as none of this user, root and `giver`, or it
    /// speaks another version: it is told which version this is, and continues to serve.
    pub(crate) fn take(
        path: &Path,
        giver: Option<Uid>,
        deadline: Instant,
    ) -> io::Result<(Vec<Passed>, Self)> {
        let giver = giver.filter(|_| nix::unistd::geteuid().is_root());
        remove_stale(path)?;
        let listener = new_socket()?;
        bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
        let connection = accept_one(&listener, path, giver, deadline);
        // No other process may connect, whatever the outcome.
        let _ = std::fs::remove_file(path);
        let connection = connection?;
        set_deadline(&connection, deadline)?;
        check_peer(&connection, giver)?;
        let (sockets, is_foreign) = receive_all(&connection, deadline)?;
        let handover = Handover {
            connection,
            is_foreign,
        };
        Ok((sockets, handover))
    }

    /// Whether the giver stops at its own discretion, whatever happens to the taker.
    pub(crate) fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// The taker's side: reports that it accepts connections.
    ///
    /// # Errors
    /// If the giver has ended.
    pub(crate) fn accepting(self) -> io::Result<()> {
        if self.is_foreign {
            return Ok(());
        }
        send(&self.connection, &message::ACCEPTING, &[])
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
    Ok(socket(family, SockType::Stream, flags, None)?)
}

/// Waits until a process listens at `path`.
fn dial_until(path: &Path, deadline: Instant) -> io::Result<OwnedFd> {
    loop {
        match dial(path) {
            Ok(connection) => return Ok(connection),
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
    }
}

fn dial(path: &Path) -> io::Result<OwnedFd> {
    let connection = new_socket()?;
    let address = UnixAddr::new(path)?;
    uninterrupted(|| connect(connection.as_raw_fd(), &address)).map_err(|e| {
        // The socket of another kind that earlier versions listen on.
        let is_older = e.raw_os_error() == Some(nix::errno::Errno::EPROTOTYPE as i32);
        if is_older {
            return message::taken_by_an_earlier_version();
        }
        e
    })?;
    Ok(connection)
}

fn accept_one(
    listener: &OwnedFd,
    path: &Path,
    giver: Option<Uid>,
    deadline: Instant,
) -> io::Result<OwnedFd> {
    // Before anyone can connect.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    if let Some(giver) = giver {
        nix::unistd::chown(path, Some(giver), None)?;
    }
    listen(listener, Backlog::new(1)?)?;
    set_deadline(listener, deadline)?;
    // The standard library does not check the type of the Unix socket.
    let (connection, _) = UnixListener::from(listener.try_clone()?).accept()?;
    Ok(connection.into())
}

/// Repeats a call that a signal interrupted; the kernel does so only if a socket has no timeout. Each
/// repetition starts a new timeout, so continuous signals delay the deadline.
fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(nix::errno::Errno::EINTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Makes every blocking call on the socket end at `deadline`.
fn set_deadline(socket: &OwnedFd, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    // Zero would mean: forever.
    let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX).max(1);
    let left = TimeVal::milliseconds(left);
    setsockopt(socket, sockopt::ReceiveTimeout, &left)?;
    setsockopt(socket, sockopt::SendTimeout, &left)?;
    Ok(())
}

/// Listening sockets are only given to, and taken from, this user, root, and `named`: anyone can bind
/// a path in a directory like `/tmp`.
fn check_peer(connection: &OwnedFd, named: Option<Uid>) -> io::Result<()> {
    let peer = Uid::from_raw(getsockopt(connection, sockopt::PeerCredentials)?.uid());
    if peer.is_root() || peer == nix::unistd::geteuid() || Some(peer) == named {
        return Ok(());
    }
    let message = format!("the process at the other end belongs to the user {peer}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// Sends all of the bytes, with the descriptors attached to the first of them.
fn send(connection: &OwnedFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let mut control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let mut rest = bytes;
    while !rest.is_empty() {
        let (fd, parts) = (connection.as_raw_fd(), [IoSlice::new(rest)]);
        let flags = MsgFlags::MSG_NOSIGNAL;
        let sent = uninterrupted(|| sendmsg::<()>(fd, &parts, control, flags, None))?;
        control = &[];
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Sends the greeting and all sockets, in as many messages as necessary.
fn send_all(connection: &OwnedFd, sockets: &[Given]) -> io::Result<()> {
    send(connection, &message::greeting(sockets.len())?, &[])?;
    let mut rest = sockets;
    while !rest.is_empty() {
        let mut entries = Entries::new();
        for socket in rest {
            if !entries.push(socket.kind, &socket.name, MOST_IN_A_MESSAGE)? {
                break;
            }
        }
        let (these, later) = rest
            .split_at_checked(entries.sockets())
            .unwrap_or((rest, &[]));
        let rights: Vec<RawFd> = these.iter().map(|s| s.fd.as_raw_fd()).collect();
        send(connection, &entries.into_message(), &rights)?;
        rest = later;
    }
    Ok(())
}

/// The taker's message; empty if it has ended.
fn answer(connection: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut said = vec![];
    while message::is_unfinished(&said) {
        let mut bytes = [0; 16];
        let mut read =
            || uninterrupted(|| recv(connection.as_raw_fd(), &mut bytes, MsgFlags::empty()));
        let length = match read() {
            // It closed without having read everything, which is reported before the message that
            // it sent.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => read()?,
            read => read?,
        };
        said.extend_from_slice(bytes.get(..length).unwrap_or_default());
        if length == 0 {
            break;
        }
    }
    Ok(said)
}

/// Receives the greeting and as many sockets as it announces. If the giver is a foreign one, receives
/// whatever sockets there are, and reports that too.
fn receive_all(connection: &OwnedFd, deadline: Instant) -> io::Result<(Vec<Passed>, bool)> {
    let mut greeting = Incoming::default();
    greeting.some(connection, message::GREETING_BYTES)?;
    if greeting.bytes.is_empty() {
        return Err(ended_in_the_middle());
    }
    if !message::is_greeting(&greeting.bytes) {
        let sockets = foreign::sockets(connection, greeting.descriptors, deadline)?;
        return Ok((sockets, true));
    }
    greeting.until(connection, message::GREETING_START)?;
    message::check_version(&greeting.bytes).inspect_err(|_| {
        let _ = send(connection, &message::refusal(), &[]);
    })?;
    greeting.until(connection, message::GREETING_BYTES)?;
    let announced = message::sockets_announced(&greeting.bytes)?;
    if !greeting.descriptors.is_empty() {
        return Err(message::nonsense());
    }
    let announced = usize::try_from(announced).map_err(io::Error::other)?;
    let mut sockets = vec![];
    while sockets.len() < announced {
        let (bytes, descriptors) = receive_entries(connection)?;
        let entries = message::entries(&bytes)?;
        if entries.len() != descriptors.len() || entries.len() > announced - sockets.len() {
            return Err(message::nonsense());
        }
        let passed = entries.into_iter().zip(descriptors);
        sockets.extend(passed.map(|((kind, name), fd)| Passed { kind, name, fd }));
    }
    Ok((sockets, false))
}

/// Receives one message of entries, without its beginning.
fn receive_entries(connection: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut head = Incoming::default();
    head.until(connection, message::ENTRIES_START)?;
    let length = message::length_of_entries(&head.bytes)?;
    let mut body = Incoming::default();
    body.until(connection, length)?;
    let mut descriptors = head.descriptors;
    descriptors.extend(body.descriptors);
    Ok((body.bytes, descriptors))
}

/// The part of a message that has arrived.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Incoming {
    /// Receives until there are this many bytes.
    fn until(&mut self, connection: &OwnedFd, length: usize) -> io::Result<()> {
        while self.bytes.len() < length {
            let before = self.bytes.len();
            self.some(connection, length - before)?;
            if self.bytes.len() == before {
                return Err(ended_in_the_middle());
            }
        }
        Ok(())
    }

    /// Receives available data, once there is some, at most `most` bytes of it. `None`: the connection
    /// has ended.
    fn some(&mut self, connection: &OwnedFd, most: usize) -> io::Result<()> {
        // Waits; the data is then received without waiting, so that no signal can interrupt.
        uninterrupted(|| recv(connection.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK))?;
        let begin = self.bytes.len();
        self.bytes.resize(begin + most, 0);
        let room = self.bytes.get_mut(begin..).unwrap_or_default();
        let received = descriptor::receive(connection.as_fd(), room)?;
        if received.is_cut {
            return Err(io::Error::other(
                "a message of the other server came in part; may this process open enough files?",
            ));
        }
        self.bytes.truncate(begin + received.length);
        self.descriptors.extend(received.descriptors);
        Ok(())
    }
}

fn ended_in_the_middle() -> io::Error {
    io::Error::other("the other server ended in the middle")
}

/// Removes the socket of a taker that was killed. A socket that a process listens on stays, as does
/// a file that is not a socket: bind(2) then fails.
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

    pub(super) fn fresh_path() -> PathBuf {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        std::env::temp_dir().join(format!("handover-{}-{n}.sock", std::process::id()))
    }

    pub(super) fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn given(kind: SocketKind, name: &str, fd: &impl AsRawFd) -> Given {
        Given {
            kind,
            name: name.to_string(),
            fd: GivenFd::Number(fd.as_raw_fd()),
        }
    }

    #[test]
    fn sockets_arrive_with_their_names_and_close_on_exec() {
        for count in [0, 1, MOST_IN_A_MESSAGE, MOST_IN_A_MESSAGE + 1] {
            let path = fresh_path();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let names: Vec<String> = (0..count).map(|n| format!("address#{n}")).collect();
            let named = |name: &String| given(SocketKind::Stream, name, &listener);
            let sent: Vec<Given> = names.iter().map(named).collect();
            let to = path.clone();
            let giver = thread::spawn(move || {
                let (sent, handover) = Handover::give(&to, || sent, soon())?;
                handover.wait_until_accepting(soon())?;
                io::Result::Ok(sent)
            });
            let (sockets, handover) = Handover::take(&path, None, soon()).unwrap();
            assert!(!path.exists());
            assert!(!giver.is_finished(), "serves until the other one does");
            handover.accepting().unwrap();
            assert_eq!(giver.join().unwrap().unwrap(), count);
            let received: Vec<String> = sockets.iter().map(|s| s.name.clone()).collect();
            assert_eq!(received, names);
            for Passed { fd, .. } in sockets {
                use nix::fcntl::{FcntlArg, FdFlag, fcntl};
                let flags = fcntl(&fd, FcntlArg::F_GETFD).unwrap();
                assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
                let same = TcpListener::from(fd).local_addr().unwrap();
                assert_eq!(same, listener.local_addr().unwrap());
            }
        }
    }

    #[test]
    fn sockets_of_both_transports_share_a_port_and_long_names_share_no_message() {
        let path = fresh_path();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = std::net::UdpSocket::bind(address).unwrap();
        let name = address.to_string();
        let long = "/".repeat(60_000);
        let sent = vec![
            given(SocketKind::Stream, &name, &tcp),
            given(SocketKind::Datagram, &name, &udp),
            given(SocketKind::Stream, "\0abstract", &tcp),
            given(SocketKind::Stream, &long, &tcp),
            given(SocketKind::Datagram, &long, &udp),
            given(SocketKind::Stream, &long, &tcp),
        ];
        let to = path.clone();
        let giver = thread::spawn(move || Handover::give(&to, || sent, soon()).map(drop));
        let (sockets, _handover) = Handover::take(&path, None, soon()).unwrap();
        giver.join().unwrap().unwrap();
        let what: Vec<_> = sockets.iter().map(|s| (s.kind, s.name.as_str())).collect();
        use SocketKind::{Datagram, Stream};
        assert_eq!(
            what[..3],
            [(Stream, &*name), (Datagram, &name), (Stream, "\0abstract")]
        );
        assert_eq!(
            what[3..],
            [(Stream, &*long), (Datagram, &long), (Stream, &long)]
        );
        let second = std::net::UdpSocket::from(sockets.into_iter().nth(1).unwrap().fd);
        udp.send_to(b"x", address).unwrap();
        assert_eq!(second.recv(&mut [0; 8]).unwrap(), 1);
    }

    #[test]
    fn a_taker_of_another_version_is_named_whatever_it_left_unread() {
        // Few bytes: all were sent when the refusal comes. Many: some are still to be sent.
        for (count, length) in [(0, 0), (1, 1), (12, 60_000)] {
            let path = fresh_path();
            let to = path.clone();
            let giver = thread::spawn(move || {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let name = "a".repeat(length);
                let many = (0..count).map(|_| given(SocketKind::Stream, &name, &listener));
                let (_, handover) = Handover::give(&to, || many.collect(), soon())?;
                handover.wait_until_accepting(soon())
            });
            let listener = new_socket().unwrap();
            bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
            let connection = accept_one(&listener, &path, None, soon()).unwrap();
            std::fs::remove_file(&path).unwrap();
            let mut greeting = Incoming::default();
            greeting.until(&connection, 3).unwrap();
            assert_eq!(greeting.bytes, [b'v', 0, 3]);
            send(&connection, &[b'r', 0, 9], &[]).unwrap();
            drop(connection);
            let error = giver.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{count}: {error}");
            assert!(error.to_string().contains("version 9"), "{error}");
        }
    }

    #[test]
    fn a_giver_of_another_version_is_told_and_loses_nothing() {
        for (greeting, version) in [
            (&b"v\0\x02\0\0\0\x01"[..], "version 2"),
            (b"v\0\x04", "version 4"),
        ] {
            let path = fresh_path();
            let to = path.clone();
            let (kept, sent) = std::os::unix::net::UnixStream::pair().unwrap();
            let giver = thread::spawn(move || {
                let connection = dial_until(&to, soon()).unwrap();
                send(&connection, greeting, &[sent.as_raw_fd()]).unwrap();
                set_deadline(&connection, soon()).unwrap();
                answer(&connection).unwrap()
            });
            let error = Handover::take(&path, None, soon()).unwrap_err();
            assert!(error.to_string().contains(version), "{error}");
            assert_eq!(giver.join().unwrap(), message::refusal());
            is_closed(kept);
        }
    }

    /// Whether the other end is closed.
    pub(super) fn is_closed(mut kept: std::os::unix::net::UnixStream) {
        use std::io::Read;
        kept.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(
            kept.read(&mut [0]).unwrap(),
            0,
            "a descriptor was left open"
        );
    }

    #[test]
    fn a_taker_that_ends_early_is_an_error_for_the_giver() {
        let path = fresh_path();
        let to = path.clone();
        let giver = thread::spawn(move || {
            Handover::give(&to, Vec::new, soon())?
                .1
                .wait_until_accepting(soon())
        });
        drop(Handover::take(&path, None, soon()).unwrap());
        let error = giver.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("ended before"), "{error}");
    }

    /// The socket is there for nobody else as soon as anybody can connect to it.
    #[test]
    fn the_socket_is_for_its_user_alone() {
        let path = fresh_path();
        let to = path.clone();
        let giver = thread::spawn(move || dial_until(&to, soon()).map(drop));
        let listener = new_socket().unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        accept_one(&listener, &path, None, soon()).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        std::fs::remove_file(&path).unwrap();
        giver.join().unwrap().unwrap();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn waiting_for_the_other_one_has_an_end() {
        let soon = || Instant::now() + Duration::from_millis(100);
        let path = fresh_path();
        assert!(Handover::give(&path, Vec::new, soon()).is_err());
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
        let giver = thread::spawn(move || Handover::give(&to, Vec::new, soon()).map(drop));
        Handover::take(&path, None, soon()).unwrap();
        giver.join().unwrap().unwrap();

        std::fs::write(&path, "precious").unwrap();
        assert!(Handover::take(&path, None, soon()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn nonsense_is_refused_and_its_descriptors_are_closed() {
        let greeting = |sockets| message::greeting(sockets).unwrap();
        let entries = |body: &[u8]| [b"e\0\0\0", &[body.len() as u8][..], body].concat();
        // A message comes with one descriptor if it is paired with `true`.
        let conversations: [&[(Vec<u8>, bool)]; 8] = [
            &[(b"x".to_vec(), true)],
            &[(greeting(0), true)],
            &[(greeting(1), false), (entries(b""), true)],
            &[(greeting(1), false), (entries(b"s\0\x01a"), false)],
            &[(greeting(1), false), (entries(b"s\0\x01ad\0\x01a"), true)],
            &[(greeting(1), false), (entries(b"s\0\x01\xff"), true)],
            &[
                (greeting(2), false),
                (entries(b"s\0\x01a"), true),
                (greeting(1), true),
            ],
            &[(greeting(2), false), (entries(b"s\0\x01a"), true)],
        ];
        for conversation in conversations {
            let path = fresh_path();
            let to = path.clone();
            let (kept, sent) = std::os::unix::net::UnixStream::pair().unwrap();
            let said = conversation.to_vec();
            let giver = thread::spawn(move || {
                let connection = dial_until(&to, soon()).unwrap();
                for (bytes, passes) in said {
                    let fds = [sent.as_raw_fd()];
                    // The taker may have ended already.
                    let _ = send(&connection, &bytes, if passes { &fds } else { &[] });
                }
            });
            let taken = Handover::take(&path, None, soon());
            assert!(taken.is_err(), "{conversation:?}");
            giver.join().unwrap();
            is_closed(kept);
        }
    }
}
