//! The kept interface: every binding item, used once as a program would. Nothing here runs; compiling is the test.
//! The types on the left are those that programs write.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::let_underscore_future,
    reason = "nothing here runs"
)]
#![allow(
    clippy::borrowed_box,
    clippy::type_complexity,
    reason = "the types are the interface's"
)]

mod apps;
mod balancing;
mod errors;
mod headers;
mod proxy;
mod server;
mod sessions;
mod subrequests;
mod transport;
mod upstreams;
mod versions;

/// A value of whatever type the interface requires.
fn any<T>() -> T {
    panic!("nothing here runs")
}
