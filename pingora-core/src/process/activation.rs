//! Listening sockets that the service manager made (sd_listen_fds(3)).
//!
//! They begin at descriptor 3; the environment says how many there are, what they are called, and
//! which process they are for.

use super::handover::Sockets;
use crate::sys::descriptor::{FIRST_PASSED, number_passed, take_passed};
use log::warn;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockaddrStorage, getsockname, getsockopt, sockopt};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

/// What the name of such a socket begins with: `external:LABEL:ADDRESS`.
const EXTERNAL: &str = "external:";

/// The sockets that the service manager passed to this process, with their names for the table of
/// descriptors. Empty from the second call on: they have an owner then.
pub(crate) fn sockets_of_the_service_manager() -> Sockets {
    let variable = |name| std::env::var(name).ok();
    let Some(labels) = labels(
        std::process::id(),
        variable("LISTEN_PID").as_deref(),
        variable("LISTEN_FDS").as_deref(),
        variable("LISTEN_FDNAMES").as_deref(),
    ) else {
        return vec![];
    };
    let mut sockets = Sockets::new();
    let passed = take_passed().into_iter().zip(FIRST_PASSED..);
    for (label, (passed, fd)) in labels.iter().zip(passed) {
        match passed.map_err(|e| e.to_string()).and_then(listening) {
            Ok((socket, address)) => {
                let name = format!("{EXTERNAL}{label}:{address}");
                let taken = |name: &String| sockets.iter().any(|(other, _)| other == name);
                let numbered = (2..).map(|n| format!("{name}#{n}"));
                let mut names = std::iter::once(name.clone()).chain(numbered);
                let name = names.find(|name| !taken(name)).unwrap_or(name);
                sockets.push((name, socket));
            }
            Err(reason) => {
                warn!("descriptor {fd} of the service manager, {label:?}, is not used: {reason}");
            }
        }
    }
    sockets
}

/// One label for each descriptor; `None` where they are not for this process.
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

/// The socket, if it listens, and its address as an endpoint would give it.
fn listening(socket: OwnedFd) -> Result<(OwnedFd, String), String> {
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|e| e.to_string())?;
    if !getsockopt(&socket, sockopt::AcceptConn).unwrap_or(false) {
        return Err("it does not listen for connections".into());
    }
    let bound: SockaddrStorage = getsockname(socket.as_raw_fd()).map_err(|e| e.to_string())?;
    Ok((
        socket,
        written(&bound).ok_or("its address is of no known kind")?,
    ))
}

fn written(address: &SockaddrStorage) -> Option<String> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::from(SocketAddrV4::from(*v4)).to_string());
    }
    if let Some(v6) = address.as_sockaddr_in6() {
        return Some(SocketAddr::from(SocketAddrV6::from(*v6)).to_string());
    }
    let unix = address.as_unix_addr()?;
    match (unix.path(), unix.as_abstract()) {
        (Some(path), _) => Some(path.to_str()?.to_string()),
        (None, Some(name)) => Some(format!("@{}", std::str::from_utf8(name).ok()?)),
        (None, None) => None,
    }
}

/// Whether a socket of this name was made by the service manager: its file is not ours to remove.
pub(crate) fn is_external(name: &str) -> bool {
    name.starts_with(EXTERNAL)
}

/// Whether an endpoint at `address` means the external socket of this name: `systemd:LABEL` by its
/// label, others by their address. A socket on `[::]` serves IPv4 too.
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
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

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
        assert_eq!(listening(tcp.into()).unwrap().1, address);
        let path = std::env::temp_dir().join(format!("activation-{}.sock", std::process::id()));
        let unix = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (_socket, address) = listening(unix.into()).unwrap();
        assert_eq!(address, path.to_str().unwrap());

        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(listening(file.into()).is_err());
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
