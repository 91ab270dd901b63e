//! The metrics of the process that each request updates.

use crate::Session;
use crate::failures::FaultSide;
use http::Version;
use pingora_core::metrics::{FailedSide, IncidentKind, RequestEnd, note_incident};
use pingora_core::protocols::http::ServerSession;
use pingora_error::Error;
use std::time::Duration;

impl Session {
    /// The request is over: counts it if it came in.
    #[inline]
    pub(crate) fn count_end(&mut self) {
        let downstream = &*self.downstream_session;
        let end = RequestEnd {
            // Of HTTP/1, 1.0 and 1.1 are counted as one.
            version: match downstream {
                ServerSession::H2(_) => Version::HTTP_2,
                ServerSession::H1(_) => Version::HTTP_11,
                other => other.req_header().line().version,
            },
            status: downstream.response_written().map(|head| head.line().status),
            received: downstream.body_bytes_read(),
            sent: downstream.body_bytes_sent(),
        };
        if let Some(took) = self.meter.end(&end) {
            self.note_slow(took);
        }
        if self.cache.was_enabled() {
            crate::cache::figures::count_request(self);
        }
    }

    #[cold]
    fn note_slow(&self, took: Duration) {
        if self.was_upgraded() {
            // A tunnel takes as long as it is used.
            return;
        }
        let status = self
            .response_written()
            .map_or(0, |head| head.status.as_u16());
        note_incident(IncidentKind::Slow, &self.name(), "", status, took);
    }

    /// The request has failed.
    #[cold]
    pub(crate) fn count_failure(&self, failure: FaultSide, error: &Error, status: u16) {
        let side = failure.side();
        self.meter.failed(side);
        if matches!(side, FailedSide::Upstream | FailedSide::Internal) {
            let (what, took) = (error.to_string(), self.meter.elapsed());
            note_incident(IncidentKind::Failed, &self.name(), &what, status, took);
        }
    }

    /// Method, host and path: nothing that is likely to contain secrets.
    pub(crate) fn name(&self) -> String {
        let line = self.req_header().line();
        let host = self.get_header_bytes("host");
        let (host, path) = (String::from_utf8_lossy(host), self.req_header().uri.path());
        format!("{} {host}{path}", line.method)
    }
}
