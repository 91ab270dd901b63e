//! HTTP: sessions on the server's and on the client's side, over any version.

pub mod aliases;
pub mod authority;
pub mod body_buffer;
pub mod bridge;
pub mod changed_body;
pub mod client;
pub mod compression;
pub mod conditional_filter;
pub mod custom;
pub mod date;
pub mod error_resp;
pub mod exchange;
mod faults;
mod grace;
pub mod h1;
pub mod hop_by_hop;
mod linger;
mod recycled;
pub mod server;
mod session_options;
pub mod spool;
pub mod subrequest;
mod task;
mod timed;
pub mod v1;
pub mod v2;
#[cfg(test)]
mod versions_tests;
pub mod websocket;

pub use error_resp::SERVER_NAME;
#[doc(hidden)]
pub use recycled::RecycledRequest;
pub(crate) use recycled::{give_response, take_response};
pub use server::{ReusableHttpStream, Session as ServerSession};
pub use task::HttpTask;
