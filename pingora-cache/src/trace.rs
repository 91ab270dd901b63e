//! Spans that record nothing: the storage's methods refer to them, and a tracer may replace them.

/// A time span that is not recorded.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Span;

impl Span {
    /// A span that is not recorded.
    pub fn inactive() -> Self {
        Span
    }

    /// A handle for making child spans.
    pub fn handle(&self) -> SpanHandle {
        SpanHandle
    }
}

/// A handle for making child spans.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SpanHandle;
