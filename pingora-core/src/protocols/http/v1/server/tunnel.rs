//! The client's end of a tunnel whose bytes no filter looks at.

use super::super::faults;
use super::{Continue, HttpSession};
use crate::protocols::http::exchange::{Taker, TunnelSink, TunnelSource};
use pingora_error::{ErrorSource, Result};
use std::task::{Context, Poll, ready};

impl HttpSession {
    /// This end as a source of a tunnel, if its bytes may pass unseen. For engines.
    pub fn tunnel_source(&mut self) -> Option<&mut dyn TunnelSource> {
        let inner = &*self.inner;
        let ended = inner.broken || inner.decoder.is_done();
        let unsure = inner.continue_state == Continue::Owed;
        let passes = inner.upgraded && inner.input.is_empty() && !ended && !unsure;
        passes.then_some(self as &mut dyn TunnelSource)
    }

    /// This end as a sink of a tunnel, if its bytes may pass unseen. For engines.
    pub fn tunnel_sink(&mut self) -> Option<&mut dyn TunnelSink> {
        let inner = &*self.inner;
        let passes = inner.upgraded && !inner.broken && !inner.close_after_flush;
        passes.then_some(self as &mut dyn TunnelSink)
    }
}

impl TunnelSource for HttpSession {
    fn poll_lend(&mut self, cx: &mut Context<'_>, take: Taker<'_>) -> Poll<Result<usize>> {
        let inner = &mut *self.inner;
        Poll::Ready(
            match ready!(inner.input.poll_lend(&mut inner.io, cx, take)) {
                Ok(0) => inner
                    .decoder
                    .end_of_input()
                    .map(|()| 0)
                    .map_err(|fault| faults::bad_body(fault, ErrorSource::Downstream)),
                Ok(n) => {
                    inner.body_read += n;
                    Ok(n)
                }
                Err(error) => {
                    inner.broken = true;
                    Err(faults::read_failed(error, ErrorSource::Downstream))
                }
            },
        )
    }
}

impl TunnelSink for HttpSession {
    fn pass_on(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<()> {
        let inner = &mut *self.inner;
        inner.body_sent += bytes.len();
        match inner.out.poll_pass_on(&mut inner.io, cx, bytes) {
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(error)) => {
                inner.broken = true;
                inner.out.clear();
                Err(faults::write_failed(error, ErrorSource::Downstream))
            }
            Poll::Pending => match inner.poll_blocked(cx) {
                Poll::Ready(blocked) => blocked,
                Poll::Pending => Ok(()),
            },
        }
    }
}
