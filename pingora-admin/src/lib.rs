//! A page that shows what a process does at this moment: requests, latencies, upstreams, connections, TLS, recent failures,
//! the configuration in force. On demand it disables backends, drains the process, purges its cache and changes the
//! log level.
//!
//! It is off until a program adds it, listens on the loopback only by default, demands a token, and is read-only unless
//! actions are allowed. The page is one HTML file without external resources, so it works offline.
//!
//! ```
//! use pingora_admin::Admin;
//! use pingora_core::server::Server;
//!
//! # fn main() -> pingora_core::Result<()> {
//! let mut server = Server::new(None)?;
//! // From a file or the environment, not from the source.
//! let token = "correct horse battery staple";
//! let admin = Admin::new(token)?.configuration(&server.configuration);
//! server.add_service(admin.service("127.0.0.1:6193")?);
//! # Ok(())
//! # }
//! ```
//!
//! # Access
//! Everything but the empty page demands `Authorization: Bearer <token>`; the token is compared in constant time. There are
//! no cookies, so another site's page in the same browser has no credentials to send along. In addition, `Host` must be a name
//! of this machine or one of [`Admin::host`] (against DNS rebinding), and `Origin` and `Sec-Fetch-Site`, if a browser
//! sends them, must say that the page itself asks.
//!
//! Page in the repository: `docs/admin.md`, with the JSON that the page uses.
#![forbid(unsafe_code)]

mod action;
mod admin;
mod guard;
mod purge;
mod state;
mod stored;
mod upstreams;

pub use admin::{Admin, AdminApp};
pub use pingora_load_balancing::metrics::BackendState;
pub use purge::{Purge, Purger};
pub use upstreams::UpstreamGroup;
