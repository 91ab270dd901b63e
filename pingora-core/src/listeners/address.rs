//! Where to listen, and with which socket options.

use crate::protocols::l4::ext::TcpKeepalive;
use std::fs::Permissions;

/// Where to listen.
#[derive(Clone, Debug)]
pub enum ServerAddress {
    /// An IP address and port, as in `127.0.0.1:80`, `[::]:80`, or a name that resolves to one, as in
    /// `localhost:80`. Port 0 means a free port chosen by the system. `systemd:LABEL` means the
    /// sockets that the service manager passes under this label (`FileDescriptorName=`); those that it
    /// passes for an address are also found by the address.
    Tcp(String, Option<TcpSocketOptions>),
    /// The path of a Unix socket, and the permissions of its file: read and write access for
    /// everyone if none are given. A name that begins with `@` is abstract: it has no file and no
    /// permissions, and disappears with the last process that listens on it.
    Uds(String, Option<Permissions>),
}

impl AsRef<str> for ServerAddress {
    fn as_ref(&self) -> &str {
        match self {
            ServerAddress::Tcp(address, _) => address,
            ServerAddress::Uds(path, _) => path,
        }
    }
}

/// Options of a listening TCP socket; accepted connections inherit them. `None` keeps the system's
/// default.
#[derive(Clone, Debug, Default)]
pub struct TcpSocketOptions {
    /// Whether an IPv6 socket refuses IPv4 connections (IPV6_V6ONLY). No effect on IPv4 addresses.
    pub ipv6_only: Option<bool>,
    /// The length of the queue of connections that were opened with data in their first packet
    /// (TCP_FASTOPEN, RFC 7413).
    pub tcp_fastopen: Option<usize>,
    /// Probing of idle connections (SO_KEEPALIVE).
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// The traffic class, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
    /// Whether several sockets may listen on the same address (SO_REUSEPORT).
    pub so_reuseport: Option<bool>,
    /// The send buffer, in bytes (SO_SNDBUF). Setting it disables the kernel's own tuning.
    pub tcp_snd_buf: Option<usize>,
    /// The receive buffer, in bytes (SO_RCVBUF). Setting it disables the kernel's own tuning.
    pub tcp_recv_buf: Option<usize>,
}
