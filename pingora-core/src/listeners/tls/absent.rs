//! The settings' name, where no TLS library is compiled in.

use super::{
    Acceptor, CertificateStore, ClientCertificates, HandshakeCounters, SessionTickets, WhenBusy,
};
use crate::process::ServerConf;
use crate::protocols::tls::{ALPN, ServerContext, TlsAcceptCallbacks};
use pingora_error::Result;
use std::sync::Arc;
use std::time::Duration;

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
    pub fn with_store(_store: CertificateStore) -> Result<Self> {
        ServerContext::absent()
    }

    /// # Errors
    /// Always: TLS is not compiled in.
    pub fn with_callbacks(_callbacks: TlsAcceptCallbacks) -> Result<Self> {
        ServerContext::absent()
    }

    /// Does nothing.
    pub fn set_store(&mut self, _store: CertificateStore) {}

    /// There is none.
    pub fn store(&self) -> Option<&CertificateStore> {
        None
    }

    /// Does nothing.
    pub fn set_callbacks(&mut self, _callbacks: TlsAcceptCallbacks) {}

    /// Does nothing.
    pub fn set_client_certificates(&mut self, _wanted: ClientCertificates) -> Result<()> {
        Ok(())
    }

    /// Does nothing.
    pub fn set_session_tickets(&mut self, _tickets: SessionTickets) {}

    /// Does nothing.
    pub fn set_handshake_timeout(&mut self, _timeout: Duration) {}

    /// Does nothing.
    pub fn set_max_handshakes(&mut self, _most: usize, _when_busy: WhenBusy) {}

    /// Does nothing.
    pub fn keep_client_hello(&mut self, _keep: bool) {}

    /// Does nothing.
    pub fn allow_expired_certificate(&mut self, _allow: bool) {}

    /// Numbers that stay zero.
    pub fn handshake_counters(&self) -> Arc<HandshakeCounters> {
        Arc::default()
    }

    /// Does nothing.
    pub fn set_offload_threadpool(&mut self, _shards: usize, _threads_per_shard: usize) {}

    /// Does nothing.
    pub fn set_offload_threadpool_from_server_conf(&mut self, _server_conf: &ServerConf) {}

    /// Does nothing.
    pub fn enable_h2(&mut self) {}

    /// Does nothing.
    pub fn set_alpn(&mut self, _alpn: ALPN) {}

    pub(crate) fn check(&self) -> Result<()> {
        match *self {}
    }

    pub(crate) fn build(self) -> Result<Acceptor> {
        match self {}
    }
}
