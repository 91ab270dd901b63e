//! Methods that every session has but that depend on a connection, which a sub-request does not have.

use super::HttpSession;
use crate::protocols::http::h1::Fault;

#[allow(clippy::unused_self, reason = "sessions are called alike")]
impl HttpSession {
    /// Only the session with the client's connection can tell how fast the client reads.
    pub(crate) fn set_min_send_rate(&mut self, _rate: Option<usize>) {}

    /// A request that did not come over a wire breaks none of the wire's rules.
    pub(crate) fn fault(&self) -> Option<Fault> {
        None
    }
}
