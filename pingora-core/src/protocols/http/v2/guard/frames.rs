//! Finding the heads of frames in a stream of bytes (RFC 9113 section 4.1).

/// Bytes of a frame's head.
const HEAD: usize = 9;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// Bytes of payload.
    pub(crate) length: u32,
    /// The type; see [`kind`].
    pub(crate) kind: u8,
    /// The flags, whose meaning depends on the type.
    pub(crate) flags: u8,
    /// The stream; 0 for the connection.
    pub(crate) stream: u32,
}

/// Types of frames (RFC 9113 section 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
}

/// The stream, or the settings, end with this frame: `END_STREAM` of DATA and HEADERS, `ACK` of
/// SETTINGS and PING.
pub(crate) const END_OR_ACK: u8 = 1;

/// Finds heads in pieces of any size, skipping payloads.
#[derive(Debug, Clone)]
pub(crate) struct FrameScanner {
    head: [u8; HEAD],
    have: usize,
    skip: usize,
}

impl FrameScanner {
    /// For a direction of which the first `preface` bytes are no frame.
    pub(crate) fn new(preface: usize) -> Self {
        FrameScanner {
            head: [0; HEAD],
            have: 0,
            skip: preface,
        }
    }

    /// Takes in what follows, and gives each head that is complete with it to `found`, which may
    /// end the scan with an error.
    #[inline]
    pub(crate) fn scan<E>(
        &mut self,
        mut bytes: &[u8],
        mut found: impl FnMut(FrameHead) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = bytes.get(n..).unwrap_or_default();
                continue;
            }
            let (Some(room), n) = (
                self.head.get_mut(self.have..),
                bytes.len().min(HEAD - self.have),
            ) else {
                return Ok(());
            };
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.have += n;
            bytes = bytes.get(n..).unwrap_or_default();
            if self.have == HEAD {
                self.have = 0;
                let head = parse(self.head);
                self.skip = head.length as usize;
                found(head)?;
            }
        }
        Ok(())
    }
}

fn parse([a, b, c, kind, flags, w, x, y, z]: [u8; HEAD]) -> FrameHead {
    FrameHead {
        length: u32::from_be_bytes([0, a, b, c]),
        kind,
        flags,
        // The first bit is reserved.
        stream: u32::from_be_bytes([w & 0x7f, x, y, z]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn heads_are_found_however_the_bytes_are_cut() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[0; 6]));
        bytes.extend(frame(kind::HEADERS, 5, 1, &[7; 300]));
        bytes.extend(frame(kind::DATA, 1, 1, b""));
        bytes.extend(frame(0x77, 0xff, 0xffff_ffff, &[1]));
        let head = |length, kind, flags, stream| FrameHead {
            length,
            kind,
            flags,
            stream,
        };
        let expected = [
            head(6, 4, 0, 0),
            head(300, kind::HEADERS, 5, 1),
            head(0, kind::DATA, 1, 1),
            head(1, 0x77, 0xff, 0x7fff_ffff),
        ];
        for size in [1, 2, 3, 8, 9, 10, 24, 25, 1000] {
            let mut scanner = FrameScanner::new(24);
            let mut heads = vec![];
            for piece in bytes.chunks(size) {
                let scanned = scanner.scan(piece, |head| {
                    heads.push(head);
                    Ok::<_, ()>(())
                });
                assert_eq!(scanned, Ok(()));
            }
            assert_eq!(heads, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_error_ends_the_scan() {
        let bytes = [frame(6, 0, 0, &[0; 8]), frame(6, 0, 0, &[0; 8])].concat();
        let mut seen = 0;
        let scanned = FrameScanner::new(0).scan(&bytes, |_| {
            seen += 1;
            Err("enough")
        });
        assert_eq!((scanned, seen), (Err("enough"), 1));
    }
}
