//! Spans that record nothing: the storage's methods name them, and a tracer may take their place.

/// A span of time that nobody records.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Span;

impl Span {
    /// A span that nobody records.
    pub fn inactive() -> Self {
        Span
    }

    /// What child spans are made from.
    pub fn handle(&self) -> SpanHandle {
        SpanHandle
    }
}

/// What child spans are made from.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SpanHandle;
