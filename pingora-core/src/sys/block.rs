//! Telling the bytes of a block apart, all at once.

/// So many bytes are looked at at once.
pub(crate) const BLOCK: usize = 16;

#[cfg(target_arch = "x86_64")]
pub(crate) use sse2::{no_name, no_value, no_word};

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use portable::{no_name, no_value, no_word};

/// With instructions that every processor of this architecture has. Each function has a bit for each byte
/// of the block, the first one's the lowest.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use super::BLOCK;
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_cmplt_epi8, _mm_loadu_si128,
        _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };

    #[inline(always)]
    fn load(block: &[u8; BLOCK]) -> __m128i {
        // SAFETY: the reference is valid for reads of 16 bytes, and the load needs no alignment. SSE2
        // is part of the architecture.
        unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
    }

    #[inline(always)]
    fn all(byte: u8) -> __m128i {
        // SAFETY: SSE2 is part of the architecture.
        unsafe { _mm_set1_epi8(byte.cast_signed()) }
    }

    #[inline(always)]
    fn bits(marked: __m128i) -> u32 {
        // SAFETY: as above.
        unsafe { _mm_movemask_epi8(marked) }.cast_unsigned()
    }

    #[inline(always)]
    fn either(a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_or_si128(a, b) }
    }

    #[inline(always)]
    fn is(bytes: __m128i, byte: u8) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_cmpeq_epi8(bytes, all(byte)) }
    }

    /// Compares with signs: what is beyond ASCII is less than everything.
    #[inline(always)]
    fn below(bytes: __m128i, byte: u8) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_cmplt_epi8(bytes, all(byte)) }
    }

    #[inline(always)]
    fn between(bytes: __m128i, first: u8, last: u8) -> __m128i {
        // SAFETY: as above.
        let from_first = unsafe { _mm_cmpgt_epi8(bytes, all(first - 1)) };
        // SAFETY: as above.
        unsafe { _mm_and_si128(from_first, below(bytes, last + 1)) }
    }

    /// Everything but printable ASCII and space.
    #[inline(always)]
    pub(crate) fn no_value(block: &[u8; BLOCK]) -> u32 {
        let bytes = load(block);
        bits(either(below(bytes, b' '), is(bytes, 0x7f)))
    }

    /// Everything but printable ASCII.
    #[inline(always)]
    pub(crate) fn no_word(block: &[u8; BLOCK]) -> u32 {
        let bytes = load(block);
        bits(either(below(bytes, b'!'), is(bytes, 0x7f)))
    }

    /// Everything but letters, digits, `-` and `_`.
    #[inline(always)]
    pub(crate) fn no_name(block: &[u8; BLOCK]) -> u32 {
        let bytes = load(block);
        let letters = between(either(bytes, all(0x20)), b'a', b'z');
        let digits = between(bytes, b'0', b'9');
        let dashes = either(is(bytes, b'-'), is(bytes, b'_'));
        bits(either(either(letters, digits), dashes)) ^ 0xffff
    }
}

/// The same, one by one.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::BLOCK;

    fn bits(block: &[u8; BLOCK], is_marked: impl Fn(u8) -> bool) -> u32 {
        let bytes = block.iter().enumerate();
        bytes.fold(0, |bits, (place, byte)| {
            bits | u32::from(is_marked(*byte)) << place
        })
    }

    pub(crate) fn no_value(block: &[u8; BLOCK]) -> u32 {
        bits(block, |byte| !matches!(byte, b' '..=b'~'))
    }

    pub(crate) fn no_word(block: &[u8; BLOCK]) -> u32 {
        bits(block, |byte| !byte.is_ascii_graphic())
    }

    pub(crate) fn no_name(block: &[u8; BLOCK]) -> u32 {
        bits(block, |byte| {
            !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_')
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_alike(block: &[u8; BLOCK]) {
        assert_eq!(no_value(block), portable::no_value(block), "{block:?}");
        assert_eq!(no_word(block), portable::no_word(block), "{block:?}");
        assert_eq!(no_name(block), portable::no_name(block), "{block:?}");
    }

    #[test]
    fn both_ways_of_looking_see_the_same() {
        for byte in 0..=u8::MAX {
            for place in 0..BLOCK {
                let mut block = [b'a'; BLOCK];
                block[place] = byte;
                assert_alike(&block);
                assert_alike(&[byte; BLOCK]);
            }
        }
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..10_000 {
            assert_alike(&std::array::from_fn(|_| random.u8(..)));
        }
    }
}
