//! Escapes data sent by a client, so that it can't look like anything else. Pure.

/// The maximum number of bytes logged of one value; three dots replace the rest.
const LONGEST: usize = 8192;

/// The ASCII bytes of a value that are written as `\xHH` in a text format, in addition to those that
/// always are.
pub(crate) type Special = [bool; 128];

/// The context of a value.
#[derive(Clone, Copy)]
pub(crate) enum Quoting<'a> {
    /// Between quotes in a text format.
    Quoted,
    /// Outside of quotes, where these bytes separate values.
    Bare(&'a Special),
    /// In a string of JSON.
    Json,
}

impl Quoting<'_> {
    /// Writes a value that consists of these parts, truncated if it is long.
    pub(crate) fn put_all(self, parts: &[&[u8]], out: &mut Vec<u8>) {
        if parts.iter().map(|part| part.len()).sum::<usize>() > LONGEST {
            return self.put(&parts.concat(), out);
        }
        for part in parts {
            self.put(part, out);
        }
    }

    /// Writes a value, truncated if it is long.
    pub(crate) fn put(self, value: &[u8], out: &mut Vec<u8>) {
        let (value, cut) = match value.get(..LONGEST) {
            Some(beginning) if value.len() > LONGEST => (beginning, true),
            _ => (value, false),
        };
        match self {
            Quoting::Json => put_json(value, out),
            Quoting::Quoted => put_text(value, |_| false, out),
            Quoting::Bare(special) => {
                let is_special = |byte: u8| special.get(usize::from(byte)).is_some_and(|s| *s);
                put_text(value, is_special, out);
            }
        }
        if cut {
            out.extend_from_slice(b"...");
        }
    }
}

fn hexadecimal(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'a' + (digit - 10),
    }
}

/// Control bytes, quotes, backslashes and all non-ASCII bytes become `\xHH`.
fn put_text(value: &[u8], special: impl Fn(u8) -> bool + Copy, out: &mut Vec<u8>) {
    // Nearly all values have nothing to escape.
    if all(value, |byte| is_plain(byte) & !special(byte)) {
        out.extend_from_slice(value);
        return;
    }
    for &byte in value {
        if is_plain(byte) && !special(byte) {
            out.push(byte)
        } else {
            out.extend([b'\\', b'x', hexadecimal(byte >> 4), hexadecimal(byte & 15)])
        }
    }
}

#[inline(always)]
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\')
}

/// Whether all bytes are so. Looks at many at once, which takes a fraction of the time where `is` has no branches.
#[inline]
pub(crate) fn all(bytes: &[u8], is: impl Fn(u8) -> bool + Copy) -> bool {
    const MANY: usize = 32;
    const SOME: usize = 8;
    if let Some(last) = bytes.last_chunk::<MANY>() {
        // The last ones overlap with those before them.
        let (pieces, _) = bytes.as_chunks::<MANY>();
        return pieces.iter().all(|piece| all_of(piece, is)) && all_of(last, is);
    }
    if let Some(last) = bytes.last_chunk::<SOME>() {
        let (pieces, _) = bytes.as_chunks::<SOME>();
        return pieces.iter().all(|piece| all_of(piece, is)) && all_of(last, is);
    }
    bytes.iter().all(|byte| is(*byte))
}

/// Without a branch for each byte.
#[inline(always)]
fn all_of<const N: usize>(bytes: &[u8; N], is: impl Fn(u8) -> bool) -> bool {
    bytes
        .iter()
        .fold(0, |others, byte| others | u8::from(!is(*byte)))
        == 0
}

/// UTF-8 is kept, except for characters that end lines or control terminals; invalid UTF-8 becomes
/// U+FFFD.
fn put_json(value: &[u8], out: &mut Vec<u8>) {
    // Nearly all values have nothing to escape.
    if all(value, is_plain) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend([b'\\', c as u8]),
                '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                    out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
                }
                _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(place: Quoting<'_>, value: &[u8]) -> String {
        let mut out = Vec::new();
        place.put(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// RUSTSEC-2025-0055: control bytes of a client reach the terminal that shows a log.
    #[test]
    fn a_value_can_end_neither_its_line_nor_its_place() {
        let mut special = [false; 128];
        special[usize::from(b' ')] = true;
        special[usize::from(b'|')] = true;
        let bare = Quoting::Bare(&special);
        // The value, and its form between quotes, bare, and in JSON.
        let rows: [(&[u8], &str, &str, &str); 8] = [
            (b"plain", "plain", "plain", "plain"),
            (b"a b|c", "a b|c", "a\\x20b\\x7cc", "a b|c"),
            (
                b"a\" 200 1",
                "a\\x22 200 1",
                "a\\x22\\x20200\\x201",
                "a\\\" 200 1",
            ),
            (
                b"\r\nGET",
                "\\x0d\\x0aGET",
                "\\x0d\\x0aGET",
                "\\u000d\\u000aGET",
            ),
            (b"\\x22", "\\x5cx22", "\\x5cx22", "\\\\x22"),
            (
                b"\x1b[2J\0\x7f",
                "\\x1b[2J\\x00\\x7f",
                "\\x1b[2J\\x00\\x7f",
                "\\u001b[2J\\u0000\\u007f",
            ),
            (
                "\u{e9}\u{85}\u{2028}".as_bytes(),
                "\\xc3\\xa9\\xc2\\x85\\xe2\\x80\\xa8",
                "\\xc3\\xa9\\xc2\\x85\\xe2\\x80\\xa8",
                "\u{e9}\\u0085\\u2028",
            ),
            (b"\xff\xc3", "\\xff\\xc3", "\\xff\\xc3", "\u{fffd}\u{fffd}"),
        ];
        for (value, quoted, unquoted, json) in rows {
            assert_eq!(put(Quoting::Quoted, value), quoted);
            assert_eq!(put(bare, value), unquoted);
            assert_eq!(put(Quoting::Json, value), json);
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = put(Quoting::Quoted, &vec![b'a'; 3 * LONGEST]);
        assert_eq!((long.len(), &long[LONGEST..]), (LONGEST + 3, "..."));
        assert_eq!(put(Quoting::Json, &vec![b'a'; LONGEST]).len(), LONGEST);
        let target = vec![b'a'; LONGEST];
        let mut whole = Vec::new();
        Quoting::Quoted.put_all(&[b"GET ", &target, b" HTTP/1.1"], &mut whole);
        assert_eq!(whole.len(), LONGEST + 3, "its parts are cut together");
    }

    #[test]
    fn a_byte_to_escape_is_found_wherever_it_stands() {
        for len in 1..70 {
            for at in 0..len {
                let mut value = vec![b'a'; len];
                value[at] = b'\n';
                let wanted = format!("{}\\x0a{}", "a".repeat(at), "a".repeat(len - at - 1));
                assert_eq!(put(Quoting::Quoted, &value), wanted);
                assert!(!all(&value, |byte| byte == b'a'));
            }
        }
    }
}
