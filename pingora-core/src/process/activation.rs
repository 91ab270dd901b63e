//! Sockets created by the service manager (sd_listen_fds(3)): listening sockets, and datagram sockets.
//!
//! They begin at descriptor 3; the environment specifies their number, their names, and the process that
//! they are for. Other descriptors that it passes, such as files and connections that a program has stored
//! with it (sd_pid_notify_with_fds(3)), keep their number and stay open: they belong to the program.

use super::handover::Passed;
use super::names::{names, recognised};
use crate::sys::descriptor::{FIRST_PASSED, number_passed, take_passed};
use log::warn;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::os::fd::{IntoRawFd, OwnedFd};

/// The prefix of such a socket's name: `external:LABEL:ADDRESS`.
const EXTERNAL: &str = "external:";

/// The sockets that the service manager passed to this process, with their names for the descriptor
/// table. Empty from the second call on: they have an owner then.
pub(crate) fn sockets_of_the_service_manager() -> Vec<Passed> {
    let variable = |name| std::env::var(name).ok();
    let Some(labels) = labels(
        std::process::id(),
        variable("LISTEN_PID").as_deref(),
        variable("LISTEN_FDS").as_deref(),
        variable("LISTEN_FDNAMES").as_deref(),
    ) else {
        return vec![];
    };
    let mut sockets = vec![];
    let passed = take_passed().into_iter().zip(FIRST_PASSED..);
    for (label, (passed, number)) in labels.iter().zip(passed) {
        match passed {
            Ok(fd) => enter(&mut sockets, label, fd),
            Err(e) => warn!("descriptor {number} of the service manager, {label:?}: {e}"),
        }
    }
    sockets
}

/// Enters a descriptor under a unique name, if it is a usable socket. Otherwise it is not ours to close: it
/// stays open under its number.
fn enter(sockets: &mut Vec<Passed>, label: &str, fd: OwnedFd) {
    // Programs that this one starts must not inherit it, whatever its kind.
    let private = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|e| e.to_string());
    match private.and_then(|_| recognised(&fd)) {
        Ok((kind, address)) => {
            let name = format!("{EXTERNAL}{label}:{address}");
            let is_taken = |name: &String| {
                let same = |other: &Passed| other.kind == kind && other.name == *name;
                sockets.iter().any(same)
            };
            let free = names(&name).find(|name| !is_taken(name));
            let name = free.unwrap_or(name);
            sockets.push(Passed { kind, name, fd });
        }
        Err(reason) => {
            let number = fd.into_raw_fd();
            warn!(
                "descriptor {number} of the service manager, {label:?}, is left open and not used: {reason}"
            );
        }
    }
}

/// One label for each descriptor; `None` if they are not for this process.
fn labels(
    own: u32,
    pid: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
) -> Option<Vec<String>> {
    let count = number_passed(own, pid, count)?;
    let mut names = names.unwrap_or_default().split(':');
    let label = |_| names.next().unwrap_or("unknown").to_string();
    Some((0..count).map(label).collect())
}

/// Whether the service manager created the socket with this name: its file is not ours to remove.
pub(crate) fn is_external(name: &str) -> bool {
    name.starts_with(EXTERNAL)
}

/// Whether an endpoint at `address` refers to the external socket with this name: `systemd:LABEL`
/// by its label, others by their address. A socket on `[::]` serves IPv4 too.
pub(crate) fn means(address: &str, name: &str) -> bool {
    let Some((label, bound)) = name.strip_prefix(EXTERNAL).and_then(|n| n.split_once(':')) else {
        return false;
    };
    let bound = bound.split_once('#').map_or(bound, |(bound, _)| bound);
    match address.strip_prefix("systemd:") {
        Some(wanted) => wanted == label,
        None => {
            let both = address
                .strip_prefix("0.0.0.0:")
                .map(|port| format!("[::]:{port}"));
            bound == address || both.is_some_and(|both| bound == both)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SocketKind;
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn only_what_is_for_this_process_counts() {
        let told = |pid, count, names| labels(7, pid, count, names);
        assert_eq!(told(None, Some("1"), None), None);
        assert_eq!(told(Some("8"), Some("1"), None), None);
        assert_eq!(told(Some("7"), None, None), None);
        assert_eq!(told(Some("7"), Some("many"), None), None);
        assert_eq!(told(Some("7"), Some("0"), None), Some(vec![]));
        assert_eq!(
            told(Some("7"), Some("3"), Some("web:admin")).unwrap(),
            ["web", "admin", "unknown"]
        );
        assert_eq!(told(Some("7"), Some("99999999"), None).unwrap().len(), 4096);
    }

    #[test]
    fn sockets_are_named_by_where_they_listen() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap().to_string();
        let udp = UdpSocket::bind(&address).unwrap();
        let path = std::env::temp_dir().join(format!("activation-{}.sock", std::process::id()));
        let unix = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let unix_datagrams = UnixDatagram::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let path = path.to_str().unwrap();
        for (socket, expected) in [
            (tcp.into(), (SocketKind::Stream, address.clone())),
            (udp.into(), (SocketKind::Datagram, address)),
            (unix.into(), (SocketKind::Stream, path.to_string())),
            (
                unix_datagrams.into(),
                (SocketKind::Datagram, path.to_string()),
            ),
        ] {
            assert_eq!(recognised(&socket).unwrap(), expected);
        }
    }

    #[test]
    fn names_are_given_once_for_each_transport() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        let mut sockets = vec![];
        enter(&mut sockets, "dns", tcp.into());
        enter(&mut sockets, "dns", udp.try_clone().unwrap().into());
        enter(&mut sockets, "dns", udp.into());
        let what: Vec<_> = sockets.iter().map(|s| (s.kind, s.name.clone())).collect();
        let name = format!("external:dns:{address}");
        use SocketKind::{Datagram, Stream};
        let second = format!("{name}#2");
        assert_eq!(
            what,
            [(Stream, name.clone()), (Datagram, name), (Datagram, second)]
        );
    }

    #[test]
    fn what_is_not_ours_is_left_open_for_this_program_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let (unnamed, _far) = UnixDatagram::pair().unwrap();
        for fd in [OwnedFd::from(connection), file.into(), unnamed.into()] {
            fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            let number = fd.as_raw_fd();
            let mut sockets = vec![];
            enter(&mut sockets, "stored", fd);
            assert!(sockets.is_empty());
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
            let info = info.expect("it was closed");
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = i32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
            assert_ne!(flags & libc::O_CLOEXEC, 0);
            let _ = nix::unistd::close(number);
        }
    }

    #[test]
    fn endpoints_find_them_by_label_or_address() {
        let name = "external:web:[::]:80#2";
        assert!(is_external(name) && !is_external("[::]:80"));
        for (address, found) in [
            ("systemd:web", true),
            ("systemd:we", false),
            ("[::]:80", true),
            ("0.0.0.0:80", true),
            ("127.0.0.1:80", false),
            ("[::]:8", false),
        ] {
            assert_eq!(means(address, name), found, "{address}");
        }
        assert!(means("/run/a.sock", "external:a:/run/a.sock"));
    }
}
