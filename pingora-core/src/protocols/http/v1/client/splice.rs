//! Bodies that are spliced.

use super::HttpSession;
use crate::protocols::http::v1::splice::{SpliceSink, SpliceSource, plain};
use pingora_error::ErrorSource;

impl HttpSession {
    /// The source for splicing the response's payload, if that is possible. For engines.
    pub fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        let inner = &mut *self.inner;
        if inner.broken || !inner.head_received || inner.done || !inner.input.is_empty() {
            return None;
        }
        Some(SpliceSource {
            stream: plain(&mut inner.io)?,
            bound: Some(&mut inner.decoder),
            received: &mut inner.body_received,
            broken: &mut inner.broken,
            side: ErrorSource::Upstream,
        })
    }

    /// The sink for splicing the request's payload, if that is possible. For engines.
    pub fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        if self.inner.write_closed {
            return None;
        }
        let clear = !self.wants_flush();
        let inner = &mut *self.inner;
        Some(SpliceSink {
            stream: plain(&mut inner.io)?,
            bound: Some(&mut inner.encoder),
            sent: &mut inner.body_sent,
            clear,
            failed: &mut inner.write_closed,
            side: ErrorSource::Upstream,
        })
    }
}
