//! The Huffman code of strings (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length are consecutive, in the order of their symbols, so the
//! lengths define the whole code. The tables are generated from them at compile time.
//!
//! Decoding looks up 12 bits at a time, which are two letters or digits of most texts. Longer codes
//! (control characters, bytes from 0x80 on) and the last bits take the slow path, one comparison
//! per length.

use bytes::BytesMut;

/// Bits per table lookup.
const FAST_BITS: u32 = 12;
/// The longest code, in bits.
const LONGEST: usize = 30;
/// The end-of-string symbol, which no string may contain.
const EOS: usize = 256;

/// The code length of each byte and of EOS, in bits.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The codes of one length.
#[derive(Clone, Copy)]
struct Group {
    /// The smallest code.
    first: u32,
    /// The number of codes.
    count: u32,
    /// The index of the smallest code's symbol in [`Tables::symbols`].
    offset: u32,
}

/// The result of looking up 12 bits: up to two whole symbols.
#[derive(Clone, Copy)]
struct Step {
    symbols: [u8; 2],
    /// 0: a code of more than 12 bits.
    count: u8,
    bits: u8,
}

struct Tables {
    codes: [u32; 257],
    groups: [Group; LONGEST + 1],
    /// Sorted by length, then by code.
    symbols: [u16; 257],
}

const fn tables() -> Tables {
    let mut tables = Tables {
        codes: [0; 257],
        groups: [Group {
            first: 0,
            count: 0,
            offset: 0,
        }; LONGEST + 1],
        symbols: [0; 257],
    };
    let (mut length, mut code, mut place) = (1, 0, 0);
    while length <= LONGEST {
        code <<= 1;
        tables.groups[length].first = code;
        tables.groups[length].offset = place;
        let mut symbol = 0;
        while symbol <= EOS {
            if LENGTHS[symbol] as usize == length {
                tables.codes[symbol] = code;
                tables.symbols[place as usize] = symbol as u16;
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        tables.groups[length].count = place - tables.groups[length].offset;
        length += 1;
    }
    tables
}

static TABLES: Tables = tables();

/// The symbol that the `given` low bits of `bits` begin with, if all of its code is there.
const fn short_symbol(tables: &Tables, bits: u32, given: u32) -> Option<(u8, u32)> {
    let mut length = 5;
    while length <= given {
        let group = tables.groups[length as usize];
        let code = bits >> (given - length);
        if code >= group.first && code - group.first < group.count {
            let place = group.offset + code - group.first;
            return Some((tables.symbols[place as usize] as u8, length));
        }
        length += 1;
    }
    None
}

const fn steps() -> [Step; 1 << FAST_BITS] {
    let tables = tables();
    let mut steps = [Step {
        symbols: [0; 2],
        count: 0,
        bits: 0,
    }; 1 << FAST_BITS];
    let mut bits = 0;
    while bits < steps.len() as u32 {
        let step = &mut steps[bits as usize];
        if let Some((symbol, length)) = short_symbol(&tables, bits, FAST_BITS) {
            step.symbols[0] = symbol;
            step.count = 1;
            step.bits = length as u8;
            let left = FAST_BITS - length;
            let rest = bits & ((1 << left) - 1);
            if let Some((symbol, length)) = short_symbol(&tables, rest, left) {
                step.symbols[1] = symbol;
                step.count = 2;
                step.bits += length as u8;
            }
        }
        bits += 1;
    }
    steps
}

static STEPS: [Step; 1 << FAST_BITS] = steps();

/// The string is not valid Huffman code: it contains EOS, or its padding has 8 bits or more, or
/// contains a 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// Bits that were read but not decoded, starting at the highest one.
struct Window<'a> {
    bits: u64,
    /// The number of bits.
    have: u32,
    rest: &'a [u8],
}

impl Window<'_> {
    /// Fills up to 56 bits or more, as long as bytes are available.
    #[inline]
    fn refill(&mut self) {
        if let Some((next, _)) = self.rest.split_first_chunk::<8>() {
            self.bits |= u64::from_be_bytes(*next) >> self.have;
            let taken = (63 - self.have) / 8;
            self.rest = self.rest.get(taken as usize..).unwrap_or_default();
            self.have += taken * 8;
            return;
        }
        while let ([next, rest @ ..], true) = (self.rest, self.have <= 56) {
            self.bits |= u64::from(*next) << (56 - self.have);
            self.have += 8;
            self.rest = rest;
        }
    }

    #[inline]
    fn take(&mut self, bits: u32) {
        self.bits <<= bits;
        self.have -= bits;
    }

    #[inline]
    fn step(&self) -> Step {
        // 12 bits are always within the table.
        STEPS[(self.bits >> (64 - FAST_BITS)) as usize]
    }

    /// Decodes one symbol of any length. `None`: the remaining bits are valid padding.
    fn slow(&mut self) -> Result<Option<u8>, Invalid> {
        let window = (self.bits >> 32) as u32;
        for (length, group) in (0u32..).zip(&TABLES.groups).skip(5) {
            let code = window >> (32 - length);
            let place = code.wrapping_sub(group.first);
            if place >= group.count {
                continue;
            }
            if length > self.have {
                break;
            }
            self.take(length);
            let symbol = TABLES.symbols.get((group.offset + place) as usize);
            let byte = symbol.and_then(|&symbol| u8::try_from(symbol).ok());
            return byte.map(Some).ok_or(Invalid);
        }
        let ones = self.bits.leading_ones();
        if self.have < 8 && self.rest.is_empty() && ones >= self.have {
            Ok(None)
        } else {
            Err(Invalid)
        }
    }
}

/// Appends the text that `code` stands for.
///
/// # Errors
/// The code is invalid; the text that was decoded before the fault stays appended.
pub(super) fn decode(code: &[u8], out: &mut BytesMut) -> Result<(), Invalid> {
    let start = out.len();
    // The shortest codes have 5 bits. One more byte, because symbols are written in pairs.
    out.resize(start + code.len() * 8 / 5 + 2, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let mut window = Window {
        bits: 0,
        have: 0,
        rest: code,
    };
    let decoded = decode_into(&mut window, room);
    out.truncate(start + *decoded.as_ref().unwrap_or(&0));
    decoded.map(drop)
}

fn decode_into(window: &mut Window<'_>, room: &mut [u8]) -> Result<usize, Invalid> {
    let mut length = 0;
    loop {
        window.refill();
        let mut step = window.step();
        while step.count != 0 && u32::from(step.bits) <= window.have {
            let pair = room.get_mut(length..length + 2).ok_or(Invalid)?;
            pair.copy_from_slice(&step.symbols);
            length += usize::from(step.count);
            window.take(u32::from(step.bits));
            if window.have < FAST_BITS {
                break;
            }
            step = window.step();
        }
        if window.have < FAST_BITS && !window.rest.is_empty() {
            continue;
        }
        window.refill();
        let Some(byte) = window.slow()? else {
            return Ok(length);
        };
        *room.get_mut(length).ok_or(Invalid)? = byte;
        length += 1;
    }
}

/// The length of the text that [`encode`] produces for `text`, in bytes.
#[inline]
pub(super) fn encoded_length(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&byte| usize::from(length_of(byte))).sum();
    bits.div_ceil(8)
}

#[inline]
fn length_of(byte: u8) -> u8 {
    LENGTHS[usize::from(byte)]
}

/// Appends the code of `text`.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0u64, 0u32);
    for &byte in text {
        let length = u32::from(length_of(byte));
        bits = (bits << length) | u64::from(TABLES.codes[usize::from(byte)]);
        have += length;
        if have >= 32 {
            have -= 32;
            out.extend_from_slice(&((bits >> have) as u32).to_be_bytes());
        }
    }
    // The padding is the first bits of EOS, which are ones.
    let padding = have.next_multiple_of(8) - have;
    bits = (bits << padding) | ((1 << padding) - 1);
    have += padding;
    while have > 0 {
        have -= 8;
        out.push((bits >> have) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(code: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut out = BytesMut::from(&b"before"[..]);
        decode(code, &mut out)?;
        assert_eq!(&out[..6], b"before");
        Ok(out[6..].to_vec())
    }

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        encode(text, &mut out);
        assert_eq!(out.len(), encoded_length(text));
        out
    }

    /// Codes of appendix B: the first and last of some lengths.
    #[test]
    fn the_codes_are_those_of_the_rfc() {
        for (symbol, code, length) in [
            (b'0', 0x0, 5),
            (b't', 0x9, 5),
            (b' ', 0x14, 6),
            (b'u', 0x2d, 6),
            (b':', 0x5c, 7),
            (b'z', 0x7b, 7),
            (b'&', 0xf8, 8),
            (b'!', 0x3f8, 10),
            (b'\'', 0x7fa, 11),
            (b'#', 0xffa, 12),
            (0, 0x1ff8, 13),
            (b'^', 0x3ffc, 14),
            (b'<', 0x7ffc, 15),
            (b'\\', 0x7fff0, 19),
            (128, 0xfffe6, 20),
            (1, 0x7fffd8, 23),
            (9, 0xffffea, 24),
            (203, 0x7ffffde, 27),
            (249, 0xffffffe, 28),
            (10, 0x3ffffffc, 30),
            (22, 0x3ffffffe, 30),
        ] {
            assert_eq!(TABLES.codes[usize::from(symbol)], code, "{symbol}");
            assert_eq!(length_of(symbol), length, "{symbol}");
        }
        assert_eq!(TABLES.codes[EOS], 0x3fff_ffff);
    }

    #[test]
    fn every_pair_of_bytes_survives() {
        for a in 0..=255 {
            for b in 0..=255 {
                let text = [a, b, b'e', a];
                assert_eq!(decoded(&encoded(&text)).unwrap(), text);
            }
        }
    }

    #[test]
    fn random_texts_survive() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let ascii = random.bool();
            let text: Vec<u8> = (0..random.usize(..200))
                .map(|_| random.u8(..) & if ascii { 0x7f } else { 0xff })
                .collect();
            assert_eq!(decoded(&encoded(&text)).unwrap(), text);
        }
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones() {
        // "a" is 00011.
        assert_eq!(decoded(&[0b0001_1111]).unwrap(), b"a");
        for code in [
            &[0b0001_1110][..],
            &[0b0001_1011],
            &[0b0001_1000],
            &[0b0001_1111, 0xff],
            &[0xff],
            &[0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xff],
            // "?" has 10 bits; cut off behind the eighth.
            &[0xfe],
        ] {
            assert_eq!(decoded(code), Err(Invalid), "{code:?}");
        }
        assert_eq!(decoded(&[]).unwrap(), b"");
    }

    #[test]
    fn a_string_that_holds_eos_is_invalid() {
        for text in [&b""[..], b"a", b"abc", b"\x16\x16"] {
            // 30 ones after the text, then a valid symbol.
            let mut bits: Vec<bool> = vec![];
            let mut push = |code: u32, length: u8| {
                bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
            };
            for &byte in text {
                push(TABLES.codes[usize::from(byte)], length_of(byte));
            }
            push(0x3fff_ffff, 30);
            push(0x0, 5);
            bits.resize(bits.len().next_multiple_of(8), true);
            let bytes = bits.chunks(8);
            let code: Vec<u8> = bytes
                .map(|bits| bits.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit)))
                .collect();
            assert_eq!(decoded(&code), Err(Invalid), "{text:?}");
        }
    }

    /// Every accepted code is the only code of its text: there is no second spelling.
    #[test]
    fn what_is_decoded_encodes_to_the_same_bytes() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut accepted = 0;
        for _ in 0..200_000 {
            let code: Vec<u8> = (0..random.usize(1..6)).map(|_| random.u8(..)).collect();
            if let Ok(text) = decoded(&code) {
                assert_eq!(encoded(&text), code);
                accepted += 1;
            }
        }
        assert!(accepted > 1_000, "{accepted}");
    }
}
