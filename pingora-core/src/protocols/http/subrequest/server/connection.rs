//! What is asked of every session and depends on a connection, which a sub-request has not.

use super::HttpSession;
use crate::protocols::http::h1::Fault;

#[allow(clippy::unused_self, reason = "sessions are called alike")]
impl HttpSession {
    /// How fast a client reads is seen by the session that it is connected to.
    pub(crate) fn set_min_send_rate(&mut self, _rate: Option<usize>) {}

    /// What came over no wire breaks none of its rules.
    pub(crate) fn fault(&self) -> Option<Fault> {
        None
    }
}
