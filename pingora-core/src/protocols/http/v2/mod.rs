//! HTTP/2 over streams of a connection: sessions on the `h2` crate.
//!
//! That crate does the framing, the compression of fields and the flow control. What a message may
//! be is told by the rules in [`message`], which are pure.

pub mod client;
pub(crate) mod message;

/// The server's side.
pub mod server {
    pub use h2::server::Builder as H2Options;

    /// A stream of an HTTP/2 connection, seen from the server.
    #[derive(Debug)]
    pub enum HttpSession {}
}
