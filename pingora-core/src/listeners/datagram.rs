//! Turns an address into a socket that receives datagrams.

use super::bind::{LABEL, refused, resolve};
use crate::process::Fds;
use crate::protocols::l4::ext;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use pingora_error::{BError, Error, ErrorType, Result};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

/// Options of a UDP socket. `None` keeps the system's default.
///
/// SO_REUSEADDR is never set: on Linux it would let another program of any user take the port.
#[derive(Clone, Debug, Default)]
pub struct UdpSocketOptions {
    /// Whether an IPv6 socket refuses IPv4 (IPV6_V6ONLY). No effect on IPv4 addresses.
    pub ipv6_only: Option<bool>,
    /// The traffic class of sent datagrams, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
    /// Whether several sockets of one user may have the same address (SO_REUSEPORT); the system
    /// distributes senders among them.
    pub so_reuseport: Option<bool>,
    /// The send buffer, in bytes (SO_SNDBUF).
    pub snd_buf: Option<usize>,
    /// The receive buffer, in bytes (SO_RCVBUF): datagrams that arrive while it is full are lost.
    pub rcv_buf: Option<usize>,
}

/// A UDP socket that is bound, non-blocking and close-on-exec.
#[derive(Debug)]
pub(crate) struct BoundDatagram {
    pub(crate) socket: UdpSocket,
    /// Its name in the table of passed descriptors.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
}

/// Takes the socket of this address from `fds` if it was passed to this process, or creates one, and enters it
/// into `fds`. If several sockets share the address (SO_REUSEPORT) or the label, all passed ones are taken.
/// Blocks while a name is being resolved.
///
/// # Errors
/// One line that names the address and what to do.
pub(crate) fn bind_datagram(
    wanted: &str,
    options: &UdpSocketOptions,
    fds: &mut Fds,
) -> Result<Vec<BoundDatagram>> {
    let mut sockets = vec![];
    let is_group = options.so_reuseport == Some(true) || wanted.starts_with(LABEL);
    while let Some((name, fd)) = claim(wanted, fds)? {
        sockets.push(located(fd, name, wanted)?);
        if !is_group {
            break;
        }
    }
    if sockets.is_empty() {
        let fd = bind_udp(wanted, options)?;
        let name = fds.offer_datagram(wanted, &fd);
        sockets.push(located(fd, name.map_err(|e| refused(wanted, e))?, wanted)?);
    }
    Ok(sockets)
}

fn claim(wanted: &str, fds: &mut Fds) -> Result<Option<(String, OwnedFd)>> {
    fds.claim_datagram(wanted).map_err(|e| refused(wanted, e))
}

fn located(fd: OwnedFd, name: String, wanted: &str) -> Result<BoundDatagram> {
    let socket = UdpSocket::from(fd);
    let not_udp = |_| refused(wanted, io::Error::other("it is not a UDP socket"));
    let address = socket.local_addr().map_err(not_udp)?;
    Ok(BoundDatagram {
        socket,
        name,
        address,
    })
}

/// Checks the address as far as that is possible without binding it.
///
/// # Errors
/// One line that names the address.
pub(crate) fn check_datagram_address(wanted: &str) -> Result<()> {
    if wanted.starts_with(LABEL) {
        return Ok(());
    }
    resolve(wanted).map(drop)
}

fn bind_udp(wanted: &str, options: &UdpSocketOptions) -> Result<OwnedFd> {
    let address = resolve(wanted)?;
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd =
        socket(family, SockType::Datagram, flags, None).map_err(|e| refused(wanted, e.into()))?;
    set_options(&fd, &address, options)
        .map_err(|e: BError| e.more_context(format!("can't set the socket options of {wanted}")))?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(|e| refused(wanted, e.into()))?;
    Ok(fd)
}

fn set_options(fd: &OwnedFd, address: &SocketAddr, options: &UdpSocketOptions) -> Result<()> {
    let failed = |name: &'static str| {
        move |e: nix::Error| Error::because(ErrorType::SocketError, name, io::Error::from(e))
    };
    if let (Some(only), SocketAddr::V6(_)) = (options.ipv6_only, address) {
        setsockopt(fd, sockopt::Ipv6V6Only, &only).map_err(failed("IPV6_V6ONLY"))?;
    }
    if let Some(reuse) = options.so_reuseport {
        setsockopt(fd, sockopt::ReusePort, &reuse).map_err(failed("SO_REUSEPORT"))?;
    }
    if let Some(size) = options.snd_buf {
        setsockopt(fd, sockopt::SndBuf, &size).map_err(failed("SO_SNDBUF"))?;
    }
    if let Some(size) = options.rcv_buf {
        setsockopt(fd, sockopt::RcvBuf, &size).map_err(failed("SO_RCVBUF"))?;
    }
    if let Some(class) = options.dscp {
        ext::set_dscp(fd.as_raw_fd(), class)?;
    }
    Ok(())
}
