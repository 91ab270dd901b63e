//! The trace of one request, while it goes on.

use super::{Baggage, SpanValue, TraceContext, TraceState};
use crate::Session;
use pingora_error::Result;
use pingora_http::RequestHeader;
use std::borrow::Cow;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Most attributes of a program's own.
const MOST_ATTRIBUTES: usize = 32;
/// Most bytes of a value.
pub(super) const LONGEST_VALUE: usize = 1024;

/// The trace of one request; kept in the context of its phases. From [`Tracing::begin`](super::Tracing::begin).
#[derive(Debug)]
pub struct RequestTrace {
    context: TraceContext,
    pub(super) parent: Option<u64>,
    pub(super) state: TraceState,
    baggage: Baggage,
    pub(super) name: Option<Cow<'static, str>>,
    pub(super) attributes: Vec<(Cow<'static, str>, SpanValue)>,
    /// The same moment by two clocks.
    pub(super) begun: (Instant, SystemTime),
}

impl RequestTrace {
    pub(super) fn new(
        context: TraceContext,
        parent: Option<u64>,
        state: TraceState,
        baggage: Baggage,
    ) -> Self {
        RequestTrace {
            context,
            parent,
            state,
            baggage,
            name: None,
            attributes: Vec::new(),
            begun: (Instant::now(), SystemTime::now()),
        }
    }

    /// The trace, and the request's span in it: for logs, and for metrics' exemplars.
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// The state that other tracing systems keep with the trace.
    pub fn state(&self) -> &TraceState {
        &self.state
    }

    /// The baggage that a trusted peer has sent along.
    pub fn baggage(&self) -> &Baggage {
        &self.baggage
    }

    /// Names the request's span, best by the route that was taken, such as `GET /orders/{id}`. There should be few
    /// different ones. Default: the method.
    pub fn set_name(&mut self, name: impl Into<Cow<'static, str>>) {
        self.name = Some(name.into());
    }

    /// Adds a fact to the request's span: 32 at most, text is cut off at 1024 bytes.
    pub fn set_attribute(&mut self, key: &'static str, value: impl Into<SpanValue>) {
        if self.attributes.len() < MOST_ATTRIBUTES {
            self.attributes.push((key.into(), cut(value.into())));
        }
    }

    /// Tells an upstream of its try, so that its spans are children of that; belongs into
    /// [`upstream_request_filter`](crate::ProxyHttp::upstream_request_filter). Without it they are children of the
    /// request.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` if the field can't be written, which does not happen.
    pub fn begin_try(&self, session: &Session, request: &mut RequestHeader) -> Result<()> {
        let tries = session.times().map_or(0, |times| times.tries.len());
        let context = self.context.with_span(self.try_id(tries.saturating_sub(1)));
        request.insert_header("traceparent", context.to_string())
    }

    /// Writes the three fields into a request of the program's own, which is then a part of this one; what it has of
    /// them is replaced.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` if a field can't be written, which does not happen.
    pub fn write_to(&self, request: &mut RequestHeader) -> Result<()> {
        request.insert_header("traceparent", self.context.to_string())?;
        request.remove_header("tracestate");
        if !self.state.is_empty() {
            request.insert_header("tracestate", self.state.to_string())?;
        }
        request.remove_header("baggage");
        if !self.baggage.is_empty() {
            request.insert_header("baggage", self.baggage.to_string())?;
        }
        Ok(())
    }

    /// The id of the try with this number, from 0: known without being kept.
    pub(super) fn try_id(&self, number: usize) -> u64 {
        derived(self.context.span_id(), number as u64)
    }

    /// How long it has taken so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.0.elapsed()
    }

    /// The time of day at a moment.
    pub(super) fn time_at(&self, moment: Instant) -> SystemTime {
        let (instant, time) = self.begun;
        match moment.checked_duration_since(instant) {
            Some(later) => time + later,
            None => time - instant.saturating_duration_since(moment),
        }
    }
}

/// An id that follows from another one (the function of SplitMix64, which maps no two numbers to one).
pub(super) fn derived(id: u64, number: u64) -> u64 {
    let mut mixed = id.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).max(1)
}

/// Shortens text that is too long, between two characters.
pub(super) fn cut(value: SpanValue) -> SpanValue {
    match value {
        SpanValue::Text(text) if text.len() > LONGEST_VALUE => {
            SpanValue::Text(shortened(&text).to_string().into())
        }
        fits => fits,
    }
}

pub(super) fn shortened(text: &str) -> &str {
    let end = (0..=LONGEST_VALUE.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}
