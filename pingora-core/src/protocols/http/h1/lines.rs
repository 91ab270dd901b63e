//! Splits heads in the usual form into their parts in one pass.
//!
//! This is only a fast path: a head that is not of the plainest form is left to the tokeniser, which also
//! finds the fault if there is one. A head that passes here has the same meaning there; a test compares
//! the two.

use super::head::{Field, NotPlain, RequestLine, StatusLine, version};
use crate::sys::block::{BLOCK, no_name, no_value, no_word};
use pingora_http::grammar::status_code;

/// The fields of a head, line by line; the last one has to be followed by the empty line, and that by
/// nothing.
#[derive(Debug)]
pub(super) struct PlainFields<'b> {
    rest: &'b [u8],
    /// The length of the head.
    whole: usize,
    /// The number of fields that may still follow.
    most: usize,
}

/// Splits off `METHOD target HTTP/1.x`, and the fields after it, at most `most`.
#[inline]
pub(super) fn request<'b>(
    head: &'b [u8],
    most: usize,
) -> Option<(RequestLine<'b>, PlainFields<'b>)> {
    let (method, rest) = cut(head, no_word);
    let rest = rest.strip_prefix(b" ")?;
    let (target, rest) = cut(rest, no_word);
    let (minor, rest) = minor_version(rest.strip_prefix(b" ")?)?;
    let rest = rest.strip_prefix(b"\r\n")?;
    let line = RequestLine {
        method,
        target,
        version: version(minor),
    };
    let is_whole = !method.is_empty() && !target.is_empty();
    is_whole.then_some((line, PlainFields::new(head, rest, most)))
}

/// Splits off `HTTP/1.x code reason`, and the fields after it, at most `most`.
#[inline]
pub(super) fn response<'b>(
    head: &'b [u8],
    most: usize,
) -> Option<(StatusLine<'b>, PlainFields<'b>)> {
    let (minor, rest) = minor_version(head)?;
    let rest = rest.strip_prefix(b" ")?;
    let (code, rest) = rest.split_first_chunk::<3>()?;
    let code = status_code(code)?;
    let rest = rest.strip_prefix(b" ")?;
    let (reason, rest) = cut(rest, no_value);
    let rest = rest.strip_prefix(b"\r\n")?;
    let line = StatusLine {
        version: version(minor),
        code,
        reason: str::from_utf8(reason).ok()?,
    };
    // The tokeniser decides whether a space is part of the reason.
    let is_plain = !reason.starts_with(b" ") && !reason.ends_with(b" ");
    is_plain.then_some((line, PlainFields::new(head, rest, most)))
}

#[inline]
fn minor_version(text: &[u8]) -> Option<(u8, &[u8])> {
    let (minor, rest) = text.strip_prefix(b"HTTP/1.")?.split_first()?;
    matches!(minor, b'0' | b'1').then(|| (minor - b'0', rest))
}

impl<'b> PlainFields<'b> {
    #[inline]
    fn new(head: &'b [u8], rest: &'b [u8], most: usize) -> Self {
        PlainFields {
            rest,
            whole: head.len(),
            most,
        }
    }

    #[inline(always)]
    fn cut_line(&mut self) -> Option<Field<'b>> {
        self.most = self.most.checked_sub(1)?;
        let at = self.whole - self.rest.len();
        let (name, rest) = cut_name(self.rest)?;
        let rest = rest.strip_prefix(b":")?;
        let (line, rest) = match rest {
            [b' ', rest @ ..] => (Some(at), rest),
            rest => (None, rest),
        };
        let (value, rest) = cut(rest, no_value);
        let [b'\r', b'\n', rest @ ..] = rest else {
            return None;
        };
        self.rest = rest;
        let is_plain = !matches!(value, [b' ', ..] | [.., b' ']);
        is_plain.then_some(Field { name, value, line })
    }
}

impl<'b> Iterator for PlainFields<'b> {
    type Item = Result<Field<'b>, NotPlain>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        match self.rest {
            b"\r\n" => None,
            _ => Some(self.cut_line().ok_or(NotPlain)),
        }
    }
}

/// Splits `text` in front of the first byte that `stops` finds. `stops` returns one bit for each byte of a
/// block, the lowest for the first byte.
#[inline(always)]
fn cut(text: &[u8], stops: impl Fn(&[u8; BLOCK]) -> u32) -> (&[u8], &[u8]) {
    let mut rest = text;
    while let Some((block, behind)) = rest.split_first_chunk() {
        let found = stops(block);
        if found != 0 {
            // The remainder only shows the compiler that the block contains the place.
            let (_, rest) = rest.split_at(found.trailing_zeros() as usize % BLOCK);
            return (before(text, rest), rest);
        }
        rest = behind;
    }
    cut_last(text, rest, stops)
}

/// The part of `text` in front of `rest`, with which it ends.
#[inline(always)]
fn before<'b>(text: &'b [u8], rest: &[u8]) -> &'b [u8] {
    text.get(..text.len() - rest.len()).unwrap_or_default()
}

/// [`cut`] for the name of a field, which is shorter than a block as a rule. `None`: there is no name.
#[inline(always)]
fn cut_name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = line
        .first_chunk()
        .map_or(0, |block| no_name(block).trailing_zeros() as usize);
    if (1..BLOCK).contains(&length) {
        line.split_at_checked(length)
    } else {
        cut_odd_name(line)
    }
}

/// [`cut_name`], for what is not a name of the usual length in front of other bytes.
#[inline(never)]
fn cut_odd_name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    Some(cut(line, no_name)).filter(|(name, _)| !name.is_empty())
}

/// [`cut`], if less than a block is left to search.
#[cold]
fn cut_last<'b>(
    text: &'b [u8],
    rest: &'b [u8],
    stops: impl Fn(&[u8; BLOCK]) -> u32,
) -> (&'b [u8], &'b [u8]) {
    // Zeros always stop the search.
    let mut block = [0; BLOCK];
    for (to, from) in block.iter_mut().zip(rest) {
        *to = *from;
    }
    let found = stops(&block).trailing_zeros() as usize;
    let rest = rest.get(found..).unwrap_or_default();
    (before(text, rest), rest)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_what_stops_it_and_at_the_end() {
        for length in 0..70 {
            let text = vec![b'a'; length];
            assert_eq!(cut(&text, no_word).0.len(), length);
            for place in 0..length {
                let mut text = text.clone();
                text[place] = b' ';
                assert_eq!(cut(&text, no_word), text.split_at(place));
                assert_eq!(cut(&text, no_value), (&text[..], &[][..]));
            }
        }
    }
}
