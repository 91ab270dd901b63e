//! Integers with a prefix (RFC 7541 section 5.1).

/// An integer over 2³²−1, or with more than five bytes after its prefix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// Reads an integer whose prefix is the low `prefix` bits (1 to 8) of the first byte. `None`: it is
/// cut off.
#[inline]
pub(super) fn decode(bytes: &[u8], prefix: u32) -> Result<Option<(u32, &[u8])>, Overflow> {
    let Some((first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let most = u8::MAX >> (8 - prefix);
    let value = first & most;
    if value < most {
        return Ok(Some((u32::from(value), rest)));
    }
    decode_rest(u64::from(most), rest)
}

fn decode_rest(mut value: u64, mut rest: &[u8]) -> Result<Option<(u32, &[u8])>, Overflow> {
    for shift in [0, 7, 14, 21, 28] {
        let Some((byte, behind)) = rest.split_first() else {
            return Ok(None);
        };
        rest = behind;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| Overflow)?;
            return Ok(Some((value, rest)));
        }
    }
    Err(Overflow)
}

/// Appends an integer; `flags` are the bits of the first byte above the prefix.
#[inline]
pub(super) fn encode(out: &mut Vec<u8>, flags: u8, prefix: u32, value: usize) {
    let most = u8::MAX >> (8 - prefix);
    if value < usize::from(most) {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | most);
    let mut value = value - usize::from(most);
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendix C.1.
    #[test]
    fn the_examples_of_the_rfc() {
        for (prefix, value, wire) in [
            (5, 10, &[0x0a][..]),
            (5, 1337, &[0x1f, 0x9a, 0x0a]),
            (8, 42, &[0x2a]),
        ] {
            let mut out = vec![];
            encode(&mut out, 0, prefix, value);
            assert_eq!(out, wire);
            assert_eq!(decode(wire, prefix), Ok(Some((value as u32, &[][..]))));
        }
    }

    #[test]
    fn integers_survive_behind_every_prefix() {
        let numbers = [
            0,
            1,
            30,
            31,
            32,
            126,
            127,
            128,
            254,
            255,
            256,
            16_383,
            1 << 20,
        ];
        for prefix in 1..=8 {
            for value in numbers.into_iter().chain([u32::MAX - 1, u32::MAX]) {
                let mut out = vec![];
                encode(&mut out, 0, prefix, value as usize);
                out.push(7);
                assert_eq!(decode(&out, prefix), Ok(Some((value, &[7][..]))));
                for cut in 0..out.len() - 1 {
                    assert_eq!(
                        decode(&out[..cut], prefix),
                        Ok(None),
                        "{value} cut at {cut}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_too_large_or_too_long_overflows() {
        for wire in [
            // 2³² with a prefix of 7 bits.
            &[0x7f, 0x81, 0xff, 0xff, 0xff, 0x0f][..],
            &[0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(decode(wire, 7), Err(Overflow), "{wire:x?}");
        }
        // Leading zeros are allowed as long as the integer is not too long.
        assert_eq!(
            decode(&[0x7f, 0x80, 0x80, 0x80, 0x00], 7),
            Ok(Some((127, &[][..])))
        );
    }
}
