//! Turns an address into a listening socket.

use super::{ServerAddress, TcpSocketOptions};
use crate::process::{Claimed, Fds};
use crate::protocols::l4::ext;
use crate::sys::descriptor::duplicate;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, listen,
    setsockopt, socket, sockopt,
};
use pingora_error::{BError, Error, ErrorType, Result};
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The prefix of an address that refers to a socket of the service manager, by its label.
pub(super) const LABEL: &str = "systemd:";

/// A listening socket: connections queue up in it from now on.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    pub(crate) fd: OwnedFd,
    /// Its name in the table of passed descriptors.
    pub(crate) name: String,
    pub(crate) place: ListenAddress,
}

#[derive(Clone, Debug)]
pub(crate) enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A Unix socket without a file (unix(7), "abstract"), by its name.
    Abstract(String),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => write!(f, "{address}"),
            ListenAddress::Unix(path) => write!(f, "{}", path.display()),
            ListenAddress::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

/// Takes the socket of this address from `fds` if it was passed to this process, or creates one,
/// and enters it into `fds`. Does not need a runtime. Blocks while a name is being resolved.
///
/// # Errors
/// One line that names the address and what to do.
pub(crate) fn bind_address(address: &ServerAddress, fds: &mut Fds) -> Result<BoundSocket> {
    let wanted = address.as_ref();
    let passed = fds.claim(wanted).or_else(|| claim_resolved(address, fds));
    let (fd, name) = match passed {
        Some((name, passed)) => (take_over(passed, &name, wanted, fds)?, name),
        None => {
            let fd = match address {
                ServerAddress::Tcp(_, options) => bind_tcp(wanted, options.as_ref())?,
                ServerAddress::Uds(_, permissions) => bind_unix(wanted, permissions.as_ref())?,
            };
            let name = fds.offer(wanted, fd.as_raw_fd());
            (fd, name)
        }
    };
    located(address, fd, name)
}

/// The previous owner may have written the address differently, or not have named it.
fn claim_resolved(address: &ServerAddress, fds: &mut Fds) -> Option<(String, Claimed)> {
    if fds.is_empty() || matches!(address, ServerAddress::Uds(..)) {
        return None;
    }
    // bind(2) would fail for the same reason, and report it.
    let resolved = resolve(address.as_ref()).ok()?.to_string();
    fds.claim(&resolved)
}

/// Takes one more passed socket that shares its address with others, if there is one: a member of a
/// SO_REUSEPORT group, or of those with the same label of the service manager.
///
/// # Errors
/// If it can't be used.
pub(crate) fn take_rest_of_group(
    address: &ServerAddress,
    fds: &mut Fds,
) -> Result<Option<BoundSocket>> {
    let wanted = address.as_ref();
    let shared = match address {
        ServerAddress::Tcp(_, Some(options)) => options.so_reuseport == Some(true),
        _ => false,
    };
    // Other sockets of the same name belong to another endpoint, such as a second one on port 0.
    if !shared && !wanted.starts_with(LABEL) {
        return Ok(None);
    }
    let Some((name, passed)) = fds.claim(wanted) else {
        return Ok(None);
    };
    let fd = take_over(passed, &name, wanted, fds)?;
    located(address, fd, name).map(Some)
}

fn located(address: &ServerAddress, fd: OwnedFd, name: String) -> Result<BoundSocket> {
    let wanted = address.as_ref();
    let place = match address {
        ServerAddress::Tcp(..) => ListenAddress::Tcp(local_address(&fd, wanted)?),
        ServerAddress::Uds(..) => match abstract_name(wanted) {
            Some(name) => ListenAddress::Abstract(name.to_string()),
            None => ListenAddress::Unix(absolute(Path::new(wanted))),
        },
    };
    Ok(BoundSocket { fd, name, place })
}

/// Checks the address as far as that is possible without listening on it.
///
/// # Errors
/// One line that names the address.
pub(crate) fn check_address(address: &str) -> Result<()> {
    if address.starts_with(LABEL) {
        return Ok(());
    }
    if address.contains('/') || abstract_name(address).is_some() {
        return unix_address(address).map(drop);
    }
    resolve(address).map(drop)
}

/// [`check_address`] for an address whose kind is known.
pub(super) fn check(address: &ServerAddress) -> Result<()> {
    match address {
        ServerAddress::Uds(path, _) if !path.starts_with(LABEL) => unix_address(path).map(drop),
        _ => check_address(address.as_ref()),
    }
}

/// The name of an abstract socket: the part after `@`, or after NUL as the system writes it.
fn abstract_name(address: &str) -> Option<&str> {
    address.strip_prefix(['@', '\0'])
}

fn unix_address(wanted: &str) -> Result<UnixAddr> {
    let address = match abstract_name(wanted) {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()),
        None => UnixAddr::new(wanted),
    };
    address.map_err(|e| refused(wanted, e.into()))
}

/// Takes ownership of a claimed socket.
fn take_over(passed: Claimed, name: &str, wanted: &str, fds: &mut Fds) -> Result<OwnedFd> {
    let fd = match passed {
        Claimed::Owned(fd) => fd,
        Claimed::Number(number) => {
            let fd = duplicate(number).map_err(|e| refused(wanted, e))?;
            fds.moved(name, fd.as_raw_fd());
            // It was given away when it was entered into the table; the descriptor must not outlive
            // ours.
            let _ = nix::unistd::close(number);
            fd
        }
    };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|e| refused(wanted, e.into()))?;
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| refused(wanted, e.into()))?;
    Ok(fd)
}

fn bind_tcp(wanted: &str, options: Option<&TcpSocketOptions>) -> Result<OwnedFd> {
    let address = resolve(wanted)?;
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = new_socket(family).map_err(|e| refused(wanted, e.into()))?;
    set_options(&fd, &address, options)
        .map_err(|e| e.more_context(format!("can't set the socket options of {wanted}")))?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(|e| refused(wanted, e.into()))?;
    start_listening(&fd, wanted)?;
    Ok(fd)
}

fn new_socket(family: AddressFamily) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(family, SockType::Stream, flags, None)
}

fn start_listening(fd: &OwnedFd, wanted: &str) -> Result<()> {
    // As many waiting connections as `net.core.somaxconn` allows.
    listen(fd, Backlog::MAXALLOWABLE).map_err(|e| refused(wanted, e.into()))
}

/// The connections that the socket accepts inherit all of these.
fn set_options(
    fd: &OwnedFd,
    address: &SocketAddr,
    options: Option<&TcpSocketOptions>,
) -> Result<()> {
    let failed = |name: &'static str| {
        move |e: nix::Error| Error::because(ErrorType::SocketError, name, io::Error::from(e))
    };
    // A restarted server must not wait for the connections of its predecessor to time out.
    setsockopt(fd, sockopt::ReuseAddr, &true).map_err(failed("SO_REUSEADDR"))?;
    // Responses are written as a whole; waiting for more to send would only delay them.
    setsockopt(fd, sockopt::TcpNoDelay, &true).map_err(failed("TCP_NODELAY"))?;
    let Some(options) = options else {
        return Ok(());
    };
    if let (Some(only), SocketAddr::V6(_)) = (options.ipv6_only, address) {
        setsockopt(fd, sockopt::Ipv6V6Only, &only).map_err(failed("IPV6_V6ONLY"))?;
    }
    if let Some(reuse) = options.so_reuseport {
        setsockopt(fd, sockopt::ReusePort, &reuse).map_err(failed("SO_REUSEPORT"))?;
    }
    if let Some(size) = options.tcp_snd_buf {
        setsockopt(fd, sockopt::SndBuf, &size).map_err(failed("SO_SNDBUF"))?;
    }
    if let Some(size) = options.tcp_recv_buf {
        setsockopt(fd, sockopt::RcvBuf, &size).map_err(failed("SO_RCVBUF"))?;
    }
    if let Some(probes) = &options.tcp_keepalive {
        let seconds =
            |d: std::time::Duration| u32::try_from(d.as_secs().max(1)).unwrap_or(u32::MAX);
        setsockopt(fd, sockopt::KeepAlive, &true).map_err(failed("SO_KEEPALIVE"))?;
        setsockopt(fd, sockopt::TcpKeepIdle, &seconds(probes.idle))
            .map_err(failed("TCP_KEEPIDLE"))?;
        setsockopt(fd, sockopt::TcpKeepInterval, &seconds(probes.interval))
            .map_err(failed("TCP_KEEPINTVL"))?;
        setsockopt(
            fd,
            sockopt::TcpKeepCount,
            &u32::try_from(probes.count).unwrap_or(u32::MAX),
        )
        .map_err(failed("TCP_KEEPCNT"))?;
        let silence = u32::try_from(probes.user_timeout.as_millis()).unwrap_or(u32::MAX);
        if silence > 0 {
            setsockopt(fd, sockopt::TcpUserTimeout, &silence)
                .map_err(failed("TCP_USER_TIMEOUT"))?;
        }
    }
    if let Some(class) = options.dscp {
        ext::set_dscp(fd.as_raw_fd(), class)?;
    }
    if let Some(queue) = options.tcp_fastopen {
        ext::set_tcp_fastopen_backlog(fd.as_raw_fd(), queue)?;
    }
    Ok(())
}

/// The mode is set between bind(2) and listen(2): until then no client can connect, so unauthorised
/// ones never can.
fn bind_unix(wanted: &str, permissions: Option<&Permissions>) -> Result<OwnedFd> {
    let address = unix_address(wanted)?;
    let path = abstract_name(wanted).is_none().then(|| Path::new(wanted));
    if let Some(path) = path {
        remove_stale(path, wanted)?;
    }
    let fd = new_socket(AddressFamily::Unix).map_err(|e| refused(wanted, e.into()))?;
    bind(fd.as_raw_fd(), &address).map_err(|e| refused(wanted, e.into()))?;
    if let Some(path) = path {
        let mode = permissions
            .cloned()
            .unwrap_or_else(|| Permissions::from_mode(0o666));
        std::fs::set_permissions(path, mode).map_err(|e| refused(wanted, e))?;
    }
    start_listening(&fd, wanted)?;
    Ok(fd)
}

/// Removes the file of a socket that no process listens on: the remains of a server that was killed.
fn remove_stale(path: &Path, wanted: &str) -> Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        let what = "a file that is not a socket is in the way";
        return Err(refused(wanted, io::Error::other(what)));
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|e| refused(wanted, e))
        }
        // bind(2) will report that it is in use, or another error.
        _ => Ok(()),
    }
}

pub(super) fn resolve(wanted: &str) -> Result<SocketAddr> {
    if let Some(label) = wanted.strip_prefix(LABEL) {
        let missing = format!("the service manager passed no socket labelled `{label}`");
        return Err(refused(wanted, io::Error::other(missing)));
    }
    if let Ok(address) = wanted.parse() {
        return Ok(address);
    }
    let resolved = wanted.to_socket_addrs().map(|mut found| found.next());
    match resolved {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(refused(wanted, io::Error::other("the name has no address"))),
        Err(e) => Err(refused(
            wanted,
            io::Error::other(format!(
                "not an address of the form IP:PORT or NAME:PORT: {e}"
            )),
        )),
    }
}

fn local_address(fd: &OwnedFd, wanted: &str) -> Result<SocketAddr> {
    let copy = fd.try_clone().map_err(|e| refused(wanted, e))?;
    TcpListener::from(copy)
        .local_addr()
        .map_err(|e| refused(wanted, e))
}

/// A path that stays valid when the working directory changes.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// One line with the advice for this error; no cause below it, so that it remains one line however
/// it is shown.
pub(super) fn refused(wanted: &str, error: io::Error) -> BError {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "; is another server running?",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 and foreign directories need privileges"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    };
    let message = format!("can't listen on {wanted}: {error}{advice}");
    Error::explain(ErrorType::BindError, message).into_in()
}
