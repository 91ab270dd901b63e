//! The session as an engine sees it.

use super::Session;
use crate::process::memory;
use crate::protocols::http::HttpTask;
use crate::protocols::http::exchange::{
    DownstreamHalf, SpliceSink, SpliceSource, TunnelSink, TunnelSource,
};
use crate::timeout::{Deadline, Deadlines};
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{BError, Result};
use std::task::{Context, Poll};
use tokio::time::Instant;

impl DownstreamHalf for Session {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        each!(self, s => s.poll_read_body(cx))
    }

    fn body_done(&mut self) -> bool {
        each!(self, s => s.is_body_done())
    }

    fn awaits_continue(&self) -> bool {
        each!(self, s => s.is_continue_owed())
    }

    fn take_request_trailers(&mut self) -> Option<Box<HeaderMap>> {
        each!(self, s => s.take_trailers())
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        each!(self, s => s.poll_gone(cx))
    }

    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        match self {
            Session::H2(s) => s.poll_gone(cx),
            Session::Subrequest(s) => s.poll_gone(cx),
            _ => Poll::Pending,
        }
    }

    fn queue(&mut self, task: HttpTask) -> Result<()> {
        each!(self, s => s.queue_task(task))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        each!(self, s => s.poll_flush(cx))
    }

    fn wants_flush(&self) -> bool {
        each!(self, s => s.wants_flush())
    }

    fn queued(&self) -> usize {
        each!(self, s => s.queued())
    }

    fn discard_queued(&mut self) {
        Session::discard_queued(self);
    }

    #[inline]
    fn is_stalled(&self) -> bool {
        let by_client = match self {
            Session::H1(_) | Session::Subrequest(_) => false,
            Session::H2(s) => s.is_stalled(),
            Session::Custom(s) => s.is_stalled(),
        };
        by_client || memory::is_short() && self.queued() > 0
    }

    fn count_held(&mut self, upload_waits: bool) {
        match self {
            Session::H1(s) => s.count_held(),
            Session::H2(s) if upload_waits => s.count_upload(),
            Session::Custom(s) => s.count_held(upload_waits),
            _ => {}
        }
    }

    fn read_ahead(&self) -> usize {
        match self {
            Session::H2(s) => s.read_ahead(),
            Session::Custom(s) => s.read_ahead(),
            Session::H1(_) | Session::Subrequest(_) => usize::MAX,
        }
    }

    fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        of_connection!(self, s => s.splice_source(), None, c => c.splice_source())
    }

    fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        of_connection!(self, s => s.splice_sink(), None, c => c.splice_sink())
    }

    fn tunnel_source(&mut self) -> Option<&mut dyn TunnelSource> {
        of_connection!(self, s => s.tunnel_source(), None)
    }

    fn tunnel_sink(&mut self) -> Option<&mut dyn TunnelSink> {
        of_connection!(self, s => s.tunnel_sink(), None)
    }

    fn poll_alarm(
        &mut self,
        cx: &mut Context<'_>,
        deadlines: &Deadlines,
        now: Instant,
    ) -> Poll<Deadline> {
        match self {
            Session::H1(s) => s.alarm().poll_expired(cx, deadlines, now),
            Session::H2(s) => s.alarm().poll_expired(cx, deadlines, now),
            Session::Subrequest(s) => s.alarm().poll_expired(cx, deadlines, now),
            Session::Custom(s) => s.poll_alarm(cx, deadlines, now),
        }
    }

    fn poll_reached(&mut self, cx: &mut Context<'_>, at: Instant, now: Instant) -> Poll<()> {
        match self {
            Session::H1(s) => s.alarm().poll_reached(cx, at, now),
            Session::H2(s) => s.alarm().poll_reached(cx, at, now),
            Session::Subrequest(s) => s.alarm().poll_reached(cx, at, now),
            Session::Custom(s) => s.poll_reached(cx, at, now),
        }
    }
}
