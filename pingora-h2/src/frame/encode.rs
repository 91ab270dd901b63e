//! Encodes frames. Each function appends one whole frame, except [`data_head`] and [`block`].

use super::{HEAD_LENGTH, LARGEST_MAX_FRAME_SIZE, Settings, StreamId, flag, kind};
use crate::error::Reason;

fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: StreamId) {
    out.extend_from_slice(&head_bytes(length, kind, flags, stream));
}

fn head_bytes(length: usize, kind: u8, flags: u8, stream: StreamId) -> [u8; HEAD_LENGTH] {
    debug_assert!(length <= LARGEST_MAX_FRAME_SIZE as usize);
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.get().to_be_bytes();
    [l0, l1, l2, kind, flags, s0, s1, s2, s3]
}

fn flag_if(condition: bool, flag: u8) -> u8 {
    if condition { flag } else { 0 }
}

/// The head of a DATA frame with `length` bytes, which the caller appends (section 6.1). `length` is
/// at most the peer's `SETTINGS_MAX_FRAME_SIZE`.
pub fn data_head(out: &mut Vec<u8>, stream: StreamId, length: usize, end_stream: bool) {
    let flags = flag_if(end_stream, flag::END_STREAM);
    head(out, length, kind::DATA, flags, stream);
}

/// Appends a field block: HEADERS, and as many CONTINUATION frames as it needs (sections 6.2 and
/// 6.10).
///
/// `write` appends the block itself to the buffer it is given, and nothing else. `max_frame_size`
/// is the peer's, in bytes; it is at least 16,384 on a connection.
pub fn block(
    out: &mut Vec<u8>,
    stream: StreamId,
    end_stream: bool,
    max_frame_size: u32,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_LENGTH]);
    write(out);
    let length = out.len().saturating_sub(start + HEAD_LENGTH);
    let most = (max_frame_size as usize).max(1);
    let end = flag_if(end_stream, flag::END_STREAM);
    let last = flag_if(length <= most, flag::END_HEADERS);
    let first = head_bytes(length.min(most), kind::HEADERS, end | last, stream);
    if let Some(place) = out.get_mut(start..start + HEAD_LENGTH) {
        place.copy_from_slice(&first);
    }
    if length > most {
        continue_block(out, start + HEAD_LENGTH + most, most, stream);
    }
}

/// Splits the bytes after `from` into CONTINUATION frames.
#[cold]
fn continue_block(out: &mut Vec<u8>, from: usize, most: usize, stream: StreamId) {
    let rest = out.split_off(from);
    let mut pieces = rest.chunks(most).peekable();
    while let Some(piece) = pieces.next() {
        let flags = flag_if(pieces.peek().is_none(), flag::END_HEADERS);
        head(out, piece.len(), kind::CONTINUATION, flags, stream);
        out.extend_from_slice(piece);
    }
}

/// RST_STREAM (section 6.4).
pub fn reset(out: &mut Vec<u8>, stream: StreamId, reason: Reason) {
    head(out, 4, kind::RST_STREAM, 0, stream);
    out.extend_from_slice(&u32::from(reason).to_be_bytes());
}

/// SETTINGS (section 6.5), with the values that are set.
pub fn settings(out: &mut Vec<u8>, settings: &Settings) {
    let length = settings.entries().count() * 6;
    head(out, length, kind::SETTINGS, 0, StreamId::CONNECTION);
    for (id, value) in settings.entries() {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// The acknowledgement of the peer's oldest SETTINGS.
pub fn settings_ack(out: &mut Vec<u8>) {
    head(out, 0, kind::SETTINGS, flag::ACK, StreamId::CONNECTION);
}

/// PING, or its answer (section 6.7).
pub fn ping(out: &mut Vec<u8>, ack: bool, payload: [u8; 8]) {
    let flags = flag_if(ack, flag::ACK);
    head(out, 8, kind::PING, flags, StreamId::CONNECTION);
    out.extend_from_slice(&payload);
}

/// GOAWAY (section 6.8). `debug` is for the peer's logs; at most 8 bytes less than its
/// `SETTINGS_MAX_FRAME_SIZE`.
pub fn go_away(out: &mut Vec<u8>, last: StreamId, reason: Reason, debug: &[u8]) {
    head(out, 8 + debug.len(), kind::GOAWAY, 0, StreamId::CONNECTION);
    out.extend_from_slice(&last.get().to_be_bytes());
    out.extend_from_slice(&u32::from(reason).to_be_bytes());
    out.extend_from_slice(debug);
}

/// WINDOW_UPDATE (section 6.9) by 1 to 2³¹−1 bytes.
pub fn window_update(out: &mut Vec<u8>, stream: StreamId, increment: u32) {
    debug_assert!((1..=super::LARGEST_WINDOW).contains(&increment));
    head(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// PRIORITY_UPDATE (RFC 9218 section 7.1) with a value as in the field `priority`. Clients only.
pub fn priority_update(out: &mut Vec<u8>, stream: StreamId, value: &[u8]) {
    let length = 4 + value.len();
    head(out, length, kind::PRIORITY_UPDATE, 0, StreamId::CONNECTION);
    out.extend_from_slice(&stream.get().to_be_bytes());
    out.extend_from_slice(value);
}
