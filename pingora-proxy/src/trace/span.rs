//! The record of a finished piece of work.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

/// A piece of work within a trace, complete.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Span {
    /// The trace that it belongs to.
    pub trace_id: u128,
    /// Its own id within the trace.
    pub span_id: u64,
    /// The span that it is a part of; `None` if the trace begins here.
    pub parent: Option<u64>,
    /// The other systems' part of the trace, as the value of `tracestate`; empty if there is none.
    pub trace_state: String,
    /// The kind of work.
    pub name: Cow<'static, str>,
    /// On which side of a connection it was done.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Facts, by the names of the OpenTelemetry conventions if those have one.
    pub attributes: Vec<(Cow<'static, str>, SpanValue)>,
    /// Why it counts as failed; `None` if it does not.
    pub error: Option<String>,
    /// Whether the trace was sampled at its beginning; otherwise it is kept for what became of the request.
    pub sampled: bool,
}

/// On which side of a connection a piece of work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpanKind {
    /// A request was answered.
    Server,
    /// A request was sent.
    Client,
    /// Neither: a part of one of these.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SpanValue {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// Whether something is the case.
    Flag(bool),
}

impl From<&'static str> for SpanValue {
    fn from(text: &'static str) -> Self {
        SpanValue::Text(text.into())
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        SpanValue::Text(text.into())
    }
}

impl From<i64> for SpanValue {
    fn from(number: i64) -> Self {
        SpanValue::Number(number)
    }
}

impl From<bool> for SpanValue {
    fn from(flag: bool) -> Self {
        SpanValue::Flag(flag)
    }
}

/// Takes the spans of requests that are over.
pub trait SpanSink: Send + Sync + fmt::Debug {
    /// Takes the spans of one request, the request's own first. Called by a worker: it must neither block nor wait, and
    /// drop what it has no room for.
    fn take(&self, spans: Vec<Span>);
}
