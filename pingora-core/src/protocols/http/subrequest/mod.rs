//! Requests that this process makes to itself, in memory.
//!
//! A sub-request has two ends. The *session* ([`server::HttpSession`]) is what an application serves,
//! as it serves a client's: the same phases and the same engine run over it. The *caller* holds the
//! [`SubrequestHandle`](server::SubrequestHandle): four channels, over which it sends the body of the
//! request and gets the response. [`CallerHalf`] makes of the handle what an engine takes for an
//! upstream.
//!
//! Nothing is framed in between: what travels are [`HttpTask`](super::HttpTask)s. The channels are
//! bounded and the queues in front of them are under the engine's mark, so that a slow reader slows
//! the upstream, and a slow upstream the caller.

mod caller;
pub mod server;
mod tasks;

pub use caller::CallerHalf;

/// Pieces that a channel holds in each direction. The queue in front of it is bounded by bytes.
const CHANNEL_PIECES: usize = 4;

/// How deep sub-requests may be nested. One that is nested deeper is refused: a request that spawns
/// itself would otherwise never end.
pub const MOST_NESTED: u8 = 8;
