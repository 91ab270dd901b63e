//! Compression of one response: what is decided when, and what becomes of each part of the body.

use super::accept::Accepted;
use super::transform::{
    Coding, change_coding, content_coding, content_length, is_changeable, is_compressible,
    vary_on_coding,
};
use super::{Algorithm, Encode};
use bytes::Bytes;
use http::Method;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use std::fmt;
use std::time::Duration;

/// Compression of one response: [`request_filter`](Self::request_filter), then
/// [`response_header_filter`](Self::response_header_filter), then
/// [`response_body_filter`](Self::response_body_filter) for each part of the body.
///
/// One pointer wide, and null until someone asks for compression or decompression. What is to be
/// done can be changed until the response's head passed; after that, adjusting it has no effect.
#[derive(Default)]
pub struct ResponseCompressionCtx(Option<Box<State>>);

struct State {
    levels: [u32; Algorithm::COUNT],
    decompress: [bool; Algorithm::COUNT],
    preserve_etag: [bool; Algorithm::COUNT],
    accepted: Accepted,
    head_request: bool,
    phase: Phase,
}

/// ```text
/// Head ── nothing to do ──► Untouched
///   └──► Body ── end ──► Ended
///          └── can't be decompressed ──► Failed
/// ```
enum Phase {
    Head,
    Untouched,
    Body(Box<dyn Encode + Send + Sync>),
    /// Kept for its account.
    Ended(Box<dyn Encode + Send + Sync>),
    /// The rest of the body is lost.
    Failed,
}

/// What is to be done with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Leave,
    Compress(Algorithm),
    Decompress(Algorithm),
}

impl State {
    fn new() -> Self {
        State {
            levels: [0; Algorithm::COUNT],
            decompress: [false; Algorithm::COUNT],
            preserve_etag: [false; Algorithm::COUNT],
            accepted: Accepted::default(),
            head_request: false,
            phase: Phase::Head,
        }
    }

    fn level(&self, algorithm: Algorithm) -> u32 {
        self.levels.get(algorithm.index()).copied().unwrap_or(0)
    }

    fn is_on(&self, table: &[bool; Algorithm::COUNT], algorithm: Algorithm) -> bool {
        table.get(algorithm.index()).copied().unwrap_or(false)
    }

    fn decompression_of(&self, resp: &ResponseHeader) -> Option<Algorithm> {
        let Coding::One(algorithm) = content_coding(&resp.headers) else {
            return None;
        };
        let wanted = self.is_on(&self.decompress, algorithm)
            && algorithm.can_decompress()
            && self.accepted.weight(algorithm) == 0;
        (wanted && is_changeable(resp)).then_some(algorithm)
    }

    fn compresses(&self) -> impl Iterator<Item = Algorithm> + '_ {
        Algorithm::CANDIDATES
            .into_iter()
            .filter(|a| self.level(*a) > 0 && a.can_compress())
    }

    /// Whether the client's wish makes a difference to this response.
    fn is_negotiated(&self, resp: &ResponseHeader) -> bool {
        is_changeable(resp)
            && match content_coding(&resp.headers) {
                Coding::Identity => {
                    self.compresses().next().is_some() && is_compressible(&resp.headers)
                }
                Coding::One(algorithm) => {
                    self.is_on(&self.decompress, algorithm) && algorithm.can_decompress()
                }
                Coding::Unknown => false,
            }
    }

    fn plan(&self, resp: &ResponseHeader) -> Plan {
        if let Some(algorithm) = self.decompression_of(resp) {
            return Plan::Decompress(algorithm);
        }
        if content_coding(&resp.headers) != Coding::Identity {
            return Plan::Leave;
        }
        match self.accepted.prefer(self.compresses()) {
            Some(algorithm) => Plan::Compress(algorithm),
            None => Plan::Leave,
        }
    }

    fn response_header(&mut self, resp: &mut ResponseHeader, end: bool) {
        self.phase = Phase::Untouched;
        if (end && !self.head_request) || !self.is_negotiated(resp) {
            return;
        }
        vary_on_coding(resp);
        let encoder = match self.plan(resp) {
            Plan::Leave => None,
            Plan::Compress(algorithm) => {
                // The parts of a body of unknown length may be far apart in time; holding one back
                // until the next arrives would stall a stream of events.
                let flush = content_length(&resp.headers).is_none();
                let preserve = self.is_on(&self.preserve_etag, algorithm);
                change_coding(resp, Some(algorithm), preserve);
                algorithm.compressor_for(self.level(algorithm), flush)
            }
            Plan::Decompress(algorithm) => {
                let preserve = self.is_on(&self.preserve_etag, algorithm);
                change_coding(resp, None, preserve);
                algorithm.decompressor(true)
            }
        };
        // A response to HEAD has the same fields as one to GET, and no body.
        if let (false, Some(encoder)) = (end, encoder) {
            self.phase = Phase::Body(encoder);
        }
    }

    fn response_body(&mut self, data: Option<&Bytes>, end: bool) -> Result<Option<Bytes>> {
        let mut encoder = match std::mem::replace(&mut self.phase, Phase::Failed) {
            Phase::Body(encoder) => encoder,
            other => {
                let untouched = matches!(other, Phase::Head | Phase::Untouched);
                self.phase = other;
                return Ok((!untouched).then(Bytes::new));
            }
        };
        let done = encoder.encode(data.map_or(&[], |d| &d[..]), end)?;
        self.phase = if end {
            Phase::Ended(encoder)
        } else {
            Phase::Body(encoder)
        };
        Ok(Some(done))
    }
}

impl ResponseCompressionCtx {
    /// Compresses at `compression_level` (0: not at all) whatever the client accepts and is worth
    /// it; with `decompress_enable`, decompresses what the client does not accept. Strong entity
    /// tags become weak unless `preserve_etag`. With neither compression nor decompression, this
    /// does not allocate.
    pub fn new(compression_level: u32, decompress_enable: bool, preserve_etag: bool) -> Self {
        let mut ctx = ResponseCompressionCtx(None);
        ctx.adjust_level(compression_level);
        ctx.adjust_decompression(decompress_enable);
        ctx.adjust_preserve_etag(preserve_etag);
        ctx
    }

    /// Neither compresses nor decompresses.
    pub(crate) const fn idle() -> Self {
        ResponseCompressionCtx(None)
    }

    /// Compresses at `level`; at 0 it remembers what the client accepts, so that compression may
    /// be turned on after the request passed.
    pub(crate) fn attentive(level: u32) -> Self {
        let mut state = State::new();
        state.levels = [level; Algorithm::COUNT];
        ResponseCompressionCtx(Some(Box::new(state)))
    }

    /// Whether there is anything to do for a response: some algorithm has a level above 0 or is to
    /// be decompressed; after the response's head passed, whether its body is being changed.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.0.as_deref().is_some_and(|state| match &state.phase {
            Phase::Head => {
                state.levels.iter().any(|l| *l > 0) || state.decompress.iter().any(|d| *d)
            }
            Phase::Untouched => false,
            Phase::Body(_) | Phase::Ended(_) | Phase::Failed => true,
        })
    }

    /// Whether the response's head did not pass yet.
    pub fn is_header_phase(&self) -> bool {
        self.0
            .as_deref()
            .is_none_or(|state| matches!(state.phase, Phase::Head))
    }

    /// The name of what is done with the body, the bytes taken in, the bytes given out, and the
    /// time that it took. `None` where the body passes as it is.
    pub fn get_info(&self) -> Option<(&'static str, usize, usize, Duration)> {
        match &self.0.as_deref()?.phase {
            Phase::Body(encoder) | Phase::Ended(encoder) => Some(encoder.stat()),
            _ => None,
        }
    }

    /// The state to adjust, while that makes a difference. `create` makes one where there is none.
    fn adjustable(&mut self, create: bool) -> Option<&mut State> {
        if self.0.is_none() && create {
            self.0 = Some(Box::new(State::new()));
        }
        self.0
            .as_deref_mut()
            .filter(|state| matches!(state.phase, Phase::Head))
    }

    /// Sets the level of every algorithm; 0 turns compression off.
    pub fn adjust_level(&mut self, new_level: u32) {
        if let Some(state) = self.adjustable(new_level > 0) {
            state.levels = [new_level; Algorithm::COUNT];
        }
    }

    /// Sets the level of one algorithm; 0 turns it off.
    pub fn adjust_algorithm_level(&mut self, algorithm: Algorithm, new_level: u32) {
        let slot = self
            .adjustable(new_level > 0)
            .and_then(|state| state.levels.get_mut(algorithm.index()));
        if let Some(slot) = slot {
            *slot = new_level;
        }
    }

    /// Turns decompression of every algorithm on or off.
    pub fn adjust_decompression(&mut self, enabled: bool) {
        if let Some(state) = self.adjustable(enabled) {
            state.decompress = [enabled; Algorithm::COUNT];
        }
    }

    /// Turns decompression of one algorithm on or off.
    pub fn adjust_algorithm_decompression(&mut self, algorithm: Algorithm, enabled: bool) {
        let slot = self
            .adjustable(enabled)
            .and_then(|state| state.decompress.get_mut(algorithm.index()));
        if let Some(slot) = slot {
            *slot = enabled;
        }
    }

    /// Whether strong entity tags stay as they are, for every algorithm.
    pub fn adjust_preserve_etag(&mut self, enabled: bool) {
        if let Some(state) = self.adjustable(enabled) {
            state.preserve_etag = [enabled; Algorithm::COUNT];
        }
    }

    /// Whether strong entity tags stay as they are, for one algorithm.
    pub fn adjust_algorithm_preserve_etag(&mut self, algorithm: Algorithm, enabled: bool) {
        let slot = self
            .adjustable(enabled)
            .and_then(|state| state.preserve_etag.get_mut(algorithm.index()));
        if let Some(slot) = slot {
            *slot = enabled;
        }
    }

    /// Learns what the client accepts. Does nothing where nobody asked for compression.
    #[inline]
    pub fn request_filter(&mut self, req: &RequestHeader) {
        if let Some(state) = self.adjustable(false) {
            state.accepted = Accepted::from_headers(&req.headers);
            state.head_request = req.method == Method::HEAD;
        }
    }

    /// Whether the body of this response would be decompressed.
    pub fn will_decompress(&self, resp: &ResponseHeader) -> bool {
        self.0.as_deref().is_some_and(|state| {
            matches!(state.phase, Phase::Head) && state.decompression_of(resp).is_some()
        })
    }

    /// Decides what to do with the body, and changes the response's fields to fit: coding, length,
    /// entity tag, `Vary`. `end` says that there is no body. Informational responses pass.
    ///
    /// A response whose coding changes has no `Content-Length` any more; how its end is told is up
    /// to the session that writes it.
    #[inline]
    pub fn response_header_filter(&mut self, resp: &mut ResponseHeader, end: bool) {
        if resp.status.is_informational() {
            return;
        }
        if let Some(state) = self.adjustable(false) {
            state.response_header(resp, end);
        }
    }

    /// The response whose head has passed will not be sent: the next head is that of another one.
    pub fn response_discarded(&mut self) {
        if let Some(state) = &mut self.0 {
            state.phase = Phase::Head;
        }
    }

    /// What to send instead of this part of the body; `None` where it passes as it is. May be empty
    /// while the compressor collects; `end` makes it give out the rest.
    ///
    /// A body that can't be decompressed is cut short silently: prefer
    /// [`try_response_body_filter`](Self::try_response_body_filter).
    pub fn response_body_filter(&mut self, data: Option<&Bytes>, end: bool) -> Option<Bytes> {
        match self.try_response_body_filter(data, end) {
            Ok(changed) => changed,
            Err(e) => {
                log::warn!("the rest of a response body is lost: {e}");
                Some(Bytes::new())
            }
        }
    }

    /// [`response_body_filter`](Self::response_body_filter) that tells when the body is lost.
    ///
    /// # Errors
    /// [`COMPRESSION_ERROR`](super::COMPRESSION_ERROR), once, if the body can't be decompressed:
    /// the response must not end as if it were complete.
    #[inline]
    pub fn try_response_body_filter(
        &mut self,
        data: Option<&Bytes>,
        end: bool,
    ) -> Result<Option<Bytes>> {
        match &mut self.0 {
            None => Ok(None),
            Some(state) => state.response_body(data, end),
        }
    }
}

impl fmt::Debug for ResponseCompressionCtx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCompressionCtx")
            .field("enabled", &self.is_enabled())
            .field("info", &self.get_info())
            .finish()
    }
}
