//! How much a coded body may grow. Pure.

/// How much a body may grow when it is decompressed: a few kilobytes may stand for gigabytes.
///
/// Independent of the limits, no more than 16 MiB are made of one piece of a response (pieces have up to
/// 64 KiB): that much memory a stream may take for a moment, besides its decoder's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecompressionLimits {
    size: u64,
    ratio: u64,
    piece: u64,
}

/// Bytes that are allowed whatever the ratio says: the beginnings of bodies are the most regular.
const FLOOR: u64 = 64 * 1024;

const PIECE: u64 = 16 * 1024 * 1024;

impl DecompressionLimits {
    /// At most `size` bytes in total, and `ratio` times the bytes that came in. (A body of up to 64 KiB
    /// may have any ratio.)
    pub const fn new(size: u64, ratio: u64) -> Self {
        DecompressionLimits {
            size,
            ratio,
            piece: u64::MAX,
        }
    }

    /// One piece is bounded, the body is not.
    pub(super) const fn of_responses() -> Self {
        DecompressionLimits {
            size: u64::MAX,
            ratio: u64::MAX,
            piece: PIECE,
        }
    }

    /// With a bound of each piece as well.
    pub(crate) const fn in_pieces(self) -> Self {
        DecompressionLimits {
            piece: PIECE,
            ..self
        }
    }

    /// How many bytes may be given out now, when `taken` came in so far and `given` went out.
    pub(super) fn room(&self, taken: u64, given: u64) -> u64 {
        let by_ratio = self.ratio.saturating_mul(taken).max(FLOOR);
        let total = self.size.min(by_ratio);
        total.saturating_sub(given).min(self.piece)
    }
}

impl Default for DecompressionLimits {
    /// 16 MiB, and a hundred times the bytes that came in. Text rarely reaches a ratio of 30.
    fn default() -> Self {
        DecompressionLimits::new(16 * 1024 * 1024, 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_bound_counts() {
        let mebi = 1024 * 1024;
        for (limits, taken, given, room) in [
            (DecompressionLimits::new(1000, 10), 10, 0, 1000),
            (DecompressionLimits::new(1000, 10), 10, 999, 1),
            (DecompressionLimits::new(1000, 10), 10, 2000, 0),
            (DecompressionLimits::new(10 * mebi, 10), 0, 0, FLOOR),
            (
                DecompressionLimits::new(10 * mebi, 10),
                mebi / 2,
                mebi,
                4 * mebi,
            ),
            (
                DecompressionLimits::new(u64::MAX, u64::MAX),
                u64::MAX,
                5,
                u64::MAX - 5,
            ),
            (DecompressionLimits::of_responses(), 1, 1 << 40, 16 * mebi),
            (DecompressionLimits::new(1000, 10).in_pieces(), 10, 0, 1000),
        ] {
            assert_eq!(
                limits.room(taken, given),
                room,
                "{limits:?} {taken} {given}"
            );
        }
    }
}
