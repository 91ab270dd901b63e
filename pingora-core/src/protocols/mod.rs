//! Protocols: the meaning of bytes. Nothing in here knows about services or the server.

pub mod digest;
pub mod http;
mod io;
pub mod l4;
mod memory;
pub mod proxy_protocol;
pub mod raw_connect;
pub mod tls;

pub use digest::{
    Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, ProtoDigest, ProxyDigest,
    SocketDigest, TimingDigest,
};
pub use io::{IO, Peek, Shutdown, Ssl, Stream, UniqueID, UniqueIDType};
pub use l4::ext::TcpKeepalive;
pub use tls::ALPN;
