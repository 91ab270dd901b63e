//! CRC-32C (Castagnoli), as RFC 9260 appendix A computes it.

/// The polynomial, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The effect of each byte on the remainder.
static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = remainder & 1;
            remainder = (remainder >> 1) ^ (carry * POLYNOMIAL);
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

/// The checksum of the concatenated pieces.
pub(super) fn crc32c<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let bytes = pieces.into_iter().flatten();
    !bytes.fold(u32::MAX, |remainder, byte| {
        let [low, ..] = remainder.to_le_bytes();
        let step = TABLE.get(usize::from(low ^ byte)).copied();
        (remainder >> 8) ^ step.unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        let rows: [(&[u8], u32); 4] = [
            (b"", 0),
            (b"123456789", 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
        ];
        for (bytes, expected) in rows {
            assert_eq!(crc32c([bytes]), expected, "{bytes:?}");
            let (one, other) = bytes.split_at(bytes.len() / 2);
            assert_eq!(crc32c([one, other]), expected, "in pieces");
        }
    }
}
