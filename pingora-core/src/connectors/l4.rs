//! Connecting the transport: TCP, a Unix socket, a way of the user's own, or a tunnel through a
//! CONNECT proxy over one of these.

pub use crate::protocols::l4::{BindTo, Connect, ConnectErrorExt};

use super::proxy;
use crate::protocols::digest::SocketDigest;
use crate::protocols::l4::ext::{
    connect_uds, connect_with, set_dscp, set_recv_buf, set_tcp_fastopen_connect,
};
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::l4::stream::Stream;
use crate::upstreams::peer::Peer;
use pingora_error::{BError, Error, ErrorType, Result};
use std::net::SocketAddr as InetSocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::net::TcpSocket;

/// Connects to `peer` within its connection timeout; a CONNECT proxy on the way has as long again
/// for its answer. `bind_to` is used where the peer has no preference of its own.
///
/// # Errors
/// `ConnectRefused`, `ConnectTimedout`, `ConnectNoRoute`, `ConnectError`, `BindError`,
/// `SocketError`, `ConnectProxyFailure`, all with the upstream as their source and the peer in
/// their context.
pub(super) async fn connect<P: Peer + Send + Sync>(
    peer: &P,
    bind_to: Option<BindTo>,
) -> Result<Stream> {
    let attempt = connect_any(peer, bind_to);
    let connected = match peer.connection_timeout() {
        Some(limit) => match tokio::time::timeout(limit, attempt).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(limit)),
        },
        None => attempt.await,
    };
    let mut stream = connected.map_err(|e| of_upstream(e, peer))?;
    if let Some(tracer) = peer.get_tracer() {
        tracer.0.on_connected();
        stream.tracer = Some(tracer);
    }
    set_options(peer, &mut stream).map_err(|e| of_upstream(e, peer))?;
    if let Some(proxy) = peer.get_proxy() {
        proxy::open_tunnel(&mut stream, peer, proxy).await?;
    }
    Ok(stream)
}

/// Says whose fault an error is, and of which peer.
pub(super) fn of_upstream<P: Peer>(e: BError, peer: &P) -> BError {
    e.more_context(format!("peer: {peer}")).into_up()
}

fn timed_out(limit: Duration) -> BError {
    Error::explain(
        ErrorType::ConnectTimedout,
        format!("not connected within {limit:?}"),
    )
}

async fn connect_any<P: Peer + Send + Sync>(peer: &P, bind_to: Option<BindTo>) -> Result<Stream> {
    let of_proxy = match peer.get_proxy() {
        Some(proxy) => Some(proxy::address_of(proxy).await?),
        None => None,
    };
    let address = of_proxy.as_ref().unwrap_or(peer.address());
    if let Some(custom) = peer.get_peer_options().and_then(|o| o.custom_l4.as_ref()) {
        return custom.connect(address).await;
    }
    match address {
        SocketAddr::Inet(addr) => connect_tcp(peer, addr, bind_to).await,
        SocketAddr::Unix(addr) => {
            if let Some(reason) = address.unresolved_reason() {
                let context = format!("the peer's name was not resolved: {reason}");
                return Error::e_explain(ErrorType::ConnectNoRoute, context);
            }
            let Some(path) = addr.as_pathname() else {
                return Error::e_explain(ErrorType::ConnectError, "the Unix socket has no path");
            };
            let stream = connect_uds(path).await?;
            let digest = SocketDigest::with_peer_addr(stream.as_raw_fd(), addr.clone().into());
            Ok(Stream::with_digest(stream.into(), digest))
        }
    }
}

async fn connect_tcp<P: Peer + Send + Sync>(
    peer: &P,
    addr: &InetSocketAddr,
    bind_to: Option<BindTo>,
) -> Result<Stream> {
    // The connector chose by the peer's address; a proxy's may be of the other family.
    let fits = |bind_to: &&BindTo| bind_to.addr.is_none_or(|a| a.is_ipv4() == addr.is_ipv4());
    let bind_to = peer.bind_to().or(bind_to.as_ref().filter(fits));
    let stream = connect_with(addr, bind_to, |socket| prepare(peer, socket)).await?;
    Ok(Stream::with_peer(stream.into(), *addr))
}

/// The options that have to be set before connecting.
fn prepare<P: Peer>(peer: &P, socket: &TcpSocket) -> Result<()> {
    let fd = socket.as_raw_fd();
    if let Some(size) = peer.tcp_recv_buf() {
        set_recv_buf(fd, size)?;
    }
    if let Some(dscp) = peer.dscp() {
        set_dscp(fd, dscp)?;
    }
    if peer.tcp_fast_open() {
        set_tcp_fastopen_connect(fd)?;
    }
    match peer.upstream_tcp_sock_tweak_hook() {
        Some(hook) => hook(socket),
        None => Ok(()),
    }
}

/// The options that a connection of any kind gets.
fn set_options<P: Peer>(peer: &P, stream: &mut Stream) -> Result<()> {
    stream.set_nodelay()?;
    if let Some(keepalive) = peer.tcp_keepalive() {
        stream.set_keepalive(keepalive)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
