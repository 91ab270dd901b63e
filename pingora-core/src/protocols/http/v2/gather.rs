//! Joins small pieces of a body.

use bytes::{Bytes, BytesMut};
use pingora_h2::Pieces;

/// A piece shorter than this, in bytes, is copied to join it with another.
///
/// Each piece becomes a DATA frame, and receivers count short ones: they treat many at once as an
/// attack and end the whole connection with `ENHANCE_YOUR_CALM`. The tiny pieces of one client must
/// not end a connection that others share.
pub(crate) const SHORT: usize = 1024;

/// Appends a piece to the queue; joins it with the last piece if both are short.
pub(crate) fn gather(queue: &mut Pieces, piece: Bytes) {
    match queue.back_mut() {
        Some(last) if last.len() < SHORT && piece.len() < SHORT => {
            let mut both = match std::mem::take(last).try_into_mut() {
                Ok(unshared) => unshared,
                Err(shared) => {
                    let mut copy = BytesMut::with_capacity(2 * SHORT);
                    copy.extend_from_slice(&shared);
                    copy
                }
            };
            both.extend_from_slice(&piece);
            *last = both.freeze();
        }
        _ => queue.push_back(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pieces_are_joined_and_long_ones_left_alone() {
        let rows: &[(&[usize], &[usize])] = &[
            (&[1], &[1]),
            (&[1, 1, 1], &[3]),
            (&[SHORT - 1, SHORT - 1], &[2 * SHORT - 2]),
            (&[SHORT - 1, SHORT - 1, 1], &[2 * SHORT - 2, 1]),
            (&[SHORT, 1], &[SHORT, 1]),
            (&[1, SHORT], &[1, SHORT]),
            (&[1; 5000], &[SHORT, SHORT, SHORT, SHORT, 5000 - 4 * SHORT]),
        ];
        for (pieces, expected) in rows {
            let whole: Bytes = (0..=255).cycle().take(8192).collect();
            let (mut queue, mut at) = (Pieces::default(), 0);
            for length in *pieces {
                gather(&mut queue, whole.slice(at..at + length));
                at += length;
            }
            let queue: Vec<_> = std::iter::from_fn(|| queue.pop_front()).collect();
            let lengths: Vec<_> = queue.iter().map(Bytes::len).collect();
            assert_eq!(lengths, *expected, "{pieces:?}");
            let joined: Vec<u8> = queue.into_iter().flatten().collect();
            assert_eq!(joined, whole[..at]);
        }
    }
}
