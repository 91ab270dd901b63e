//! BLAKE2b (RFC 7693) with a digest of 16 bytes: what turns a key into a [`HashBinary`](crate::key::HashBinary).
//!
//! A key holds what clients send. With a weak digest a client could find two keys with one digest, and have one
//! response served instead of the other, so the digest is a cryptographic one. Without a secret, because an
//! entry on disk has to be found by the next process too.

const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// The order of a block's words in each round; the last two rounds repeat the first two.
const SIGMA: [[usize; 16]; 12] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
];

const BLOCK: usize = 128;

/// A round, written out, so that every index is a constant: in a loop they would be looked up and checked.
macro_rules! round {
    ($v:ident, $words:ident, $round:literal) => {
        let m = |at: usize| $words[SIGMA[$round][at]];
        mix(&mut $v, [0, 4, 8, 12], m(0), m(1));
        mix(&mut $v, [1, 5, 9, 13], m(2), m(3));
        mix(&mut $v, [2, 6, 10, 14], m(4), m(5));
        mix(&mut $v, [3, 7, 11, 15], m(6), m(7));
        mix(&mut $v, [0, 5, 10, 15], m(8), m(9));
        mix(&mut $v, [1, 6, 11, 12], m(10), m(11));
        mix(&mut $v, [2, 7, 8, 13], m(12), m(13));
        mix(&mut $v, [3, 4, 9, 14], m(14), m(15));
    };
}

macro_rules! for_each_round {
    ($round:ident, $v:ident, $words:ident, $($number:literal)*) => {
        $($round!($v, $words, $number);)*
    };
}

/// A digest in the making.
#[derive(Debug, Clone)]
pub(crate) struct Digest {
    state: [u64; 8],
    block: [u8; BLOCK],
    filled: usize,
    compressed: u128,
}

impl Digest {
    /// A digest of 16 bytes.
    pub(crate) fn new() -> Self {
        Digest::of_length(16)
    }

    fn of_length(length: u8) -> Self {
        let mut state = IV;
        state[0] ^= 0x0101_0000 ^ u64::from(length);
        Digest {
            state,
            block: [0; BLOCK],
            filled: 0,
            compressed: 0,
        }
    }

    /// Adds bytes. In how many pieces they come makes no difference.
    #[allow(
        clippy::indexing_slicing,
        reason = "`filled` is at most the length of the block"
    )]
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == BLOCK {
                self.compressed += BLOCK as u128;
                self.compress(false);
                self.filled = 0;
            }
            let taken = bytes.len().min(BLOCK - self.filled);
            let (now, later) = bytes.split_at(taken);
            self.block[self.filled..self.filled + taken].copy_from_slice(now);
            self.filled += taken;
            bytes = later;
        }
    }

    /// Adds bytes and their length, so that no other sequence of parts gives the same input.
    pub(crate) fn update_part(&mut self, bytes: &[u8]) {
        self.update(&(bytes.len() as u64).to_le_bytes());
        self.update(bytes);
    }

    /// The first 16 bytes of the digest.
    pub(crate) fn finish(self) -> [u8; 16] {
        let [first, second, ..] = self.finish_words();
        (u128::from(first) | u128::from(second) << 64).to_le_bytes()
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "`filled` is at most the length of the block"
    )]
    fn finish_words(mut self) -> [u64; 8] {
        self.compressed += self.filled as u128;
        self.block[self.filled..].fill(0);
        self.compress(true);
        self.state
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "all indices are constants below the lengths"
    )]
    fn compress(&mut self, last: bool) {
        let mut words = [0u64; 16];
        for (word, bytes) in words.iter_mut().zip(self.block.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let mut v = [0u64; 16];
        v[..8].copy_from_slice(&self.state);
        v[8..].copy_from_slice(&IV);
        v[12] ^= self.compressed as u64;
        v[13] ^= (self.compressed >> 64) as u64;
        if last {
            v[14] = !v[14];
        }
        for_each_round!(round, v, words, 0 1 2 3 4 5 6 7 8 9 10 11);
        for at in 0..8 {
            self.state[at] ^= v[at] ^ v[at + 8];
        }
    }
}

#[inline(always)]
#[allow(
    clippy::indexing_slicing,
    reason = "the callers' indices are constants below 16"
)]
fn mix(v: &mut [u64; 16], [a, b, c, d]: [usize; 4], x: u64, y: u64) {
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
    v[d] = (v[d] ^ v[a]).rotate_right(32);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(24);
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
    v[d] = (v[d] ^ v[a]).rotate_right(16);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(63);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn digest(length: u8, bytes: &[u8]) -> String {
        let mut digest = Digest::of_length(length);
        digest.update(bytes);
        let length = usize::from(length);
        let words = digest.finish_words();
        hex(&words.map(u64::to_le_bytes).concat()[..length])
    }

    /// RFC 7693 appendix A.
    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(
            digest(64, b"abc"),
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1\
             7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
        );
    }

    /// RFC 7693 appendix E: digests of all lengths of input and output, digested.
    #[test]
    fn the_self_test_of_the_rfc() {
        fn sequence(length: usize, seed: u32) -> Vec<u8> {
            let mut a = 0xdead_4badu32.wrapping_mul(seed);
            let mut b = 1u32;
            (0..length)
                .map(|_| {
                    let t = a.wrapping_add(b);
                    a = b;
                    b = t;
                    (t >> 24) as u8
                })
                .collect()
        }
        let mut all = Digest::of_length(32);
        for out in [20u8, 32, 48, 64] {
            for input in [0usize, 3, 128, 129, 255, 1024] {
                let bytes = sequence(input, input as u32);
                let mut plain = Digest::of_length(out);
                plain.update(&bytes);
                let words = plain.finish_words().map(u64::to_le_bytes).concat();
                all.update(&words[..usize::from(out)]);
                let key = sequence(usize::from(out), u32::from(out));
                let mut keyed = Digest::of_length(out);
                keyed.state[0] ^= u64::from(out) << 8;
                let mut block = [0; BLOCK];
                block[..key.len()].copy_from_slice(&key);
                keyed.update(&block);
                keyed.update(&bytes);
                let words = keyed.finish_words().map(u64::to_le_bytes).concat();
                all.update(&words[..usize::from(out)]);
            }
        }
        let words = all.finish_words().map(u64::to_le_bytes).concat();
        assert_eq!(
            hex(&words[..32]),
            "c23a7800d98123bd10f506c61e29da5603d763b8bbad2e737f5e765a7bccd475"
        );
    }

    #[test]
    fn pieces_make_no_difference() {
        let bytes: Vec<u8> = (0..1000u32).map(|at| at as u8).collect();
        for size in [1, 7, 127, 128, 129, 999] {
            let mut pieces = Digest::new();
            bytes.chunks(size).for_each(|piece| pieces.update(piece));
            let mut whole = Digest::new();
            whole.update(&bytes);
            assert_eq!(pieces.finish(), whole.finish(), "{size}");
        }
    }
}
