//! Requests that this process makes to itself, in memory.
//!
//! A sub-request has two ends. The *session* ([`server::HttpSession`]) is served by an application
//! like a client's session: with the same phases and the same engine. The *caller* holds the
//! [`SubrequestHandle`](server::SubrequestHandle): four channels through which it sends the request's
//! body and receives the response. [`CallerHalf`] turns the handle into something that an engine can
//! treat as an upstream.
//!
//! Nothing is framed in between: the channels carry [`HttpTask`](super::HttpTask)s. The channels
//! are bounded and the queues in front of them are under the engine's mark, so a slow reader slows
//! the upstream down, and a slow upstream the caller.

mod caller;
pub mod server;
mod tasks;

pub use caller::CallerHalf;

/// The number of pieces that a channel holds in each direction. The queue in front of it is bounded
/// by bytes.
const CHANNEL_PIECES: usize = 4;

/// The maximum nesting depth of sub-requests. Deeper ones are refused: otherwise, a request that
/// spawns itself would never end.
pub const MOST_NESTED: u8 = 8;
