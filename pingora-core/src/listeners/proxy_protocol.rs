//! Endpoints behind a proxy that speaks the PROXY protocol.

use crate::protocols::l4::Networks;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::proxy_protocol::ProxyHeader;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// The default time limit for a proxy's header, which proxies send at once.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The default maximum length of a header, in bytes: one with a client's certificate fits.
const LONGEST: usize = 4096;
/// The size of the first read: a header without a certificate, and the data after it.
const FIRST_READ: usize = 512;

/// Requires that the proxies in front of an endpoint begin each connection with a PROXY protocol header, of
/// version 1 or 2, and trusts their information about the client. Set with
/// [`ListenerConfig::proxy_protocol`](super::ListenerConfig::proxy_protocol).
///
/// The header comes before everything else, including the TLS handshake and a
/// [`PreTlsProcess`](super::PreTlsProcess). The client that it names is the one that is passed to a
/// [`ConnectionFilter`](super::ConnectionFilter), that `connections_per_client` counts, and whose address
/// sessions show. If it names none (`LOCAL`, `UNKNOWN`, `UNSPEC`), the proxy itself is the client. See
/// [`SocketDigest::proxy_header`](crate::protocols::SocketDigest::proxy_header) for all of its information.
///
/// A header is trusted only if the other end of the socket is in a trusted network. A connection from there is
/// closed if it has no header, or if the header breaks a rule, is too long or comes too late. Connections from
/// elsewhere are closed without being read, unless [`admit_others`](Self::admit_others) is set.
///
/// ```
/// use pingora_core::listeners::{ListenerConfig, ProxyProtocol};
///
/// let balancers = "10.0.0.0/24, 2001:db8:1::/64".parse()?;
/// let endpoint = ListenerConfig::tcp("0.0.0.0:443").proxy_protocol(ProxyProtocol::trusting(balancers));
/// # Ok::<(), pingora_core::BError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    trusted: Networks,
    trusts_unix: bool,
    admits_others: bool,
    timeout: Duration,
    longest: usize,
}

/// How a connection is treated, depending on where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerRole {
    /// It has to begin with a header.
    Proxy,
    /// It comes directly from a client.
    Client,
    /// It is closed.
    Stranger,
}

impl ProxyProtocol {
    /// Trusts proxies in these networks.
    pub fn trusting(networks: Networks) -> Self {
        ProxyProtocol {
            trusted: networks,
            trusts_unix: false,
            admits_others: false,
            timeout: TIMEOUT,
            longest: LONGEST,
        }
    }

    /// Trusts everyone who may connect to a Unix socket, which the permissions of its file
    /// determine.
    pub fn trust_unix(mut self) -> Self {
        self.trusts_unix = true;
        self
    }

    /// Serves connections from elsewhere as direct client connections: a header that such a client sends is
    /// data, as on any other endpoint, and refused as that.
    pub fn admit_others(mut self) -> Self {
        self.admits_others = true;
        self
    }

    /// Sets the time limit for a proxy's header, counted from when the connection was accepted. 5 s by
    /// default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the maximum length of a header, in bytes. 4096 by default; headers of version 1 are never longer
    /// than 107, those of version 2 never longer than 65551.
    pub fn longest_header(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    pub(super) fn role_of(&self, peer: Option<SocketAddr>) -> PeerRole {
        let is_trusted = match peer {
            Some(peer) => self.trusted.contains(peer.ip()),
            None => self.trusts_unix,
        };
        match (is_trusted, self.admits_others) {
            (true, _) => PeerRole::Proxy,
            (false, true) => PeerRole::Client,
            (false, false) => PeerRole::Stranger,
        }
    }

    /// Reads the header in time. The data after it can still be read from the stream.
    ///
    /// # Errors
    /// `HandshakeError` if it is not a header, or the connection ends.
    pub(super) async fn read(&self, stream: &mut L4Stream) -> Result<ProxyHeader> {
        match tokio::time::timeout(self.timeout, self.read_header(stream)).await {
            Ok(read) => read,
            Err(_) => refused("a proxy took too long for its header"),
        }
    }

    async fn read_header(&self, stream: &mut L4Stream) -> Result<ProxyHeader> {
        let mut bytes = Vec::with_capacity(FIRST_READ.min(self.longest));
        loop {
            // As much as there is room for: never beyond the longest header.
            let room = self.longest.saturating_sub(bytes.len());
            let mut limited = (&mut *stream).take(room as u64);
            let read = limited.read_buf(&mut bytes).await;
            let read = read.or_err(ErrorType::HandshakeError, "reading the header of a proxy")?;
            match ProxyHeader::parse(&bytes, self.longest) {
                Ok(Some((header, length))) => {
                    stream.rewind(bytes.get(length..).unwrap_or_default());
                    return Ok(header);
                }
                Ok(None) if read == 0 => return refused("no header of a proxy, or half of one"),
                Ok(None) => {}
                Err(e) => return refused_because(e),
            }
        }
    }
}

fn refused<T>(reason: &'static str) -> Result<T> {
    Error::e_explain(ErrorType::HandshakeError, reason)
}

#[cold]
fn refused_because<T>(fault: crate::protocols::proxy_protocol::InvalidProxyHeader) -> Result<T> {
    let reason = "not a header of the PROXY protocol, which this endpoint expects";
    Err(Error::because(ErrorType::HandshakeError, reason, fault))
}

#[cfg(test)]
mod tests;
