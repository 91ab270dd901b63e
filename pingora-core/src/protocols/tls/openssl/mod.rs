//! TLS by OpenSSL, 1.1.1 or later.

mod authorities;
mod built_in_server;
pub mod client;
pub(crate) mod client_certificates;
mod digest;
mod handshake_failure;
mod hints;
mod resumption;
pub mod server;
pub(crate) mod session_scope;
pub mod stream;
#[cfg(test)]
pub(crate) mod test_certificates;
mod transport;

pub use super::library::{CaType, Certificate, TlsRef};
pub(crate) use built_in_server::BuiltInServer;
pub use stream::SslStream;
