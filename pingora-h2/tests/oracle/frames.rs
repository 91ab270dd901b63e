//! Builds frames with few faults at a time out of arbitrary bytes.

/// `:method: GET`, `:scheme: https`, `:authority: a.test`, `:path: /`.
pub(crate) const GET: &[u8] = b"\x82\x87\x41\x06a.test\x84";

/// A frame. `style` selects the stream, and the properties of the frame that are made valid.
pub(crate) fn frame(kind: u8, flags: u8, style: u8, content: &[u8]) -> Vec<u8> {
    let kind = match kind % 12 {
        // A type that the library does not know, and one that is not assigned.
        10 => 16,
        11 => 0x42,
        known => known,
    };
    let connection = matches!(kind, 4 | 6 | 7 | 16) || kind == 8 && style & 0x10 > 0;
    let mut stream = u32::from(style % 12);
    let mut payload = content.to_vec();
    let mut flags = flags;
    if style < 0xe0 {
        if connection {
            stream = 0;
        }
        match kind {
            1 if style & 0x10 == 0 => {
                payload.splice(..0, GET.iter().copied());
                flags &= 0x05;
                stream |= 1;
            }
            2 => payload.resize(5, 0),
            3 | 8 => payload.resize(4, 1),
            4 => {
                flags &= !1;
                payload.resize(content.len() / 6 * 6, 0);
            }
            6 => payload.resize(8, 0),
            7 => payload.resize(payload.len().max(8), 0),
            _ => {}
        }
        if kind == 1 {
            flags |= 4;
        }
    }
    let length = (payload.len() as u32).to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}
