//! The foundation of the end-to-end suites.
//!
//! - [`Connection`]: one TCP connection, spoken by hand: exact bytes out, messages in. The client
//!   in front of a proxy and the origin's end behind it.
//! - [`Message`]: a request or response as it came over the wire.
//! - [`Origin`]: an origin on a port of its own, scripted per connection or well-behaved with a
//!   behaviour for each path, over HTTP/1.1 or HTTP/2, which records what it was asked.
//! - [`Ask`]: a request as a test thinks of it, sent over either [`Version`] of HTTP.
//! - [`Running`]: an exchange that is under way, for what happens in the middle of it.
//! - [`http2`]: a connection on which frames are sent by hand, and a well-behaved client.
//! - [`Authority`]: certificates, made where they are used.
//! - [`Refusing`]: an address that has no listener, for sure.
//! - [`Nginx`]: the real one, in a directory and on a port of its own.
//! - [`Haproxy`]: the real one, likewise.
//! - [`Pebble`]: a real authority, with a DNS server of its own.
//! - [`curl()`]: the real one.
//! - [`Browser`]: the real Chromium, likewise.
//! - [`Program`]: a program as a process of its own, with what it says on its outputs.
//! - [`log_lines`]: what the framework logs in this process.
//! - [`TestServer`]: a server of the framework in a thread; [`proxy`] starts one around a
//!   `ProxyHttp`, [`FixedUpstream`] is the smallest such.
//!
//! Everything listens on port 0 or a free port of 127.0.0.1, ends when it is dropped, and gives up
//! after [`PATIENCE`] with a panic that says what was there until then. Nothing here parses HTTP
//! with the code under test, but the well-behaved sides of HTTP/2 use the `h2` crate, as that does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod ask;
mod authority;
mod browser;
mod connection;
mod counting;
mod curl;
mod haproxy;
pub mod http2;
mod logged;
mod message;
mod nginx;
mod origin;
mod pebble;
mod ports;
mod program;
mod refusing;
mod running;
mod server;
mod well_behaved;

pub use ask::{Ask, Version};
pub use authority::Authority;
pub use browser::Browser;
pub use connection::{Connection, eventually};
pub use counting::CountingAllocator;
pub use curl::{curl, curl_text, try_curl};
pub use haproxy::Haproxy;
pub use logged::{keep_log, log_lines, logged};
pub use message::{Ending, Message};
pub use nginx::Nginx;
pub use origin::Origin;
pub use pebble::Pebble;
pub use ports::free_port;
pub use program::{Program, repeat};
pub use refusing::Refusing;
pub use running::Running;
pub use server::{
    FixedUpstream, TestServer, VersionedUpstream, h2c_proxy, proxy, proxy_with, speak_h2c,
};
pub use well_behaved::{Pattern, pattern};

use std::time::Duration;

/// How long anything may take before the test is given up: far more than it takes on a busy
/// machine.
pub const PATIENCE: Duration = Duration::from_secs(10);
