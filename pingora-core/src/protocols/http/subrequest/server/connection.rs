//! Methods that every session has and that depend on a connection, which a sub-request does not have.

use super::HttpSession;
use crate::protocols::http::h1::Fault;

#[allow(clippy::unused_self, reason = "sessions are called alike")]
impl HttpSession {
    /// How fast a client reads is seen by the session that it is connected to.
    pub(crate) fn set_min_send_rate(&mut self, _rate: Option<usize>) {}

    /// A request that came over no wire breaks none of its rules.
    pub(crate) fn fault(&self) -> Option<Fault> {
        None
    }
}
