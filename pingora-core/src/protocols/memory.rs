//! The in-memory transport: both ends of a connection inside one process, for sub-requests and
//! tests. It has no addresses, no TLS and no descriptor.

use super::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, ProxyDigest, Shutdown, SocketDigest,
    Ssl, TimingDigest, UniqueID, UniqueIDType,
};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, DuplexStream};

#[async_trait]
impl Shutdown for DuplexStream {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for DuplexStream {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for DuplexStream {}

impl GetTimingDigest for DuplexStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![]
    }
}

impl GetProxyDigest for DuplexStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for DuplexStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for DuplexStream {}
