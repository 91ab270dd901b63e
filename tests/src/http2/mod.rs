//! HTTP/2: by hand for what is malformed, by the `h2` crate for what is not.

mod behaviours;
mod body;
mod client;
pub mod frames;
mod raw;
pub mod tls;
mod tunnel;

pub(crate) use behaviours::serve;
pub use body::{read_body, send_body};
pub use client::Http2Client;
pub(crate) use client::next_head;
pub use raw::{RawAnswer, RawHttp2};
pub use tunnel::Tunnel;
