//! Finds the end of a message head.

use memchr::{memchr, memchr_iter};

use super::{Fault, HeadLimits};
use pingora_http::grammar::is_token_byte;

/// The bytes of a request line apart from the target: method, version, spaces.
const REQUEST_LINE_REST: usize = 128;

/// Finds the end of a message head in the bytes that have arrived so far.
///
/// ```text
/// find_end(more bytes) ── incomplete ──▶ find_end(still more) ── …
///       ├── the whole head ──▶ Some(end)
///       └── no sound head can come of it ──▶ Fault
/// ```
///
/// A head that has arrived completely is found by one search for its last four bytes. Otherwise each
/// byte is examined once, however slowly the bytes arrive: a dripped head of n bytes costs O(n). Input
/// that can't become a valid head is then refused as soon as that is evident, without waiting for the
/// rest: a bare LF, a first byte that starts no HTTP/1 message (a TLS handshake, for example), a size
/// over the limits. In a head that has arrived completely, bare LFs and the number of fields are left
/// to the parser, which examines each line anyway.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScanner {
    /// Bytes examined so far.
    scanned: usize,
    /// The start of the current line.
    line_start: usize,
    /// Complete lines, the first one included.
    lines: usize,
}

impl HeadScanner {
    /// Looks for the empty line that ends the head. `Some(index)` is one past it.
    ///
    /// `buf` holds all bytes of the message so far, including those of earlier calls. Call
    /// [`skip_leading_crlf`] before each call and leave out the bytes it counts; it counts 0 once a
    /// head has begun.
    ///
    /// # Errors
    /// 400 for a bare LF or a byte that starts no message, 414 for a first line that is too long,
    /// 431 for a head that is too large. A response's head fails in the same way:
    /// [`Fault::of_response`].
    #[inline]
    pub fn find_end(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Fault> {
        if self.scanned == 0 {
            if !self.starts_well(buf)? {
                return Ok(None);
            }
            let longest = limits.head_bytes.min(longest_first_line(limits));
            if let Some(end) = end_at_a_glance(buf)
                && end <= longest
            {
                return Ok(Some(end));
            }
        }
        self.find_end_by_lines(buf, limits)
    }

    #[cold]
    fn find_end_by_lines(
        &mut self,
        buf: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<usize>, Fault> {
        while let Some(at) = memchr(b'\n', buf.get(self.scanned..).unwrap_or_default()) {
            let line_feed = self.scanned + at;
            let line = buf.get(self.line_start..line_feed).unwrap_or_default();
            if line.last() != Some(&b'\r') {
                return Err(Fault::bad("a line of the head ends with a bare LF"));
            }
            self.scanned = line_feed + 1;
            self.check_size(self.scanned, limits)?;
            if line.len() == 1 {
                return Ok(Some(self.scanned));
            }
            // If fields may be folded, continuation lines are not fields.
            let goes_on = matches!(line, [b' ' | b'\t', ..]);
            self.lines += usize::from(!goes_on || self.lines == 0);
            self.line_start = self.scanned;
            if self.lines - 1 > limits.fields {
                return Err(Fault::new(431, "the head has too many fields"));
            }
        }
        self.scanned = buf.len();
        self.check_size(self.scanned, limits)?;
        Ok(None)
    }

    /// Whether there is a first byte that may begin a message.
    #[inline]
    fn starts_well(&self, buf: &[u8]) -> Result<bool, Fault> {
        match buf {
            [] | [b'\r'] => Ok(false),
            [b'\n', ..] => Err(Fault::bad("the message begins with a bare LF")),
            [b'\r', ..] => Err(Fault::bad("the message begins with an empty line")),
            [first, ..] if is_token_byte(*first) => Ok(true),
            _ => Err(Fault::bad("this is not HTTP/1")),
        }
    }

    fn check_size(&self, bytes: usize, limits: &HeadLimits) -> Result<(), Fault> {
        let in_first_line = self.lines == 0;
        if in_first_line && bytes > longest_first_line(limits) {
            return Err(Fault::new(414, "the first line is too long"));
        }
        if bytes > limits.head_bytes {
            return Err(Fault::new(431, "the head is too large"));
        }
        Ok(())
    }
}

fn longest_first_line(limits: &HeadLimits) -> usize {
    limits.target_bytes.saturating_add(REQUEST_LINE_REST)
}

/// One past the first CRLF CRLF. `None` if there is none, or if the text before it must be examined
/// line by line.
#[inline]
fn end_at_a_glance(buf: &[u8]) -> Option<usize> {
    let skipped = without_empty_line(buf, buf.get(2..)?);
    let rest = buf.get(skipped..)?;
    let ends_head = |at: &usize| rest.get(at + 2) == Some(&b'\n');
    let at = memchr_iter(b'\n', rest).find(ends_head)?;
    let end = skipped + at + 3;
    buf.get(..end)?.ends_with(b"\r\n\r\n").then_some(end)
}

/// The number of bytes at the beginning that can be skipped when searching for two LFs with one
/// byte between them; `two_further` is the same text without its first two bytes.
#[inline]
fn without_empty_line(text: &[u8], two_further: &[u8]) -> usize {
    /// This many bytes are compared at once; the compiler vectorises the loop.
    const STEP: usize = 64;
    let (ones, _) = text.as_chunks::<STEP>();
    let (others, _) = two_further.as_chunks::<STEP>();
    let has_none = |(ones, others): &(&[u8; STEP], &[u8; STEP])| {
        // Zero where both are LF.
        let pairs = ones.iter().zip(others.iter());
        let differences = pairs.map(|(one, other)| (one ^ b'\n') | (other ^ b'\n'));
        differences.fold(u8::MAX, u8::min) != 0
    };
    ones.iter().zip(others).take_while(has_none).count() * STEP
}

/// Counts the bytes of empty lines before a message, which a server ignores (RFC 9112 section 2.2).
/// The caller decides how many to tolerate.
#[inline]
pub fn skip_leading_crlf(buf: &[u8]) -> usize {
    buf.chunks_exact(2)
        .take_while(|pair| *pair == b"\r\n")
        .count()
        * 2
}
