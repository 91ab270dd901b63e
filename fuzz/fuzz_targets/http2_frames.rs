//! What may arrive as frames: the same ones however the bytes are cut, nothing kept that was read, no
//! panic.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pingora_h2::Error;
use pingora_h2::frame::{HEAD_LENGTH, Reader, ReaderLimits, Role};

const LIMITS: ReaderLimits = ReaderLimits {
    max_frame_size: 1 << 14,
    max_continuations: 4,
    max_block_bytes: 256,
};

fn read<'a>(role: Role, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<String, Error>> {
    let mut reader = Reader::new(role, LIMITS);
    let mut buffer = BytesMut::new();
    let mut results = vec![];
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match reader.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(frame)) => results.push(Ok(format!("{frame:?}"))),
                Err(error) => {
                    results.push(Err(error));
                    if error.is_connection() {
                        return results;
                    }
                }
            }
        }
        assert_eq!(reader.lent(), 0);
        assert!(buffer.len() < HEAD_LENGTH + LIMITS.max_frame_size as usize);
    }
    results
}

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (client, size, bytes) = input;
    let role = if client { Role::Client } else { Role::Server };
    let size = usize::from(size).max(1);
    let whole = read(role, std::iter::once(bytes));
    assert_eq!(whole, read(role, bytes.chunks(size)));
});
