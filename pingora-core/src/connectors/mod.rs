//! Connecting to upstreams, and keeping connections for the next request.

mod error_context;
pub mod http;
pub mod l4;
mod options;
pub mod pool;
mod preference;
mod proxy;
mod tls;
mod transport;

pub use self::l4::Connect as L4Connect;
pub use options::{ConnectorOptions, PoolCallback};
pub use transport::TransportConnector;
