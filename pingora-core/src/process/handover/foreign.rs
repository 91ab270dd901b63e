//! Takes sockets from a server of the framework whose names these crates have.
//!
//! Little is relied upon: it connects to the same path with a stream socket, and passes its listening sockets
//! with SCM_RIGHTS. The content of its messages is ignored, because each socket knows its own address. It waits
//! for no answer: it stops accepting after a time of its own, and connections that it leaves in the queues are
//! accepted here.

use super::{Incoming, Passed, message, names, recognised, set_deadline};
use crate::process::SocketKind;
use log::warn;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long to wait for more after something has arrived: its messages need not have an end.
const QUIET: Duration = Duration::from_millis(300);
/// The size of one read; the data is dropped.
const MOST_BYTES: usize = 64 * 1024;

/// The sockets among these descriptors and among those that still arrive. Others are closed.
///
/// # Errors
/// If there is none, or nothing arrives until `deadline`.
pub(super) fn sockets(
    connection: &OwnedFd,
    first: Vec<OwnedFd>,
    deadline: Instant,
) -> io::Result<Vec<Passed>> {
    let mut sockets = vec![];
    enter(&mut sockets, first);
    while Instant::now() < deadline {
        if !sockets.is_empty() {
            set_deadline(connection, deadline.min(Instant::now() + QUIET))?;
        }
        let mut more = Incoming::default();
        match more.some(connection, MOST_BYTES) {
            Ok(()) if more.bytes.is_empty() => break,
            Ok(()) => enter(&mut sockets, more.descriptors),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    if sockets.is_empty() {
        return Err(message::nonsense());
    }
    Ok(sockets)
}

fn enter(sockets: &mut Vec<Passed>, descriptors: Vec<OwnedFd>) {
    for fd in descriptors {
        match recognised(&fd) {
            Ok((SocketKind::Stream, address)) => {
                let is_taken = |name: &String| sockets.iter().any(|other| other.name == *name);
                let free = names(&address).find(|name| !is_taken(name));
                let name = free.unwrap_or(address);
                let kind = SocketKind::Stream;
                sockets.push(Passed { kind, name, fd });
            }
            Ok((SocketKind::Datagram, address)) => {
                warn!("the socket of datagrams {address} of the running server is not used");
            }
            Err(reason) => warn!("a descriptor of the running server is not used: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{fresh_path, is_closed, soon};
    use super::super::{Handover, dial_until, send};
    use std::net::TcpListener;
    use std::os::fd::{AsRawFd, RawFd};
    use std::path::PathBuf;
    use std::thread;

    /// A giver that sends these bytes and descriptors each time.
    fn giver(
        path: PathBuf,
        messages: Vec<(&'static [u8], Vec<RawFd>)>,
    ) -> thread::JoinHandle<std::os::fd::OwnedFd> {
        thread::spawn(move || {
            let connection = dial_until(&path, soon()).unwrap();
            for (bytes, fds) in messages {
                send(&connection, bytes, &fds).unwrap();
            }
            connection
        })
    }

    #[test]
    fn sockets_are_named_by_where_they_listen_whatever_is_said_of_them() {
        let [one, two] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let name = one.local_addr().unwrap().to_string();
        let (number, other) = (one.as_raw_fd(), two.as_raw_fd());
        let texts: [&'static [u8]; 4] = [b"a", b"v1 sockets", b"\x05hello", &[b'x'; 5000]];
        for text in texts {
            let path = fresh_path();
            let giver = giver(
                path.clone(),
                vec![(text, vec![number, number]), (b"more", vec![other])],
            );
            let (sockets, handover) = Handover::take(&path, None, soon()).unwrap();
            // It is still connected, and waits for nothing.
            let kept = giver.join().unwrap();
            assert!(handover.is_foreign());
            let names: Vec<&str> = sockets.iter().map(|s| s.name.as_str()).collect();
            assert_eq!(names[..2], [&name, &format!("{name}#2")]);
            assert_eq!(names[2], two.local_addr().unwrap().to_string());
            handover.accepting().unwrap();
            drop(kept);
        }
    }

    #[test]
    fn what_does_not_listen_is_closed_and_nothing_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (kept, sent) = std::os::unix::net::UnixStream::pair().unwrap();
        let path = fresh_path();
        let fds = vec![sent.as_raw_fd(), listener.as_raw_fd()];
        let one = giver(path.clone(), vec![(b"two", fds)]);
        let (sockets, _) = Handover::take(&path, None, soon()).unwrap();
        assert_eq!(sockets.len(), 1);
        drop((one.join().unwrap(), sent));
        is_closed(kept);

        let path = fresh_path();
        let none = giver(path.clone(), vec![(b"no sockets", vec![])]);
        let ended = thread::spawn(move || drop(none.join().unwrap()));
        assert!(Handover::take(&path, None, soon()).is_err());
        ended.join().unwrap();
    }
}
