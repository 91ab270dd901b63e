//! Socket options by file descriptor. A descriptor that is not open, or not a socket, gives the
//! kernel's error (`EBADF`, `ENOTSOCK`), never undefined behaviour.

use super::tcp_info::TCP_INFO;
use std::io;
use std::mem::{size_of, size_of_val};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

/// Reads an option into `value`, which holds what the kernel leaves out (it may know a shorter
/// structure than we do).
///
/// Private, because every bit pattern must be a valid `T`: the callers use integers and
/// structures of integers only.
fn get<T: Copy>(fd: RawFd, level: i32, name: i32, mut value: T) -> io::Result<T> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`, which outlives the call; the kernel
    // writes at most `len` bytes.
    let rc = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    if rc == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets an option. Private for the same reason as [`get`].
fn set<T: Copy>(fd: RawFd, level: i32, name: i32, value: T) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`, which outlives the call; the kernel
    // only reads it.
    let rc = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Reads an option that is a C `int`.
pub(crate) fn get_int(fd: RawFd, level: i32, name: i32) -> io::Result<i32> {
    get(fd, level, name, 0i32)
}

/// Sets an option that is a C `int`.
pub(crate) fn set_int(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    set(fd, level, name, value)
}

/// `SO_LINGER` of zero: closing the socket is a reset, whatever waits to be sent. Otherwise an orderly
/// end, and close(2) does not wait for it.
pub(crate) fn set_reset_on_close(fd: RawFd, resets: bool) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: resets.into(),
        l_linger: 0,
    };
    set(fd, libc::SOL_SOCKET, libc::SO_LINGER, linger)
}

/// `SO_COOKIE`: a number that the kernel gives to a socket and to no other until it reboots.
pub(crate) fn socket_cookie(fd: RawFd) -> io::Result<u64> {
    get(fd, libc::SOL_SOCKET, libc::SO_COOKIE, 0u64)
}

/// `TCP_INFO`: the kernel's view of a TCP connection.
pub(crate) fn tcp_info(fd: RawFd) -> io::Result<TCP_INFO> {
    get(fd, libc::IPPROTO_TCP, libc::TCP_INFO, TCP_INFO::default())
}

/// `SO_DOMAIN`: the address family of a socket.
pub(crate) fn domain(fd: RawFd) -> io::Result<i32> {
    get_int(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)
}

/// Option number of both `SO_ORIGINAL_DST` and `IP6T_SO_ORIGINAL_DST`.
const ORIGINAL_DST: i32 = 80;

/// `SO_ORIGINAL_DST`: where an IPv4 connection went to before netfilter redirected it here.
pub(crate) fn original_dst_v4(fd: RawFd) -> io::Result<SocketAddr> {
    // SAFETY: an all-zero `sockaddr_in` is a valid value, it holds integers only.
    let empty: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    let addr = get(fd, libc::SOL_IP, ORIGINAL_DST, empty)?;
    let ip = Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr));
    Ok(SocketAddrV4::new(ip, u16::from_be(addr.sin_port)).into())
}

/// `IP6T_SO_ORIGINAL_DST`: the same for IPv6.
pub(crate) fn original_dst_v6(fd: RawFd) -> io::Result<SocketAddr> {
    // SAFETY: an all-zero `sockaddr_in6` is a valid value, it holds integers only.
    let empty: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    let addr = get(fd, libc::SOL_IPV6, ORIGINAL_DST, empty)?;
    let ip = Ipv6Addr::from(addr.sin6_addr.s6_addr);
    let port = u16::from_be(addr.sin6_port);
    Ok(SocketAddrV6::new(ip, port, addr.sin6_flowinfo, addr.sin6_scope_id).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    #[test]
    fn integers_go_in_and_come_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = listener.as_raw_fd();
        set_int(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 16 * 1024).unwrap();
        // The kernel doubles what is asked for.
        let size = get_int(fd, libc::SOL_SOCKET, libc::SO_RCVBUF).unwrap();
        assert!(size >= 16 * 1024, "{size}");
        assert_eq!(domain(fd).unwrap(), libc::AF_INET);
    }

    #[test]
    fn what_is_no_socket_gives_an_error() {
        assert_eq!(
            get_int(-1, libc::SOL_SOCKET, libc::SO_RCVBUF)
                .unwrap_err()
                .raw_os_error(),
            Some(libc::EBADF)
        );
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(
            set_int(file.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 1)
                .unwrap_err()
                .raw_os_error(),
            Some(libc::ENOTSOCK)
        );
        assert!(original_dst_v4(file.as_raw_fd()).is_err());
        assert!(original_dst_v6(file.as_raw_fd()).is_err());
    }

    #[test]
    fn closing_is_a_reset_where_that_is_wanted() {
        use std::io::Read;
        for resets in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            set_reset_on_close(server.as_raw_fd(), true).unwrap();
            set_reset_on_close(server.as_raw_fd(), resets).unwrap();
            drop(server);
            assert_eq!(client.read(&mut [0]).is_err(), resets);
        }
    }

    #[test]
    fn structures_are_filled_by_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let info = tcp_info(client.as_raw_fd()).unwrap();
        assert_eq!(info.tcpi_state, 1, "ESTABLISHED");
        assert!(info.tcpi_snd_mss > 0);
        assert_ne!(
            socket_cookie(client.as_raw_fd()).unwrap(),
            socket_cookie(listener.as_raw_fd()).unwrap()
        );
    }
}
