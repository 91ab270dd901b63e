//! The known differences between the library and us, and their reasons. Any other difference is a
//! finding.

use crate::compare::{Difference, Verdict::*};

const PROTOCOL: u32 = 1;
const FLOW: u32 = 3;
const CLOSED: u32 = 5;
const SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

const CALM: u32 = 11;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const PRIORITY_UPDATE: u8 = 16;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// The reason for which a difference is acceptable; `None`: it is a finding.
pub(crate) fn reason(difference: &Difference) -> Option<&'static str> {
    let &[_, _, _, kind, flags, ..] = difference.frame.as_slice() else {
        return None;
    };
    let is_block = matches!(kind, HEADERS | CONTINUATION);
    let is_open = is_block && flags & END_HEADERS == 0;
    let Difference {
        in_block,
        was_reset,
        ..
    } = *difference;
    Some(
        match (&difference.ours.verdict, &difference.theirs.verdict) {
            _ if kind == PRIORITY_UPDATE => "RFC 9218 is not known to the library",
            (Connection(SIZE) | Stream(_, SIZE), Connection(PROTOCOL)) => {
                "section 4.2: a frame that lacks a part has the wrong size"
            }
            (Nothing, Connection(CALM)) if kind == CONTINUATION => {
                "a bound: the library takes fewer frames of one block"
            }
            (Connection(COMPRESSION), Connection(CALM)) if kind == CONTINUATION => {
                "the same, in a frame that cannot be decoded either"
            }
            (Connection(COMPRESSION), Nothing) if is_open => {
                "section 4.3: what cannot be decoded is told at once, not at the block's end"
            }
            (Connection(PROTOCOL), Nothing) if kind == SETTINGS => {
                "RFC 9218 section 2.1: the library does not know that setting, which is 0 or 1"
            }
            (Connection(PROTOCOL), Stream(_, PROTOCOL)) if kind == PRIORITY => {
                "section 6.4: a stream that was not opened cannot be reset"
            }
            (Stream(_, PROTOCOL), Connection(PROTOCOL)) if kind == WINDOW_UPDATE => {
                "section 6.9: an increment of 0 is an error of the stream that it is for"
            }
            (Stream(_, FLOW), Nothing) if kind == WINDOW_UPDATE => {
                "section 6.9.1: the library takes a window beyond the largest where it has nothing to send"
            }
            (Connection(COMPRESSION), Connection(PROTOCOL) | Stream(_, PROTOCOL)) if is_block => {
                "section 4.3: what cannot be decoded has a code of its own"
            }
            (Connection(PROTOCOL), Nothing | Stream(..)) if in_block => {
                "section 4.3: a block is not interrupted; the library forgets one that it has refused"
            }
            (Connection(PROTOCOL), Nothing | Stream(_, PROTOCOL)) if kind == HEADERS => {
                "section 5.1.1: a wrong number is an error of the connection, whatever it holds"
            }
            (Connection(PROTOCOL), Nothing | Stream(_, PROTOCOL)) if kind == PUSH_PROMISE => {
                "section 8.4: a client pushes nothing, whatever it holds"
            }
            (Stream(..), Connection(PROTOCOL)) if is_block => {
                "section 8.1.1: a malformed message is an error of its stream"
            }
            (Nothing, Connection(PROTOCOL) | Stream(_, PROTOCOL)) if is_open => {
                "the same, where the library does not wait for the block's end"
            }
            (Nothing, Connection(PROTOCOL)) if is_block && was_reset => {
                "section 5.1: what was on its way when its stream was reset is ignored"
            }
            (Stream(_, CLOSED), Stream(_, PROTOCOL)) if is_block => {
                "section 5.1: a block behind the end, for which the library has no code of its own"
            }
            (Stream(_, PROTOCOL), Nothing) if is_block => {
                "section 8.1: trailers hold no pseudo fields; RFC 9110 section 8.6: lengths are numbers"
            }
            (Stream(_, CLOSED), Connection(PROTOCOL)) if kind == DATA => {
                "section 5.1: data behind both ends is an error of its stream; the others go on"
            }
            (Stream(_, CLOSED), Nothing) if kind == DATA || is_block => {
                "section 5.1: the library ignores what comes behind the peer's own RST_STREAM"
            }
            (Connection(FLOW), Connection(PROTOCOL)) if kind == SETTINGS => {
                "section 6.5.2: an initial window over the largest has a code of its own"
            }
            (Nothing, Connection(PROTOCOL)) if kind == SETTINGS && flags & ACK != 0 => {
                "section 6.5.3 forbids no second acknowledgement; here it counts as a frame without use"
            }
            _ => return None,
        },
    )
}
