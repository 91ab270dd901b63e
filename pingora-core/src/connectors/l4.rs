//! Connecting the transport: TCP, a Unix socket, a custom connector, or a tunnel through a CONNECT
//! proxy over one of these.

pub use crate::protocols::l4::{BindTo, Connect, ConnectErrorExt};

use super::error_context::of_upstream;
use super::proxy;
use crate::protocols::digest::SocketDigest;
use crate::protocols::l4::ext::{
    connect_uds, connect_with, set_dscp, set_recv_buf, set_tcp_fastopen_connect,
};
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::l4::stream::Stream;
use crate::upstreams::peer::Peer;
use futures::stream::{FuturesUnordered, StreamExt};
use pingora_error::{BError, Error, ErrorType, OrErr, Result};
use std::net::SocketAddr as InetSocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

/// The time that one of several addresses has to answer before the next is tried in parallel (RFC
/// 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to `peer` within its connection timeout, which covers all of its addresses; a CONNECT proxy
/// on the way has the same time again for its answer. `bind_to` returns a local address for a remote
/// one, if the peer has no preference of its own.
///
/// # Errors
/// `ConnectRefused`, `ConnectTimedout`, `ConnectNoRoute`, `ConnectError`, `BindError`,
/// `SocketError`, `ConnectProxyFailure`, all with the upstream as their source and the peer in
/// their context.
pub(super) async fn connect<P: Peer + Send + Sync>(
    peer: &P,
    bind_to: LocalEnd<'_>,
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
        // Boxed: other connections must not pay for its memory.
        Box::pin(proxy::open_tunnel(&mut stream, peer, proxy)).await?;
    }
    let announcement = peer.get_peer_options().and_then(|o| o.announcement());
    if let Some(bytes) = announcement {
        let announced = Box::pin(announce(&mut stream, bytes, peer.connection_timeout()));
        announced.await.map_err(|e| of_upstream(e, peer))?;
    }
    Ok(stream)
}

/// Sends the bytes that the connection begins with.
async fn announce(stream: &mut Stream, bytes: &[u8], limit: Option<Duration>) -> Result<()> {
    let sending = async {
        let sent = stream.write_all(bytes).await;
        sent.or_err(
            ErrorType::ConnectError,
            "sending the header of the PROXY protocol",
        )
    };
    match limit {
        Some(limit) => match tokio::time::timeout(limit, sending).await {
            Ok(sent) => sent,
            Err(_) => Err(timed_out(limit)),
        },
        None => sending.await,
    }
}

fn timed_out(limit: Duration) -> BError {
    Error::explain(
        ErrorType::ConnectTimedout,
        format!("not connected within {limit:?}"),
    )
}

/// A local address for a remote one.
type LocalEnd<'a> = &'a (dyn Fn(&InetSocketAddr) -> Option<BindTo> + Sync);

async fn connect_any<P: Peer + Send + Sync>(peer: &P, bind_to: LocalEnd<'_>) -> Result<Stream> {
    if let Some(proxy) = peer.get_proxy() {
        let (address, several) = proxy::addresses_of(proxy).await?;
        let several = several
            .as_ref()
            .map_or(&[][..], |several| several.addresses());
        return connect_to(peer, &address, several, bind_to).await;
    }
    let options = peer.get_peer_options();
    let several = options.map_or(&[][..], |o| o.addresses(peer.address()));
    connect_to(peer, peer.address(), several, bind_to).await
}

/// Connects to `address`, or, if there are several, to the first of them that answers.
async fn connect_to<P: Peer + Send + Sync>(
    peer: &P,
    address: &SocketAddr,
    several: &[InetSocketAddr],
    bind_to: LocalEnd<'_>,
) -> Result<Stream> {
    if let Some(own) = peer.get_peer_options().and_then(|o| o.own_way()) {
        return own.connect(address).await;
    }
    if !several.is_empty() {
        return Box::pin(connect_first(peer, several, bind_to)).await;
    }
    match address {
        SocketAddr::Inet(addr) => connect_tcp(peer, addr, bind_to, peer.tcp_fast_open()).await,
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

/// Tries one address after the other: the next one as soon as the previous one has failed, or in
/// parallel once its head start is over. The remaining attempts are dropped when one has answered.
///
/// # Errors
/// The error of the address that failed first, with a remark about the others.
async fn connect_first<P: Peer + Send + Sync>(
    peer: &P,
    addresses: &[InetSocketAddr],
    bind_to: LocalEnd<'_>,
) -> Result<Stream> {
    let mut attempts = FuturesUnordered::new();
    let mut others = addresses.iter();
    let mut failed = None;
    loop {
        // With data in the SYN, a connection would count as established before anyone has answered.
        attempts.extend(others.next().map(|a| connect_tcp(peer, a, bind_to, false)));
        let late = async {
            match others.len() {
                0 => std::future::pending().await,
                _ => tokio::time::sleep(HEAD_START).await,
            }
        };
        let ended = tokio::select! {
            biased;
            ended = attempts.next() => ended,
            () = late => continue,
        };
        match ended {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(e)) => {
                failed.get_or_insert(e);
            }
            None => {
                let none = || Error::new(ErrorType::ConnectError);
                let context =
                    format!("none of {addresses:?} can be connected to; the first failure");
                return Err(failed.unwrap_or_else(none).more_context(context));
            }
        }
    }
}

async fn connect_tcp<P: Peer + Send + Sync>(
    peer: &P,
    addr: &InetSocketAddr,
    bind_to: LocalEnd<'_>,
    fast_open: bool,
) -> Result<Stream> {
    let ours = match peer.bind_to() {
        Some(_) => None,
        None => bind_to(addr),
    };
    let bind_to = peer.bind_to().or(ours.as_ref());
    let prepare = |socket: &TcpSocket| prepare(peer, socket, fast_open);
    let stream = connect_with(addr, bind_to, prepare).await?;
    Ok(Stream::with_peer(stream.into(), *addr))
}

/// The options that have to be set before connecting.
fn prepare<P: Peer>(peer: &P, socket: &TcpSocket, fast_open: bool) -> Result<()> {
    let fd = socket.as_raw_fd();
    if let Some(size) = peer.tcp_recv_buf() {
        set_recv_buf(fd, size)?;
    }
    if let Some(dscp) = peer.dscp() {
        set_dscp(fd, dscp)?;
    }
    if fast_open {
        set_tcp_fastopen_connect(fd)?;
    }
    match peer.upstream_tcp_sock_tweak_hook() {
        Some(hook) => hook(socket),
        None => Ok(()),
    }
}

/// The options that any kind of connection gets.
fn set_options<P: Peer>(peer: &P, stream: &mut Stream) -> Result<()> {
    stream.set_nodelay()?;
    if let Some(keepalive) = peer.tcp_keepalive() {
        stream.set_keepalive(keepalive)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
