//! HTTP/2 sessions. Not built yet: no value of these types can exist, and no listener or connector
//! offers the protocol. They are named so that matching on sessions stays the same once it is.

/// The client's side.
pub mod client {
    /// A stream of an HTTP/2 connection, seen from the client.
    #[derive(Debug)]
    pub enum Http2Session {}
}

/// The server's side.
pub mod server {
    pub use h2::server::Builder as H2Options;

    /// A stream of an HTTP/2 connection, seen from the server.
    #[derive(Debug)]
    pub enum HttpSession {}
}
