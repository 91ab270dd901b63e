//! Settings of compression as a value.

use super::Algorithm;
use super::plan::Policy;

/// Settings of compression as a value: made once, and used for many requests.
///
/// ```
/// use pingora_core::protocols::http::compression::{Algorithm, CompressionSettings};
///
/// let settings = CompressionSettings::new(6)
///     .level_of(Algorithm::Brotli, 4)
///     .min_size(1024)
///     .types(["text/*", "application/json"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompressionSettings(pub(super) Policy);

impl CompressionSettings {
    /// Compresses at this level (0: not at all) with everything that is built.
    pub fn new(level: u32) -> Self {
        let mut policy = Policy::default();
        policy.levels.fill(level);
        CompressionSettings(policy)
    }

    /// The level of one algorithm; 0 turns it off. [`Algorithm::Other`] stands for deflate.
    pub fn level_of(mut self, algorithm: Algorithm, level: u32) -> Self {
        let coding = algorithm.coding();
        if let Some(slot) = coding.and_then(|coding| self.0.levels.get_mut(coding.index())) {
            *slot = level;
        }
        self
    }

    /// Bodies that are known to be smaller are not compressed: bytes, by default 20.
    pub fn min_size(mut self, min_size: u64) -> Self {
        self.0.min_size = min_size;
        self
    }

    /// The media types that are compressed, such as `text/html` or `text/*`, in place of those that are
    /// known to be worth it: text, JSON, XML, YAML, JavaScript, WebAssembly, SVG, and fonts that don't
    /// compress themselves. Types with messages of their own, such as gRPC, are never compressed.
    pub fn types<T: Into<Box<str>>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.0.types = Some(types.into_iter().map(Into::into).collect());
        self
    }

    /// Whether responses are decompressed: see
    /// [`adjust_decompression`](super::ResponseCompressionCtx::adjust_decompression). By default, they
    /// are not.
    pub fn decompression(mut self, enabled: bool) -> Self {
        self.0.decompress.fill(enabled);
        self
    }

    /// Whether strong entity tags stay as they are. By default, they become weak.
    pub fn preserve_etag(mut self, enabled: bool) -> Self {
        self.0.preserve_etag.fill(enabled);
        self
    }
}
