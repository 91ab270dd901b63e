//! What the examples share: small origins to proxy to, a word on what to try, an orderly end.
//!
//! Nothing in here is needed by a program of your own; it keeps the examples to their point.
#![forbid(unsafe_code)]

mod announce;
mod certificates;
mod exit;
pub mod grpc;
mod origin;

pub use announce::Announcement;
pub use certificates::Authority;
pub use exit::{exit_code, log_to_stderr};
pub use origin::{Origin, origin};

use std::fmt;
use std::io::Write;

/// Prints a line. Unlike `println!` it does not panic when nobody reads standard output any more
/// (`... | head`).
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
