//! A queue of pieces of a body.

use bytes::Bytes;
use std::collections::VecDeque;

/// A queue of pieces of a body. Most bodies wait as one piece, which needs no memory here.
///
/// Bounded by its user.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Empty only if all are.
    first: Option<Bytes>,
    more: VecDeque<Bytes>,
}

impl Pieces {
    /// Whether there is no piece.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Appends a piece.
    #[inline]
    pub fn push_back(&mut self, piece: Bytes) {
        if self.first.is_none() {
            self.first = Some(piece);
        } else {
            self.more.push_back(piece);
        }
    }

    /// Takes the first piece.
    #[inline]
    pub fn pop_front(&mut self) -> Option<Bytes> {
        let piece = self.first.take()?;
        self.first = self.more.pop_front();
        Some(piece)
    }

    /// The first piece.
    #[inline]
    pub fn front_mut(&mut self) -> Option<&mut Bytes> {
        self.first.as_mut()
    }

    /// The last piece.
    #[inline]
    pub fn back_mut(&mut self) -> Option<&mut Bytes> {
        self.more.back_mut().or(self.first.as_mut())
    }

    /// Drops all pieces.
    pub fn clear(&mut self) {
        *self = Pieces::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same steps as with a queue that knows no special case.
    #[test]
    fn pieces_leave_in_the_order_in_which_they_came() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut pieces, mut expected) = (Pieces::default(), VecDeque::new());
        for step in 0..10_000_u32 {
            match random.u8(..8) {
                0..4 => {
                    let piece = Bytes::copy_from_slice(&step.to_be_bytes());
                    pieces.push_back(piece.clone());
                    expected.push_back(piece);
                }
                4..7 => assert_eq!(pieces.pop_front(), expected.pop_front()),
                _ if random.u8(..40) == 0 => {
                    pieces.clear();
                    expected.clear();
                }
                _ => {}
            }
            assert_eq!(pieces.is_empty(), expected.is_empty());
            assert_eq!(pieces.front_mut(), expected.front_mut());
            assert_eq!(pieces.back_mut(), expected.back_mut());
        }
    }
}
