//! The settings' name, where no TLS library is compiled in.

use super::Acceptor;
use crate::process::ServerConf;
use crate::protocols::tls::{ALPN, ServerContext, TlsAcceptCallbacks};
use pingora_error::Result;

/// Settings of a TLS listener. There are none without a library: nobody can make a value.
#[derive(Debug)]
pub enum TlsSettings {}

impl TlsSettings {
    /// # Errors
    /// Always: TLS is not compiled in.
    pub fn intermediate(_cert_path: &str, _key_path: &str) -> Result<Self> {
        ServerContext::absent()
    }

    /// # Errors
    /// Always: TLS is not compiled in.
    pub fn with_callbacks(_callbacks: TlsAcceptCallbacks) -> Result<Self> {
        ServerContext::absent()
    }

    /// Does nothing.
    pub fn set_offload_threadpool(&mut self, _shards: usize, _threads_per_shard: usize) {}

    /// Does nothing.
    pub fn set_offload_threadpool_from_server_conf(&mut self, _server_conf: &ServerConf) {}

    /// Does nothing.
    pub fn enable_h2(&mut self) {}

    /// Does nothing.
    pub fn set_alpn(&mut self, _alpn: ALPN) {}

    pub(crate) fn build(self) -> Result<Acceptor> {
        match self {}
    }
}
