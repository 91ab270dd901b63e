//! A peer that is just an address.

use super::identity::IdentityHasher;
use super::{Peer, PeerOptions};
use crate::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::net::SocketAddr as StdUnixSockAddr;
use std::path::Path;

/// A peer that is just an address. It uses TLS if it has an SNI.
#[derive(Clone, Debug)]
pub struct BasicPeer {
    /// The address of the transport.
    pub _address: SocketAddr,
    /// The server name for the TLS handshake; empty: no TLS.
    pub sni: String,
    /// How to connect.
    pub options: PeerOptions,
}

impl BasicPeer {
    /// A peer at `address`, an `IP:PORT` or the path of a Unix socket.
    ///
    /// Any other text is logged as an error; every connection to the resulting peer fails with
    /// `ConnectNoRoute`.
    pub fn new(address: &str) -> Self {
        let address = address.parse().unwrap_or_else(|e| {
            log::error!("a peer that can't be connected to: {e}");
            SocketAddr::unresolved(&format!("{address:?} is no address"))
        });
        Self::from_address(address)
    }

    /// A peer at the Unix socket `path`.
    ///
    /// # Errors
    /// `InternalError` if the path is too long for a socket address.
    pub fn new_uds<P: AsRef<Path>>(path: P) -> Result<Self> {
        Ok(Self::from_address(unix_address(path.as_ref())?))
    }

    fn from_address(address: SocketAddr) -> Self {
        BasicPeer {
            _address: address,
            sni: String::new(),
            options: PeerOptions::new(),
        }
    }
}

/// The address of a Unix socket at `path`.
pub(super) fn unix_address(path: &Path) -> Result<SocketAddr> {
    if path.as_os_str().is_empty() {
        return Error::e_explain(
            ErrorType::InternalError,
            "the path of a Unix socket is empty",
        );
    }
    StdUnixSockAddr::from_pathname(path)
        .map(SocketAddr::Unix)
        .or_err_with(ErrorType::InternalError, || {
            format!("{} is not the path of a Unix socket", path.display())
        })
}

impl fmt::Display for BasicPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "addr: {}", self._address)?;
        if !self.sni.is_empty() {
            write!(f, ", sni: {}", self.sni)?;
        }
        let options = self.options.to_string();
        if options.is_empty() {
            Ok(())
        } else {
            write!(f, ", {options}")
        }
    }
}

impl Peer for BasicPeer {
    fn address(&self) -> &SocketAddr {
        &self._address
    }

    fn tls(&self) -> bool {
        !self.sni.is_empty()
    }

    fn sni(&self) -> &str {
        &self.sni
    }

    fn reuse_hash(&self) -> u64 {
        let mut hasher = IdentityHasher::new();
        self.options.hash_address(&self._address, &mut hasher);
        self.options.bind_to.hash(&mut hasher);
        if self.tls() {
            self.sni.hash(&mut hasher);
            self.options.hash_tls(&mut hasher);
        }
        hasher.finish()
    }

    fn get_peer_options(&self) -> Option<&PeerOptions> {
        Some(&self.options)
    }

    fn get_mut_peer_options(&mut self) -> Option<&mut PeerOptions> {
        Some(&mut self.options)
    }
}
