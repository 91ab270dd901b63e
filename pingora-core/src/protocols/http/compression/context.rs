//! Compression of one response: what is decided when, and what becomes of each part of the body.

use super::accept::AcceptEncoding;
use super::coder::Encoder;
use super::decoder::Strict;
use super::dictionary::{self, DictionaryData};
use super::plan::{Plan, Policy};
use super::transform::{change_coding, content_length, is_event_stream, vary_on};
use super::{Algorithm, CompressionSettings, DecompressionLimits, Encode};
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
/// One pointer wide, and null until someone asks for compression or decompression. The settings
/// can be changed until the response's head passed; after that, adjusting it has no effect.
///
/// # Where it stands in a proxy
/// There are two of them. `Session::upstream_compression` stands between `upstream_response_filter` and
/// `response_filter`, and so ahead of `response_body_filter`: use it to *decompress*, for filters that read
/// the body. The module [`ResponseCompression`](crate::modules::http::compression::ResponseCompression)
/// stands behind all filters: use it to *compress*, so that filters see the body plain and what they make of
/// it is compressed.
///
/// # Memory
/// A compressor takes 0.3 MiB (gzip, deflate), 0.3 to 37 MiB (Brotli, by level) or 1.5 to 6.2 MiB
/// (Zstandard, by level); a decompressor takes its window (gzip, deflate: 0.1 MiB; Zstandard: up to 8 MiB;
/// Brotli: up to 16 MiB), and for a moment what it makes of one piece: up to 16 MiB, beyond which the
/// response is refused.
#[derive(Default)]
pub struct ResponseCompressionCtx(Option<Box<State>>);

#[derive(Default)]
struct State {
    policy: Policy,
    limits: Option<DecompressionLimits>,
    dictionary: Option<DictionaryData>,
    accepted: AcceptEncoding,
    head_request: bool,
    phase: Phase,
}

/// ```text
/// Head ── nothing to do ──► Untouched
///   └──► Body ── end ──► Ended
///          └── can't be decompressed ──► Failed
/// ```
#[derive(Default)]
enum Phase {
    #[default]
    Head,
    Untouched,
    Body(Encoder),
    /// Kept for its account.
    Ended(Encoder),
    /// The rest of the body is lost.
    Failed,
}

/// From one coding to another one.
struct Both(Encoder, Encoder);

impl Encode for Both {
    fn encode(&mut self, input: &[u8], end: bool) -> Result<Bytes> {
        let plain = self.0.encode(input, end)?;
        self.1.encode(&plain, end)
    }

    fn stat(&self) -> (&'static str, usize, usize, Duration) {
        let (_, taken, _, undoing) = self.0.stat();
        let (name, _, given, applying) = self.1.stat();
        (name, taken, given, undoing + applying)
    }
}

impl State {
    fn has_dictionary(&self) -> bool {
        let dictionary = self.dictionary.as_ref();
        dictionary.is_some_and(|dictionary| self.accepted.has_dictionary(&dictionary.hash))
    }

    fn plan(&self, resp: &ResponseHeader) -> Plan {
        let dictionary = self.has_dictionary();
        self.policy.plan(&self.accepted, dictionary, resp)
    }

    /// The encoder that carries out the plan; `None` if memory does not suffice for it.
    fn encoder(&self, plan: Plan, resp: &ResponseHeader) -> Option<Encoder> {
        // The parts of a body of unknown length may be far apart in time; holding one back until the
        // next arrives would stall a stream of events.
        let flush = content_length(&resp.headers).is_none() || is_event_stream(&resp.headers);
        let undo = match plan.undo {
            None => None,
            Some(coding) => {
                let limits = self.limits.map(DecompressionLimits::in_pieces);
                let limits = limits.unwrap_or(DecompressionLimits::of_responses());
                Some(Box::new(Strict(coding.decoder(limits)?)) as Encoder)
            }
        };
        let apply = match plan.apply {
            None => None,
            Some(coding) => {
                let level = self.policy.level(coding);
                Some(coding.encoder(level, flush, self.dictionary.as_ref())?)
            }
        };
        match (undo, apply) {
            (Some(undo), Some(apply)) => Some(Box::new(Both(undo, apply))),
            (undo, apply) => undo.or(apply),
        }
    }

    fn response_header(&mut self, resp: &mut ResponseHeader, end: bool) {
        self.phase = Phase::Untouched;
        if end && !self.head_request {
            return;
        }
        let plan = self.plan(resp);
        if plan.varies {
            vary_on(resp, "Accept-Encoding");
            if self.dictionary.is_some() {
                vary_on(resp, dictionary::AVAILABLE);
            }
        }
        if plan.undo.is_none() && plan.apply.is_none() {
            return;
        }
        // A response to HEAD has the same fields as one to GET, and no body.
        if !end {
            let Some(encoder) = self.encoder(plan, resp) else {
                return;
            };
            self.phase = Phase::Body(encoder);
        }
        change_coding(resp, plan.apply, self.policy.preserves_etag(plan));
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
    /// Compresses at `compression_level` (0: not at all) bodies that are worth it, if the client accepts
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
        Self::with_settings(&CompressionSettings::new(level))
    }

    /// With these settings; remembers what the client accepts in any case.
    pub(crate) fn with_settings(settings: &CompressionSettings) -> Self {
        let mut state = Box::<State>::default();
        state.policy = settings.0.clone();
        ResponseCompressionCtx(Some(state))
    }

    /// Whether its settings are those that everyone has.
    pub(crate) fn is_as_by_default(&self) -> bool {
        let state = self.0.as_deref();
        state.is_none_or(|state| state.policy == Policy::default())
    }

    /// Whether there is anything to do for a response: some algorithm has a level above 0 or is to
    /// be decompressed; after the response's head passed, whether its body is being changed.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.0.as_deref().is_some_and(|state| match &state.phase {
            Phase::Head => state.policy.is_enabled(),
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
            self.0 = Some(Box::default());
        }
        self.0
            .as_deref_mut()
            .filter(|state| matches!(state.phase, Phase::Head))
    }

    /// The policy to adjust; as [`adjustable`](Self::adjustable).
    fn policy(&mut self, create: bool) -> Option<&mut Policy> {
        self.adjustable(create).map(|state| &mut state.policy)
    }

    /// Replaces all that was set before.
    pub fn adjust(&mut self, settings: &CompressionSettings) {
        if let Some(policy) = self.policy(true) {
            let ahead_of_filters = policy.ahead_of_filters;
            *policy = settings.0.clone();
            policy.ahead_of_filters = ahead_of_filters;
        }
    }

    /// Sets the level of every algorithm; 0 turns compression off. Levels above an algorithm's highest
    /// mean the highest.
    pub fn adjust_level(&mut self, new_level: u32) {
        if let Some(policy) = self.policy(new_level > 0) {
            policy.levels.fill(new_level);
        }
    }

    /// Sets the level of one algorithm; 0 turns it off. [`Algorithm::Other`] stands for deflate.
    pub fn adjust_algorithm_level(&mut self, algorithm: Algorithm, new_level: u32) {
        let policy = self.policy(new_level > 0);
        let slot = policy.and_then(|p| p.levels.get_mut(algorithm.coding()?.index()));
        if let Some(slot) = slot {
            *slot = new_level;
        }
    }

    /// Turns decompression of every algorithm on or off.
    ///
    /// In `Session::upstream_compression` of a proxy it is for the filters: `response_body_filter` gets the
    /// body plain, regardless of what the client accepts, and so does the client, unless the module for compression
    /// has a level and compresses it again. In the module, and anywhere else, it is for the client: a body
    /// is decompressed, or coded in another way where a level is set, only if the client does not accept its
    /// coding.
    ///
    /// (If `upstream_compression` has a level as well, filters are to see what the client gets: it is
    /// treated like the module.)
    ///
    /// A body that must not be changed stays coded (see the module's documentation);
    /// [`will_decompress`](Self::will_decompress) tells. To have a body with a digest decompressed, remove
    /// the digest in `upstream_response_filter`.
    pub fn adjust_decompression(&mut self, enabled: bool) {
        if let Some(policy) = self.policy(enabled) {
            policy.decompress.fill(enabled);
        }
    }

    /// Turns decompression of one algorithm on or off; [`Algorithm::Other`] stands for deflate. See
    /// [`adjust_decompression`](Self::adjust_decompression).
    pub fn adjust_algorithm_decompression(&mut self, algorithm: Algorithm, enabled: bool) {
        let policy = self.policy(enabled);
        let slot = policy.and_then(|p| p.decompress.get_mut(algorithm.coding()?.index()));
        if let Some(slot) = slot {
            *slot = enabled;
        }
    }

    /// How much a response may grow when it is decompressed; without this, only what is made of one piece
    /// is bounded (16 MiB).
    pub fn adjust_decompression_limits(&mut self, limits: DecompressionLimits) {
        if let Some(state) = self.adjustable(true) {
            state.limits = Some(limits);
        }
    }

    /// Filters read the body behind this: from here on, decompression is for them. A proxy says so to its
    /// `Session::upstream_compression`. Does nothing unless compression was asked for.
    pub fn stand_ahead_of_filters(&mut self) {
        if let Some(policy) = self.policy(false) {
            policy.ahead_of_filters = true;
        }
    }

    /// Whether strong entity tags stay as they are, for every algorithm.
    pub fn adjust_preserve_etag(&mut self, enabled: bool) {
        if let Some(policy) = self.policy(enabled) {
            policy.preserve_etag.fill(enabled);
        }
    }

    /// Whether strong entity tags stay as they are, for one algorithm; [`Algorithm::Other`] stands for
    /// deflate.
    pub fn adjust_algorithm_preserve_etag(&mut self, algorithm: Algorithm, enabled: bool) {
        let policy = self.policy(enabled);
        let slot = policy.and_then(|p| p.preserve_etag.get_mut(algorithm.coding()?.index()));
        if let Some(slot) = slot {
            *slot = enabled;
        }
    }

    /// Sets the dictionary that the response may be compressed with (RFC 9842), and its SHA-256. It is used
    /// where the client says in `Available-Dictionary` that it has this one and accepts `dcz` (with the cargo
    /// feature `zstd`) or `dcb` (with `brotli`), and the level of that algorithm is above 0. Otherwise another
    /// coding is negotiated.
    pub fn set_dictionary(&mut self, dictionary_bytes: Bytes, dictionary_hash: [u8; 32]) {
        if let Some(state) = self.adjustable(true) {
            state.dictionary = Some(DictionaryData {
                bytes: dictionary_bytes,
                hash: dictionary_hash,
            });
        }
    }

    /// Whether a dictionary is set.
    pub fn has_dictionary(&self) -> bool {
        let state = self.0.as_deref();
        state.is_some_and(|state| state.dictionary.is_some())
    }

    /// Does without a dictionary.
    pub fn clear_dictionary(&mut self) {
        if let Some(state) = self.adjustable(false) {
            state.dictionary = None;
        }
    }

    /// Learns which codings the client accepts. Does nothing unless compression was asked for.
    #[inline]
    pub fn request_filter(&mut self, req: &RequestHeader) {
        if let Some(state) = self.adjustable(false) {
            state.accepted = AcceptEncoding::from_headers(&req.headers);
            state.head_request = req.method == Method::HEAD;
        }
    }

    /// Whether the body of this response would be decompressed.
    pub fn will_decompress(&self, resp: &ResponseHeader) -> bool {
        self.0.as_deref().is_some_and(|state| {
            matches!(state.phase, Phase::Head) && state.plan(resp).undo.is_some()
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

    /// The bytes to send instead of this part of the body; `None` if it passes as it is. May be empty
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
