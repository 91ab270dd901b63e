//! Bodies that are spliced.

use super::{Continue, HttpSession, Inner};
use crate::protocols::http::v1::splice::{SpliceSink, SpliceSource, plain};
use pingora_error::ErrorSource;

impl Inner {
    /// Whether this side of the connection needs to see the request's payload: for retries, or to
    /// count it.
    fn keeps_body(&self) -> bool {
        let to_come = self.decoder.remaining().unwrap_or(u64::MAX);
        let total = to_come.saturating_add(self.body_read as u64);
        let too_long = self.http1.max_body.is_some_and(|most| total > most);
        !self.upgraded && (self.options.keeps_copy() || too_long)
    }
}

impl HttpSession {
    /// The source for splicing the request's payload, if that is possible. For engines.
    pub fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        let inner = &mut *self.inner;
        let unsure = inner.continue_state == Continue::Owed;
        if inner.broken || unsure || !inner.input.is_empty() || inner.keeps_body() {
            return None;
        }
        Some(SpliceSource {
            stream: plain(&mut inner.io)?,
            bound: Some(&mut inner.decoder),
            received: &mut inner.body_read,
            broken: &mut inner.broken,
            side: ErrorSource::Downstream,
        })
    }

    /// The sink for splicing the response's payload, if that is possible. For engines.
    pub fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        let measured = self.inner.options.min_send_rate.is_some();
        if self.inner.broken || measured {
            return None;
        }
        let clear = !self.wants_flush();
        let inner = &mut *self.inner;
        Some(SpliceSink {
            stream: plain(&mut inner.io)?,
            bound: Some(&mut inner.encoder),
            sent: &mut inner.body_sent,
            clear,
            failed: &mut inner.broken,
            side: ErrorSource::Downstream,
        })
    }
}
