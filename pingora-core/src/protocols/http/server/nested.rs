//! Sub-requests as the children of any session.

use super::{Session, SessionSubrequest};
use crate::protocols::http::subrequest::server::{Parent, SubrequestHandle};

impl SessionSubrequest {
    /// A sub-request with a copy of the head of the request in `session`, and the handle for its
    /// caller.
    ///
    /// The head may be changed until `read_request`. By default it determines whether a body is to
    /// come, as over HTTP/1: with a `Content-Length` or a `Transfer-Encoding`. See
    /// `clear_request_body_headers` and `expect_request_body`. Timeouts are those of `session`.
    pub fn new_from_session(session: &Session) -> (Self, SubrequestHandle) {
        Self::begin(Parent {
            request: session.req_header(),
            digest: session.digest(),
            nested: session.as_subrequest().map_or(0, SessionSubrequest::nested),
            read_timeout: session.get_read_timeout(),
            write_timeout: session.get_write_timeout(),
            total_drain_timeout: session.get_total_drain_timeout(),
        })
    }
}
