//! Field names that are different ones, and that a server may take for the same.
//!
//! CGI hands a field to a program as a variable, with `_` for the hyphen, and so do most of its heirs (PHP, WSGI,
//! Rack; RFC 3875 section 4.1.18). Some do the same with every byte that is no letter or digit. So each byte of a
//! name that is neither counts as a hyphen here, and letters are the same in either case.

/// Whether a name has a byte that is neither a letter, a digit nor a hyphen.
#[inline]
pub fn has_odd_separators(name: &[u8]) -> bool {
    // Without an early exit: nearly all names are looked at to their end.
    name.iter().fold(false, |odd, &byte| odd | is_odd(byte))
}

#[inline]
fn is_odd(byte: u8) -> bool {
    ODD[usize::from(byte)]
}

/// A table, because these names are looked at in every request that came through another proxy.
static ODD: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = !(byte as u8).is_ascii_alphanumeric() && byte as u8 != b'-';
        byte += 1;
    }
    table
};

/// Whether two names are the same for those who tell neither upper from lower case nor one separator from
/// another.
///
/// ```
/// use pingora_http::grammar::is_taken_for;
///
/// assert!(is_taken_for(b"X_Forwarded.For", b"x-forwarded-for"));
/// assert!(!is_taken_for(b"XForwardedFor", b"x-forwarded-for"));
/// ```
#[inline]
pub fn is_taken_for(name: &[u8], other: &[u8]) -> bool {
    let plain = |byte: &u8| match *byte {
        byte if is_odd(byte) => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    name.len() == other.len() && name.iter().map(plain).eq(other.iter().map(plain))
}

/// The name in lower case with a hyphen for each separator: what it may be taken for.
pub fn with_hyphens(name: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::is_token_byte;

    #[test]
    fn every_separator_is_taken_for_a_hyphen() {
        for byte in (0..=u8::MAX).filter(|byte| is_token_byte(*byte)) {
            let name = [b'A', byte, b'b'];
            let separates = !byte.is_ascii_alphanumeric();
            assert_eq!(is_taken_for(&name, b"a-b"), separates, "{name:?}");
            assert_eq!(has_odd_separators(&name), separates && byte != b'-');
            let text = str::from_utf8(&name).unwrap();
            assert_eq!(with_hyphens(text) == "a-b", separates);
        }
        assert!(!is_taken_for(b"a-b", b"a-b-"));
        assert!(!is_taken_for(b"", b"-"));
    }
}
