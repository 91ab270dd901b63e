//! Requests that this process makes to itself. Not built yet: no value of this session can exist. It
//! is named so that matching on sessions stays the same once it is.

/// The server's side.
pub mod server {
    /// A request that came from within the process.
    #[derive(Debug)]
    pub enum HttpSession {}
}
