//! Connecting through a CONNECT proxy.

use super::error_context::of_upstream;
use crate::protocols::GetProxyDigest;
use crate::protocols::l4::Addresses;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::l4::stream::Stream;
use crate::protocols::raw_connect::{connect_socket, generate_connect_header};
use crate::upstreams::peer::{NextHop, Peer, Proxy};
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::collections::BTreeMap;
use std::os::unix::net::SocketAddr as UnixSocketAddr;

/// The address that the proxy listens on, and all of its addresses if it has several. A name is
/// resolved without blocking the thread.
///
/// # Errors
/// `ConnectNoRoute` if the name does not resolve, `ConnectError` for a path that is too long.
pub(super) async fn addresses_of(proxy: &Proxy) -> Result<(SocketAddr, Option<Addresses>)> {
    match proxy.listens_on() {
        NextHop::Unix(path) => UnixSocketAddr::from_pathname(path)
            .map(|path| (SocketAddr::Unix(path), None))
            .or_err_with(ErrorType::ConnectError, || {
                format!("{} is not the path of a Unix socket", path.display())
            }),
        NextHop::Inet(text) => {
            let context = || format!("resolving the proxy {text}");
            let found = tokio::net::lookup_host(text)
                .await
                .or_err_with(ErrorType::ConnectNoRoute, context)?;
            let found: Vec<_> = found.collect();
            match found.first() {
                Some(first) => Ok((SocketAddr::Inet(*first), Addresses::of(&found))),
                None => Error::e_explain(ErrorType::ConnectNoRoute, context()),
            }
        }
    }
}

/// Makes the proxy at the other end of `stream` connect to the peer.
///
/// # Errors
/// `ConnectProxyFailure`, `ConnectTimedout`, or `InvalidHTTPHeader` for fields that can't be sent, with
/// the upstream as their source and the peer in their context.
pub(super) async fn open_tunnel<P: Peer>(
    stream: &mut Stream,
    peer: &P,
    proxy: &Proxy,
) -> Result<()> {
    let mut fields: BTreeMap<&str, &Vec<u8>> = BTreeMap::new();
    let extra = peer.get_peer_options().map(|o| &o.extra_proxy_headers);
    for (name, value) in proxy.headers.iter().chain(extra.into_iter().flatten()) {
        fields.retain(|other, _| !other.eq_ignore_ascii_case(name));
        fields.insert(name, value);
    }
    let request = generate_connect_header(&proxy.host, proxy.port, fields.into_iter())
        .map_err(|e| of_upstream(e, peer))?;
    let digest = connect_socket(stream, &request, peer)
        .await
        .map_err(|e| of_upstream(e, peer))?;
    stream.set_proxy_digest(digest);
    Ok(())
}

#[cfg(test)]
mod tests;
