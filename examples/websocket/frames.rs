//! Frames of the WebSocket protocol (RFC 6455 section 5), as a server reads and writes them.

/// A frame whose payload is in the clear.
pub(super) struct Frame {
    /// Whether it is the last one of its message.
    pub(super) is_last: bool,
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// The longest accepted payload, in bytes.
const LIMIT: u64 = 64 * 1024;

/// The reason why a connection is closed: a close code (RFC 6455 section 7.4.1).
pub(super) struct Broken(pub(super) u16);

const PROTOCOL_ERROR: Broken = Broken(1002);
const TOO_LONG: Broken = Broken(1009);

/// Takes the first frame out of the data that a client has sent; `None` until all of it has
/// arrived.
pub(super) fn take(received: &mut Vec<u8>) -> Result<Option<Frame>, Broken> {
    let Some((&[first, second], rest)) = received.split_first_chunk() else {
        return Ok(None);
    };
    let (length, rest) = match second & 0x7f {
        126 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        short => (u64::from(short), rest),
    };
    let is_control = first & 0x08 != 0;
    let is_whole = first & 0x80 != 0;
    // Clients mask; no extension was negotiated; control frames are short and whole.
    if second & 0x80 == 0 || first & 0x70 != 0 || is_control && (length > 125 || !is_whole) {
        return Err(PROTOCOL_ERROR);
    }
    let length = usize::try_from(length.min(LIMIT + 1)).unwrap_or(usize::MAX);
    if length as u64 > LIMIT {
        return Err(TOO_LONG);
    }
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some(payload) = rest.get(..length) else {
        return Ok(None);
    };
    let unmasked = payload.iter().zip(mask.iter().cycle()).map(|(p, m)| p ^ m);
    let frame = Frame {
        is_last: is_whole,
        opcode: first & 0x0f,
        payload: unmasked.collect(),
    };
    let taken = received.len() - rest.len() + length;
    received.drain(..taken);
    Ok(Some(frame))
}

/// The bytes of a frame from a server, which does not mask.
pub(super) fn write(frame: &Frame) -> Vec<u8> {
    let last = if frame.is_last { 0x80 } else { 0 };
    let mut bytes = vec![last | frame.opcode];
    match frame.payload.len() {
        length @ ..126 => bytes.push(length as u8),
        length @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&frame.payload);
    bytes
}
