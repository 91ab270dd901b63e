//! Which requests are traced, and by whose word.

use super::request::RequestTrace;
use super::spans::{self, Ending};
use super::{Baggage, SpanSink, TraceContext, TraceState};
use crate::Session;
use http::HeaderMap;
use pingora_core::protocols::l4::Networks;
use pingora_error::{Error, Result};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Traces the requests of a proxy. Cheap to clone.
///
/// - The fields `traceparent`, `tracestate` and `baggage` of a peer that is [trusted](Self::trusting) are taken over;
///   those of all others are removed, and so are broken ones. If there is none, a trace begins here.
/// - A share of the traces that begin here is [sampled](Self::sample); the rest are kept if the request failed or was
///   [slow](Self::keep_slower_than). The latter have no part with others, who were told that the trace is not sampled.
/// - A [sub-request](crate::subrequest) continues the trace of its parent.
#[derive(Clone)]
pub struct Tracing(Arc<Rules>);

#[derive(Clone)]
struct Rules {
    sink: Arc<dyn SpanSink>,
    trusted: Networks,
    share: f64,
    keep_errors: bool,
    slow: Option<Duration>,
}

impl Tracing {
    /// With spans for `sink`. By default, no peer is trusted, one trace in a hundred is sampled, requests that failed are
    /// kept.
    pub fn new(sink: Arc<dyn SpanSink>) -> Self {
        Tracing(Arc::new(Rules {
            sink,
            trusted: Networks::none(),
            share: 0.01,
            keep_errors: true,
            slow: None,
        }))
    }

    fn change(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Takes traces over from peers in these networks, their decision about sampling included.
    pub fn trusting(self, peers: Networks) -> Self {
        self.change(|rules| rules.trusted = peers)
    }

    /// Samples this share of the traces that begin here, from 0 to 1.
    pub fn sample(self, share: f64) -> Self {
        self.change(|rules| rules.share = share.clamp(0.0, 1.0))
    }

    /// Whether requests that failed (a status of 500 and above, or none at all) are kept if they are not sampled.
    pub fn keep_errors(self, keep: bool) -> Self {
        self.change(|rules| rules.keep_errors = keep)
    }

    /// Keeps requests that took longer, too.
    pub fn keep_slower_than(self, limit: Duration) -> Self {
        self.change(|rules| rules.slow = Some(limit))
    }

    /// Begins the request's span; belongs into [`early_request_filter`](crate::ProxyHttp::early_request_filter). The
    /// fields of the request are replaced: upstreams are told of the trace. Has the request's times recorded
    /// ([`Session::record_times`]).
    ///
    /// # Errors
    /// `InvalidHTTPHeader` if the fields can't be written, which does not happen.
    pub fn begin(&self, session: &mut Session) -> Result<RequestTrace> {
        session.record_times();
        let is_trusted = session.is_subrequest() || self.trusts(session);
        let fields = &session.req_header().headers;
        let parent = is_trusted.then(|| only_context(fields)).flatten();
        let mut state = TraceState::default();
        if parent.is_some() {
            state = TraceState::from_fields(fields).unwrap_or_default();
            state.shorten();
        }
        let baggage = is_trusted.then(|| Baggage::from_fields(fields)).flatten();
        let context = match parent {
            Some(parent) => parent.child(parent.is_sampled()),
            None => {
                let begun = TraceContext::begin(false);
                begun.child(begun.lot() < self.0.share)
            }
        };
        let parent = parent.map(|parent| parent.span_id());
        let trace = RequestTrace::new(context, parent, state, baggage.unwrap_or_default());
        trace.write_to(session.req_header_mut())?;
        Ok(trace)
    }

    fn trusts(&self, session: &Session) -> bool {
        let peer = session.client_addr().and_then(|peer| peer.as_inet());
        peer.is_some_and(|peer| self.0.trusted.contains(SocketAddr::ip(peer)))
    }

    /// Ends the request's span, and hands it and its children on if they are kept; belongs into
    /// [`logging`](crate::ProxyHttp::logging). A trace that is not kept costs nothing more. One that is kept becomes the
    /// example for the times that the request has added to the histograms of its listener
    /// ([`Histogram::exemplars`](pingora_core::metrics::Histogram::exemplars)).
    pub fn end(&self, trace: RequestTrace, session: &Session, error: Option<&Error>) {
        let status = session.response_written().map(|head| head.status);
        let failed = match status {
            Some(status) => status.is_server_error(),
            None => true,
        };
        let slow = self.0.slow.is_some_and(|limit| trace.elapsed() > limit);
        let kept = trace.context().is_sampled() || (failed && self.0.keep_errors) || slow;
        if kept {
            let error = error.map(|e: &Error| e.etype().as_str());
            let ending = Ending {
                status,
                failed,
                error,
            };
            session.meter.trace_kept(trace.context().trace_id());
            self.0.sink.take(spans::of(trace, session, &ending));
        }
    }
}

/// Two are as good as none: it is unknown which of them others read.
fn only_context(fields: &HeaderMap) -> Option<TraceContext> {
    let mut values = fields.get_all("traceparent").iter();
    match (values.next(), values.next()) {
        (Some(value), None) => TraceContext::parse(value.as_bytes()),
        _ => None,
    }
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("sink", &self.0.sink)
            .field("share", &self.0.share)
            .field("keep_errors", &self.0.keep_errors)
            .field("slow", &self.0.slow)
            .finish_non_exhaustive()
    }
}
