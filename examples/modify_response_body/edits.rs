//! The edits of bodies: one that lets pieces pass, and one that needs the whole body.

use pingora::prelude::*;

/// Replaces a text wherever it occurs, even across two pieces, while the body passes.
pub(super) struct Replace {
    from: &'static [u8],
    to: &'static [u8],
    /// The end of the last piece, as far as it may be the beginning of `from`.
    held: Vec<u8>,
}

impl Replace {
    /// Replaces `from`, which is not empty, by `to`.
    pub(super) fn new(from: &'static str, to: &'static str) -> Self {
        Replace {
            from: from.as_bytes(),
            to: to.as_bytes(),
            held: Vec::new(),
        }
    }

    /// The part of the body up to this piece that may be sent.
    pub(super) fn edit(&mut self, piece: &[u8], end_of_stream: bool) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(piece);
        let mut rest = text.as_slice();
        let mut edited = Vec::with_capacity(rest.len());
        while let Some(found) = rest.windows(self.from.len()).position(|w| w == self.from) {
            let (before, after) = rest.split_at(found);
            edited.extend_from_slice(before);
            edited.extend_from_slice(self.to);
            rest = after.get(self.from.len()..).unwrap_or_default();
        }
        let held = if end_of_stream { 0 } else { self.begun(rest) };
        let (sent, held) = rest.split_at(rest.len() - held);
        edited.extend_from_slice(sent);
        self.held = held.to_vec();
        edited
    }

    /// The number of bytes at the end of `text` that are the beginning of `from`.
    fn begun(&self, text: &[u8]) -> usize {
        let longest = text.len().min(self.from.len().saturating_sub(1));
        let is_begun = |len: &usize| {
            text.iter()
                .rev()
                .take(*len)
                .rev()
                .eq(self.from.iter().take(*len))
        };
        (1..=longest).rev().find(is_begun).unwrap_or(0)
    }
}

/// Collects a JSON document, and puts it into an envelope with its size. A document that is too long fails
/// the request: the client gets 502, or a truncated response if its head has already been sent.
#[derive(Default)]
pub(super) struct Envelope {
    document: Vec<u8>,
}

impl Envelope {
    /// The maximum size of a document that is kept in memory, in bytes.
    const LIMIT: usize = 64 * 1024;

    /// The whole document in its envelope after the last piece; nothing before.
    ///
    /// # Errors
    /// The document is too long.
    pub(super) fn edit(&mut self, piece: &[u8], end_of_stream: bool) -> Result<Vec<u8>> {
        if self.document.len() + piece.len() > Self::LIMIT {
            return Error::e_explain(HTTPStatus(502), "the document is too long to be changed");
        }
        self.document.extend_from_slice(piece);
        if !end_of_stream {
            return Ok(Vec::new());
        }
        let mut whole = format!("{{\"bytes\":{},\"data\":", self.document.len()).into_bytes();
        whole.append(&mut self.document);
        whole.extend_from_slice(b"}\n");
        Ok(whole)
    }
}
