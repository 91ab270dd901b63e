//! The machine next to the `h2` crate, which has been in use for years: both receive the same
//! frames, as servers. `known` has to explain each difference. The fuzz target `http2_oracle`
//! explores further.
//!
//! `ORACLE_RUNS` sets how many random connections are tried.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "it is a test"
)]

mod compare;
mod frames;
mod known;

use std::collections::BTreeMap;

/// Random connections.
fn connection(random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let field: &[&[u8]] = &[
        b"\x00\x01x\x01y",
        b"\x40\x01x\x01y",
        b"\xbe",
        b"\x00\x01X\x01y",
        b"\x00\x03:aa\x01y",
        b"\x80",
        b"\x00\x0econtent-length\x013",
        b"\x00\x02te\x08trailers",
        b"\x00\x0aconnection\x05close",
        b"\x3f\xe1\x1f",
        b"\x00\x04\x80\x00\x00\x00",
        b"\x00\x05\x00\x00\x00\x00",
        b"\x7f\xff\xff\xff",
        b"\x20",
        b"\x85",
        b"\x00\x01x\x01\x00",
    ];
    let mut one = || {
        let content: Vec<u8> = if random.bool() {
            random.choice(field).unwrap().to_vec()
        } else {
            (0..random.usize(..10)).map(|_| random.u8(..)).collect()
        };
        let kind = if random.bool() {
            random.u8(..2)
        } else {
            random.u8(..12)
        };
        let flags = if random.bool() {
            random.u8(..2)
        } else {
            random.u8(..)
        };
        frames::frame(kind, flags, random.u8(..), &content)
    };
    (0..12).map(|_| one()).collect()
}

#[test]
fn random_connections_get_the_verdict_of_the_library() {
    let runs = std::env::var("ORACLE_RUNS").map_or(3_000, |runs| runs.parse().unwrap());
    let mut findings = BTreeMap::new();
    let mut agreed = 0;
    for seed in 0..runs {
        let frames = connection(&mut fastrand::Rng::with_seed(seed));
        match compare::compare(&frames) {
            Ok(_) => agreed += 1,
            Err(difference) if known::reason(&difference).is_some() => {}
            Err(difference) => {
                let key = format!(
                    "{} {:?} {:?}",
                    difference.frame[3], difference.ours.verdict, difference.theirs.verdict
                );
                findings.entry(key).or_insert((seed, difference));
            }
        }
    }
    eprintln!("{agreed} agreed");
    for (key, (seed, difference)) in &findings {
        eprintln!("seed {seed}: {key}: {difference:?}");
        for frame in connection(&mut fastrand::Rng::with_seed(*seed))
            .iter()
            .take(difference.place)
        {
            eprintln!("    {}", frame.escape_ascii());
        }
    }
    assert!(findings.is_empty());
}

/// Frames without END_HEADERS, the last of which cannot be decoded: we name that, while the library counts frames.
#[test]
fn a_long_block_that_cannot_be_decoded_has_either_verdict() {
    let frame = |kind: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        [&[0, 0, length, kind, 0, 0, 0, 0, 1], content].concat()
    };
    let mut block = vec![frame(1, &[0x99])];
    block.extend(vec![frame(9, &[0x99]); 5]);
    block.push(frame(9, &[0xff; 50]));
    let difference = compare::compare(&block).err().unwrap();
    let reason = known::reason(&difference);
    assert!(reason.is_some(), "{difference:?}");
    assert_ne!(difference.ours.verdict, difference.theirs.verdict);
}
