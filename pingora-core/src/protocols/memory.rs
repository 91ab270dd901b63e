//! Transports without a socket, which have no addresses, no TLS and no descriptor: both ends of a
//! connection inside one process, for sub-requests and tests, and transports that programs use in
//! their tests in place of a client.

use super::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, ProxyDigest, Shutdown, SocketDigest,
    Ssl, TimingDigest, UniqueID, UniqueIDType,
};
use async_trait::async_trait;
use std::io::Cursor;
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, DuplexStream};
#[cfg(feature = "tokio-test")]
use tokio_test::io::Mock;

/// Implements the traits of a transport with nothing below it.
macro_rules! without_a_socket {
    ($($transport:ty),+) => {
        $(
            impl UniqueID for $transport {
                fn id(&self) -> UniqueIDType {
                    0
                }
            }

            impl Ssl for $transport {}

            impl GetTimingDigest for $transport {
                fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
                    vec![]
                }
            }

            impl GetProxyDigest for $transport {
                fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
                    None
                }
            }

            impl GetSocketDigest for $transport {
                fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
                    None
                }
            }

            impl Peek for $transport {}
        )+
    };
}

without_a_socket!(
    DuplexStream,
    Cursor<Vec<u8>>,
    Cursor<&'static mut [u8]>,
    Cursor<Box<[u8]>>
);
#[cfg(feature = "tokio-test")]
without_a_socket!(Mock);

#[async_trait]
impl Shutdown for DuplexStream {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

/// A script is over when all of it was read and written; there is no peer to notify.
#[cfg(feature = "tokio-test")]
#[async_trait]
impl Shutdown for Mock {
    async fn shutdown(&mut self) {}
}

macro_rules! without_an_end {
    ($($transport:ty),+) => {
        $(
            #[async_trait]
            impl Shutdown for $transport {
                async fn shutdown(&mut self) {}
            }
        )+
    };
}

// Written bytes are appended after those that were read.
without_an_end!(
    Cursor<Vec<u8>>,
    Cursor<&'static mut [u8]>,
    Cursor<Box<[u8]>>
);
