//! Where a message head ends.

use memchr::memchr;

use super::tokens::is_token_byte;
use super::{Fault, HeadLimits};

/// What may stand in a request line beside the target: method, version, spaces.
const REQUEST_LINE_REST: usize = 128;

/// Finds the end of a message head in what has arrived so far.
///
/// Each byte is looked at once, however slowly they arrive: a dripped head of n bytes costs O(n).
/// What can't become a sound head is refused as soon as that shows, not when the head is complete:
/// a bare LF, a first byte that starts no HTTP/1 message (a TLS handshake, say), a size over the
/// limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScanner {
    /// Bytes looked at.
    scanned: usize,
    /// Where the current line begins.
    line_start: usize,
    /// Complete lines, the first one included.
    lines: usize,
}

impl HeadScanner {
    /// Looks for the empty line that ends the head. `Some(index)` is one past it.
    ///
    /// `buf` holds all bytes of the message so far, the bytes of earlier calls in front. Call
    /// [`skip_leading_crlf`] before each call and leave out what it counts; it counts 0 once a head
    /// has begun.
    ///
    /// # Errors
    /// 400 for a bare LF or a byte that starts no message, 414 for a first line that is too long,
    /// 431 for a head that is too large. A response's head fails in the same way:
    /// [`Fault::of_response`].
    #[inline]
    pub fn find_end(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Fault> {
        if self.scanned == 0 && !self.starts_well(buf)? {
            return Ok(None);
        }
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
            self.lines += 1;
            self.line_start = self.scanned;
            if self.lines - 1 > limits.fields {
                return Err(Fault::new(431, "the head has too many fields"));
            }
        }
        self.scanned = buf.len();
        self.check_size(self.scanned, limits)?;
        Ok(None)
    }

    /// Whether there is a first byte and it may begin a message.
    fn starts_well(&self, buf: &[u8]) -> Result<bool, Fault> {
        match buf {
            [] | [b'\r'] => Ok(false),
            [b'\n', ..] => Err(Fault::bad("the message begins with a bare LF")),
            [b'\r', ..] => Err(Fault::bad("the message begins with an empty line")),
            [first, ..] if is_token_byte(*first) => Ok(true),
            _ => Err(Fault::bad("this is not HTTP/1")),
        }
    }

    #[inline]
    fn check_size(&self, bytes: usize, limits: &HeadLimits) -> Result<(), Fault> {
        let in_first_line = self.lines == 0;
        if in_first_line && bytes > limits.target_bytes.saturating_add(REQUEST_LINE_REST) {
            return Err(Fault::new(414, "the first line is too long"));
        }
        if bytes > limits.head_bytes {
            return Err(Fault::new(431, "the head is too large"));
        }
        Ok(())
    }
}

/// Counts the bytes of empty lines in front of a message, which a server ignores (RFC 9112 section
/// 2.2). How many of them to put up with is the caller's to decide.
#[inline]
pub fn skip_leading_crlf(buf: &[u8]) -> usize {
    buf.chunks_exact(2)
        .take_while(|pair| *pair == b"\r\n")
        .count()
        * 2
}
