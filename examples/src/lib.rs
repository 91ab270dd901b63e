//! Shared parts of the examples: small origins to proxy to, hints on what to try, an orderly exit.
//!
//! Your own program needs none of this; it keeps the examples short.
#![forbid(unsafe_code)]

mod announce;
mod backends;
mod certificates;
mod exit;
pub mod grpc;
mod origin;

pub use announce::Announcement;
pub use backends::backends;
pub use certificates::Authority;
pub use exit::{exit_code, log_to_stderr};
pub use origin::{Origin, origin};

use std::fmt;
use std::io::Write;

/// Prints a line. Unlike `println!` it does not panic if standard output is no longer read (`... |
/// head`).
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
