//! Socket options, and connecting with them.

pub use crate::sys::tcp_info::TCP_INFO;

use super::{BindTo, ConnectFailure};
use crate::sys::socket as sys;
use nix::sys::socket::{setsockopt, sockopt};
use pingora_error::{BError, Error, ErrorType, OrErr, Result};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// When and how to probe an idle connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// The idle time before the first probe (`TCP_KEEPIDLE`). The kernel counts in whole seconds.
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`). The kernel counts in whole seconds.
    pub interval: Duration,
    /// The number of unanswered probes after which the connection is closed (`TCP_KEEPCNT`).
    pub count: usize,
    /// The time that sent data may stay unacknowledged (`TCP_USER_TIMEOUT`, in milliseconds); zero
    /// leaves that to the kernel.
    pub user_timeout: Duration,
}

impl fmt::Display for TcpKeepalive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}/{:?}/{}/{:?}",
            self.idle, self.interval, self.count, self.user_timeout
        )
    }
}

/// The value for an option that is a C `int`: larger values are clamped.
fn int(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Whole seconds, at least one: the kernel refuses 0.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}

/// The kernel's current view of a TCP connection.
///
/// # Errors
/// Errors of getsockopt(2), for example if `fd` is not a TCP socket.
pub fn get_tcp_info(fd: RawFd) -> io::Result<TCP_INFO> {
    sys::tcp_info(fd)
}

/// Requests a receive buffer of `val` bytes (`SO_RCVBUF`); the kernel doubles it for its own use.
///
/// # Errors
/// `SocketError`.
pub fn set_recv_buf(fd: RawFd, val: usize) -> Result<()> {
    sys::set_int(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, int(val))
        .or_err(ErrorType::SocketError, "setting SO_RCVBUF")
}

/// Requests a send buffer of `val` bytes (`SO_SNDBUF`); the kernel doubles it for its own use.
///
/// # Errors
/// `SocketError`.
pub fn set_snd_buf(fd: RawFd, val: usize) -> Result<()> {
    sys::set_int(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, int(val))
        .or_err(ErrorType::SocketError, "setting SO_SNDBUF")
}

/// Size of the receive buffer in bytes, as the kernel counts them.
///
/// # Errors
/// Errors of getsockopt(2).
pub fn get_recv_buf(fd: RawFd) -> io::Result<usize> {
    let size = sys::get_int(fd, libc::SOL_SOCKET, libc::SO_RCVBUF)?;
    Ok(usize::try_from(size).unwrap_or(0))
}

/// Size of the send buffer in bytes, as the kernel counts them.
///
/// # Errors
/// Errors of getsockopt(2).
pub fn get_snd_buf(fd: RawFd) -> io::Result<usize> {
    let size = sys::get_int(fd, libc::SOL_SOCKET, libc::SO_SNDBUF)?;
    Ok(usize::try_from(size).unwrap_or(0))
}

/// Lets connect(2) return at once and send the first data with the SYN (`TCP_FASTOPEN_CONNECT`, RFC
/// 7413). Set it before connecting.
///
/// # Errors
/// `SocketError`.
pub fn set_tcp_fastopen_connect(fd: RawFd) -> Result<()> {
    sys::set_int(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)
        .or_err(ErrorType::SocketError, "setting TCP_FASTOPEN_CONNECT")
}

/// Lets a listener accept data with the SYN (`TCP_FASTOPEN`, RFC 7413); `backlog` bounds the number
/// of such connections that are not yet established.
///
/// # Errors
/// `SocketError`.
pub fn set_tcp_fastopen_backlog(fd: RawFd, backlog: usize) -> Result<()> {
    sys::set_int(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, int(backlog))
        .or_err(ErrorType::SocketError, "setting TCP_FASTOPEN")
}

/// The time that a connection may be held back, in the kernel's whole seconds: as short as
/// possible. A client that is silent for longer may be waiting for us to speak.
#[cfg(target_os = "linux")]
const LONGEST_DEFERRAL: i32 = 1;

/// Makes a listening socket hold connections back until they have data to read, for at most a second
/// (`TCP_DEFER_ACCEPT`); `false`: no longer. Returns whether it does so: this is only possible on
/// Linux.
///
/// # Errors
/// Errors of setsockopt(2).
pub(crate) fn defer_accept(fd: RawFd, defers: bool) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        let seconds = if defers { LONGEST_DEFERRAL } else { 0 };
        sys::set_int(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)?;
        Ok(defers)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (fd, defers);
        Ok(false)
    }
}

/// Marks sent packets with a differentiated-services code point, 0 to 63 (RFC 2474).
///
/// # Errors
/// `SocketError`, also if `value` is out of range.
pub fn set_dscp(fd: RawFd, value: u8) -> Result<()> {
    if value > 63 {
        return Error::e_explain(
            ErrorType::SocketError,
            format!("DSCP {value}: the largest code point is 63"),
        );
    }
    // The code point is the upper six bits of the byte; the lower two belong to ECN.
    let field = i32::from(value) << 2;
    let v6 = sys::domain(fd).or_err(ErrorType::SocketError, "setting DSCP")? == libc::AF_INET6;
    let (level, name) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
    } else {
        (libc::IPPROTO_IP, libc::IP_TOS)
    };
    sys::set_int(fd, level, name, field).or_err(ErrorType::SocketError, "setting DSCP")
}

/// `SO_COOKIE`: a number that the kernel assigns to a socket, unique until it reboots.
///
/// # Errors
/// Errors of getsockopt(2).
pub fn get_socket_cookie(fd: RawFd) -> io::Result<u64> {
    sys::socket_cookie(fd)
}

/// The original destination of a connection that netfilter redirected here; `None` if it was not
/// redirected.
///
/// # Errors
/// Errors of getsockopt(2).
pub fn get_original_dest(fd: RawFd) -> io::Result<Option<SocketAddr>> {
    let answer = match sys::domain(fd)? {
        libc::AF_INET => sys::original_dst_v4(fd),
        // A socket of the IPv6 family may carry an IPv4 connection.
        libc::AF_INET6 => sys::original_dst_v6(fd).or_else(|_| sys::original_dst_v4(fd)),
        _ => return Ok(None),
    };
    match answer {
        Ok(addr) => Ok(Some(addr)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Enables keep-alive probes.
///
/// # Errors
/// `ConnectError` if the kernel refuses one of the values.
pub fn set_tcp_keepalive(stream: &TcpStream, ka: &TcpKeepalive) -> Result<()> {
    set_keepalive_of(stream, ka)
}

/// [`set_tcp_keepalive`] for anything with a descriptor.
pub(crate) fn set_keepalive_of(socket: &impl AsFd, ka: &TcpKeepalive) -> Result<()> {
    keepalive_options(socket, ka).or_err(ErrorType::ConnectError, "setting TCP keep-alive")
}

fn keepalive_options(stream: &impl AsFd, ka: &TcpKeepalive) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &seconds(ka.idle))?;
    setsockopt(stream, sockopt::TcpKeepInterval, &seconds(ka.interval))?;
    setsockopt(
        stream,
        sockopt::TcpKeepCount,
        &u32::try_from(ka.count).unwrap_or(u32::MAX),
    )?;
    if !ka.user_timeout.is_zero() {
        let millis = u32::try_from(ka.user_timeout.as_millis()).unwrap_or(u32::MAX);
        setsockopt(stream, sockopt::TcpUserTimeout, &millis)?;
    }
    Ok(())
}

/// Connects to `addr`, from `bind_to` if that is given.
///
/// Dropping the future closes the socket.
///
/// # Errors
/// `ConnectRefused`, `ConnectTimedout`, `ConnectNoRoute`, or `ConnectError` for the other errors of
/// connect(2); `BindError` if the local address is not available, `SocketError` if an option can't
/// be set or the socket can't be created. There is no deadline except the kernel's (minutes).
pub async fn connect(addr: &SocketAddr, bind_to: Option<&BindTo>) -> Result<TcpStream> {
    connect_with(addr, bind_to, |_| Ok(())).await
}

/// [`connect`] with an opportunity to set options on the socket before it connects.
///
/// # Errors
/// Those of [`connect`], and those of `set_options`.
pub(crate) async fn connect_with<F>(
    addr: &SocketAddr,
    bind_to: Option<&BindTo>,
    set_options: F,
) -> Result<TcpStream>
where
    F: Fn(&TcpSocket) -> Result<()>,
{
    let range = bind_to.and_then(BindTo::port_range);
    match attempt(addr, bind_to, range, &set_options).await {
        Err(e) if bind_to.is_some_and(BindTo::will_fallback) && range_is_unusable(&e) => {
            attempt(addr, bind_to, None, &set_options).await
        }
        result => result,
    }
}

async fn attempt<F>(
    addr: &SocketAddr,
    bind_to: Option<&BindTo>,
    range: Option<(u16, u16)>,
    set_options: &F,
) -> Result<TcpStream>
where
    F: Fn(&TcpSocket) -> Result<()>,
{
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
    .or_err(ErrorType::SocketError, "making a socket")?;
    if let Some(range) = range {
        set_port_range(&socket, range)
            .map_err(|e| failed(ErrorType::SocketError, e, None, addr))?;
    }
    let local = bind_to.and_then(|b| b.addr);
    if let Some(local) = local {
        bind(&socket, local).map_err(|e| failed(ErrorType::BindError, e, Some(local), addr))?;
    }
    set_options(&socket)?;
    socket
        .connect(*addr)
        .await
        .map_err(|e| failed(error_type(&e), e, local, addr))
}

/// Binds in such a way that the port is chosen when the connection is made: then two connections to
/// different peers can share one.
fn bind(socket: &TcpSocket, local: SocketAddr) -> io::Result<()> {
    if local.port() == 0 {
        setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    }
    socket.bind(local)
}

/// `IP_LOCAL_PORT_RANGE` of linux/in.h, which the `libc` crate lacks: the lower half of the number
/// is the lowest port, the upper half the highest.
const IP_LOCAL_PORT_RANGE: i32 = 51;

fn set_port_range(socket: &TcpSocket, (low, high): (u16, u16)) -> io::Result<()> {
    let both = (u32::from(high) << 16 | u32::from(low)).cast_signed();
    sys::set_int(
        socket.as_raw_fd(),
        libc::IPPROTO_IP,
        IP_LOCAL_PORT_RANGE,
        both,
    )
}

/// Whether an attempt failed because of the port range: all ports in use, or ranges not supported
/// by the kernel.
fn range_is_unusable(e: &Error) -> bool {
    let failure = e
        .cause
        .as_ref()
        .and_then(|c| c.downcast_ref::<ConnectFailure>());
    matches!(
        failure.and_then(|f| f.error.raw_os_error()),
        Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE | libc::ENOPROTOOPT)
    )
}

fn failed(
    etype: ErrorType,
    error: io::Error,
    local_addr: Option<SocketAddr>,
    addr: &SocketAddr,
) -> BError {
    Error::because(
        etype,
        format!("connecting to {addr}"),
        ConnectFailure { error, local_addr },
    )
}

/// The error type for a failed connect(2), which also determines whose fault it is.
fn error_type(e: &io::Error) -> ErrorType {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => ErrorType::ConnectNoRoute,
        _ => ErrorType::ConnectError,
    }
}

/// Connects to the Unix socket at `path`.
///
/// # Errors
/// `ConnectRefused` if there is no listener, `ConnectNoRoute` if there is no such file,
/// `ConnectError` otherwise.
pub async fn connect_uds(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).await.map_err(|e| {
        let etype = match e.kind() {
            io::ErrorKind::NotFound => ErrorType::ConnectNoRoute,
            _ => error_type(&e),
        };
        Error::because(etype, format!("connecting to {}", path.display()), e)
    })
}

#[cfg(test)]
mod tests;
