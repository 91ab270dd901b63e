//! The field `traceparent` (W3C Trace Context section 3.2). No I/O.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// Which trace a message belongs to, and which span it was sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    flags: u8,
}

/// The sender of the message may have recorded its span.
const SAMPLED: u8 = 1;
/// The id of the trace was drawn by chance, at least in its lower seven bytes.
const RANDOM: u8 = 2;
/// `00-` with 32, 16 and 2 digits.
const LENGTH: usize = 55;

impl TraceContext {
    /// A new trace, with ids by chance.
    pub fn begin(sampled: bool) -> Self {
        let trace_id = NonZeroU128::new(fastrand::u128(..)).unwrap_or(NonZeroU128::MIN);
        TraceContext {
            trace_id,
            span_id: random_span_id(),
            flags: RANDOM | if sampled { SAMPLED } else { 0 },
        }
    }

    /// Reads the field's value. Anything but what the specification allows is `None`: then a new trace is to
    /// be begun.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let version = hex(known.get(0..2)?)?;
        // Later versions may have more fields behind another dash (section 3.2.3).
        let ends_well = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let dashes = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
        if !ends_well || !dashes {
            return None;
        }
        let flags = u8::try_from(hex(known.get(53..55)?)?).ok()?;
        Some(TraceContext {
            trace_id: NonZeroU128::new(hex(known.get(3..35)?)?)?,
            span_id: NonZeroU64::new(u64::try_from(hex(known.get(36..52)?)?).ok()?)?,
            // The others mean nothing yet, and are not passed on.
            flags: flags & (SAMPLED | RANDOM),
        })
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> u128 {
        self.trace_id.get()
    }

    /// The id of the span.
    pub fn span_id(&self) -> u64 {
        self.span_id.get()
    }

    /// Whether the span is said to be recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same trace, from another span of it.
    pub(crate) fn with_span(self, span_id: u64) -> Self {
        let span_id = NonZeroU64::new(span_id).unwrap_or(NonZeroU64::MIN);
        TraceContext { span_id, ..self }
    }

    /// A span in the same trace, with an id by chance.
    pub(crate) fn child(self, sampled: bool) -> Self {
        TraceContext {
            span_id: random_span_id(),
            flags: self.flags & RANDOM | if sampled { SAMPLED } else { 0 },
            ..self
        }
    }

    /// A number from 0 up to 1 that is the same wherever this trace is seen.
    pub(crate) fn lot(&self) -> f64 {
        // The lower seven bytes are those that are random for sure (Level 2, section 3.2.2.3.2).
        let lower = self.trace_id.get() & ((1 << 56) - 1);
        lower as f64 / (1u64 << 56) as f64
    }
}

fn random_span_id() -> NonZeroU64 {
    NonZeroU64::new(fastrand::u64(..)).unwrap_or(NonZeroU64::MIN)
}

/// Lower-case digits only (section 3.2.2): at most 32 of them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

impl fmt::Display for TraceContext {
    /// As the value of `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceContext {
            trace_id,
            span_id,
            flags,
        } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn only_what_is_specified_is_taken() {
        let zeros = "0".repeat(32);
        for (value, taken) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), true),
            (format!("00-{TRACE}-{SPAN}-ff"), true),
            // Later versions, with more behind or not.
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-more"), true),
            (format!("cc-{TRACE}-{SPAN}-01more"), false),
            (format!("00-{TRACE}-{SPAN}-01-more"), false),
            (format!("00-{TRACE}-{SPAN}-01 "), false),
            (format!(" 00-{TRACE}-{SPAN}-01"), false),
            (format!("ff-{TRACE}-{SPAN}-01"), false),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), false),
            (format!("00-{zeros}-{SPAN}-01"), false),
            (format!("00-{TRACE}-{}-01", &zeros[..16]), false),
            (format!("00-{TRACE}-{SPAN}-1"), false),
            (format!("00-{TRACE}-{SPAN}"), false),
            (format!("00_{TRACE}_{SPAN}_01"), false),
            (format!("0-0{TRACE}-{SPAN}-01"), false),
            (format!("+0-{TRACE}-{SPAN}-01"), false),
            (String::new(), false),
            ("é".repeat(28), false),
        ] {
            let read = TraceContext::parse(value.as_bytes());
            assert_eq!(read.is_some(), taken, "{value}");
        }
    }

    #[test]
    fn what_is_read_is_written_again() {
        for (read, written) in [
            ("00-T-S-01", "00-T-S-01"),
            ("00-T-S-fc", "00-T-S-00"),
            ("9a-T-S-03-x", "00-T-S-03"),
        ] {
            let real = |text: &str| text.replace('T', TRACE).replace('S', SPAN);
            let context = TraceContext::parse(real(read).as_bytes()).unwrap();
            assert_eq!(context.to_string(), real(written));
            assert_eq!(context.span_id(), 0x00f0_67aa_0ba9_02b7);
        }
        let begun = TraceContext::begin(true);
        assert_eq!(
            TraceContext::parse(begun.to_string().as_bytes()),
            Some(begun)
        );
        assert!(begun.is_sampled() && !begun.child(false).is_sampled());
        assert_eq!(begun.child(true).trace_id(), begun.trace_id());
        assert!((0.0..1.0).contains(&begun.lot()));
    }
}
