//! Trying again: with what policy, after what, and how often.
//!
//! ```text
//! try ─ fails ──▶ verdict ─ retry ─▶ budget ─ some left ─▶ the phase allows it ─▶ backoff ─▶ next try
//!                    └─ end: answer      └─ none: answer       └─ no: answer          └─ the client left
//! ```
//!
//! [`verdict`] is pure and has the table. [`RetryPolicy`] is the value that a proxy returns from
//! [`ProxyHttp::retry_policy`](crate::ProxyHttp::retry_policy); [`RetryBudget`] and [`Backoff`] are its
//! parts. A request that has a policy carries a [`Plan`] from try to try.

mod backoff;
mod budget;
mod plan;
mod policy;
pub(crate) mod verdict;

pub use backoff::Backoff;
pub use budget::RetryBudget;
pub(crate) use plan::{Failed, Plan};
pub use policy::RetryPolicy;
pub(crate) use verdict::NoRetry;

use crate::session::Session;
use http::StatusCode;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{BError, ErrorType};
use verdict::survives_old_connection;

pub(crate) const HEDGED: ErrorType = FailedTry::HEDGED;

/// A try of the present request that failed. See [`Session::failed_tries`](crate::Session::failed_tries).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FailedTry {
    /// The peer that was tried.
    pub address: SocketAddr,
    /// The kind of error that ended the try; [`FailedTry::HEDGED`] for the slower of two at once.
    pub error: ErrorType,
    /// The status of the response that was dropped in favour of another try.
    pub status: Option<StatusCode>,
}

impl FailedTry {
    /// How a try ends that is cancelled because another one, at the same time, was faster. Its
    /// [`Attempt`](pingora_core::upstreams::outcome::Attempt) hears of
    /// [`Cancelled`](pingora_core::upstreams::outcome::Outcome::Cancelled).
    pub const HEDGED: ErrorType = ErrorType::Custom("HedgedTry");
}

/// The default of [`ProxyHttp::error_while_proxy`](crate::ProxyHttp::error_while_proxy).
pub(crate) fn error_while_proxy(
    peer: &HttpPeer,
    session: &Session,
    e: BError,
    client_reused: bool,
) -> BError {
    let mut e = e.more_context(format!("Peer: {peer}"));
    let idempotent = session.req_header().line().method.is_idempotent();
    let replayable = session.can_replay();
    let survives = survives_old_connection(client_reused, idempotent, replayable);
    e.retry.decide_reuse(survives);
    e
}
