//! Spans as messages of OTLP (opentelemetry-proto, `trace/v1`), in the format of protobuf. No I/O.

use pingora_proxy::trace::{Span, SpanKind, SpanValue};
use std::time::{SystemTime, UNIX_EPOCH};

/// `SpanKind` and `StatusCode` of the protocol.
const INTERNAL: u64 = 1;
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
const STATUS_ERROR: u64 = 2;

/// An `ExportTraceServiceRequest` with these spans, of a program with these facts.
pub(crate) fn request(resource: &[(String, String)], spans: &[Span]) -> Vec<u8> {
    let mut message = Message::default();
    message.nested(1, |resource_spans| {
        resource_spans.nested(1, |message| {
            for (key, value) in resource {
                message.nested(1, |attribute| {
                    attribute.text(1, key);
                    attribute.nested(2, |any| any.text_always(1, value));
                });
            }
        });
        resource_spans.nested(2, |scope_spans| {
            scope_spans.nested(1, |scope| {
                scope.text(1, env!("CARGO_PKG_NAME"));
                scope.text(2, env!("CARGO_PKG_VERSION"));
            });
            for span in spans {
                scope_spans.nested(2, |message| write_span(message, span));
            }
        });
    });
    message.0
}

fn write_span(message: &mut Message, span: &Span) {
    message.bytes(1, &span.trace_id.to_be_bytes());
    message.bytes(2, &span.span_id.to_be_bytes());
    message.text(3, &span.trace_state);
    if let Some(parent) = span.parent {
        message.bytes(4, &parent.to_be_bytes());
    }
    message.text(5, &span.name);
    let kind = match span.kind {
        SpanKind::Server => SERVER,
        SpanKind::Client => CLIENT,
        _ => INTERNAL,
    };
    message.number(6, kind);
    message.fixed64(7, nanoseconds(span.start));
    message.fixed64(8, nanoseconds(span.end));
    for (key, value) in &span.attributes {
        message.nested(9, |attribute| {
            attribute.text(1, key);
            attribute.nested(2, |any| write_value(any, value));
        });
    }
    if let Some(error) = &span.error {
        message.nested(15, |status| {
            status.text(2, error);
            status.number(3, STATUS_ERROR);
        });
    }
    // The flags of the trace, as they stand in `traceparent`.
    message.fixed32(16, span.sampled.into());
}

fn write_value(any: &mut Message, value: &SpanValue) {
    match value {
        SpanValue::Text(text) => any.text_always(1, text),
        SpanValue::Flag(flag) => any.number(2, (*flag).into()),
        SpanValue::Number(number) => any.number(3, number.cast_unsigned()),
        // There is no other kind; a later one is left out until it is known here.
        _ => {}
    }
}

/// Since 1970; a time before that is 1970.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Wire types of protobuf.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// A message of protobuf, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            // The lower seven bits, and that more follow.
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u64, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, value: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.tag(field, LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// Text that is empty is left out: that is the default.
    fn text(&mut self, field: u64, value: &str) {
        if !value.is_empty() {
            self.text_always(field, value);
        }
    }

    /// One of several kinds of a value: there even if it is empty.
    fn text_always(&mut self, field: u64, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    fn nested(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_groups_of_seven_bits() {
        for (value, bytes) in [
            (0, &[0][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (
                u64::MAX,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ] {
            let mut message = Message::default();
            message.varint(value);
            assert_eq!(message.0, bytes, "{value}");
        }
    }
}
