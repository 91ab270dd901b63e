//! The machine beside the `h2` crate, both as servers: the same frames into both get the same verdicts,
//! answers and requests, but for the differences that are listed with their reasons.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../pingora-h2/tests/oracle/compare.rs"]
mod compare;
#[path = "../../pingora-h2/tests/oracle/frames.rs"]
mod frames;
#[path = "../../pingora-h2/tests/oracle/known.rs"]
mod known;

fuzz_target!(|input: Vec<(u8, u8, u8, &[u8])>| {
    let frame = |(kind, flags, style, content): &(u8, u8, u8, &[u8])| {
        frames::frame(*kind, *flags, *style, content)
    };
    let frames: Vec<_> = input.iter().map(frame).collect();
    if let Err(difference) = compare::compare(&frames) {
        let reason = known::reason(&difference);
        assert!(
            reason.is_some(),
            "frame {}: {difference:?}",
            difference.place
        );
    }
});
