//! Spans around look-ups, hits and misses. These record nothing: they have the shape that tracers have, so that
//! storages and programs can pass them around.

use crate::CacheMeta;

pub use noop::*;

/// Describes the metadata of a response in a span.
pub fn tag_span_with_meta(span: &mut Span, meta: &CacheMeta) {
    span.set_tags(|| [Tag::new("fresh_sec", meta.fresh_sec())]);
}

/// Spans that record nothing and cost nothing.
pub mod noop {
    use std::time::SystemTime;

    /// A name and a value. Not recorded.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct Tag {
        _private: (),
    }

    impl Tag {
        /// A tag.
        pub fn new<N, V>(_name: N, _value: V) -> Self {
            Tag::default()
        }
    }

    /// The options of a span in the making.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct SpanOptionsPlaceholder {
        _private: (),
    }

    /// A time span. Not recorded.
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

        /// A span within this one.
        pub fn child<F>(&self, _name: &'static str, _f: F) -> Span
        where
            F: FnOnce(SpanOptionsPlaceholder) -> SpanOptionsPlaceholder,
        {
            Span
        }

        /// Adds a tag. The closure is not called.
        pub fn set_tag<F: FnOnce() -> Tag>(&self, _f: F) {}

        /// Adds several tags. The closure is not called.
        pub fn set_tags<F, I>(&self, _f: F)
        where
            F: FnOnce() -> I,
            I: IntoIterator<Item = Tag>,
        {
        }

        /// Sets when the span ended. The closure is not called.
        pub fn set_finish_time<F: Fn() -> SystemTime>(&self, _f: F) {}
    }

    /// A handle for making child spans.
    #[derive(Debug, Clone, Copy, Default)]
    #[non_exhaustive]
    pub struct SpanHandle;
}
