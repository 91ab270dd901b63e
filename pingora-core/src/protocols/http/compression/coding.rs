//! The content codings that are known, and which of them are built.
//!
//! [`Algorithm`](super::Algorithm) is what programs name; its variants are fixed, and `deflate` is not among
//! them.

use super::coder::Encoder;
use super::decoder::Decoder;
use super::dictionary::DictionaryData;
use super::limits::DecompressionLimits;

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Gzip,
    /// The format of zlib, whatever the name says (RFC 9110 section 8.4.1.2).
    Deflate,
    Brotli,
    Zstd,
    /// Brotli with a dictionary (RFC 9842).
    Dcb,
    /// Zstandard with a dictionary (RFC 9842).
    Dcz,
}

impl ContentCoding {
    /// How many there are.
    pub(super) const COUNT: usize = 6;

    /// Those that a response may be compressed with, the preferred one first.
    pub(super) const CANDIDATES: [ContentCoding; 6] = [
        ContentCoding::Dcz,
        ContentCoding::Dcb,
        ContentCoding::Zstd,
        ContentCoding::Brotli,
        ContentCoding::Gzip,
        ContentCoding::Deflate,
    ];

    /// Reads a coding's name, in any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        const NAMES: [(&str, ContentCoding); 7] = [
            ("gzip", ContentCoding::Gzip),
            ("x-gzip", ContentCoding::Gzip),
            ("deflate", ContentCoding::Deflate),
            ("br", ContentCoding::Brotli),
            ("zstd", ContentCoding::Zstd),
            ("dcb", ContentCoding::Dcb),
            ("dcz", ContentCoding::Dcz),
        ];
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, coding)| *coding)
    }

    /// Its name as it stands in `Content-Encoding`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            ContentCoding::Gzip => "gzip",
            ContentCoding::Deflate => "deflate",
            ContentCoding::Brotli => "br",
            ContentCoding::Zstd => "zstd",
            ContentCoding::Dcb => "dcb",
            ContentCoding::Dcz => "dcz",
        }
    }

    /// Its place in a table of all of them.
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Whether it takes a dictionary that client and server have.
    pub(super) fn needs_dictionary(self) -> bool {
        matches!(self, ContentCoding::Dcb | ContentCoding::Dcz)
    }

    /// Whether there is a compressor.
    pub(super) fn can_compress(self) -> bool {
        match self {
            ContentCoding::Gzip | ContentCoding::Deflate => cfg!(feature = "compression"),
            ContentCoding::Brotli | ContentCoding::Dcb => cfg!(feature = "brotli"),
            ContentCoding::Zstd | ContentCoding::Dcz => cfg!(feature = "zstd"),
        }
    }

    /// Whether there is a decompressor.
    pub(crate) fn can_decompress(self) -> bool {
        self.can_compress() && !self.needs_dictionary()
    }

    /// A compressor of this level, or of the algorithm's highest; `None` at level 0, where the
    /// algorithm is not built, and where it needs a dictionary that is not there. With `flush`, all
    /// that is taken in is given out at once.
    pub(super) fn encoder(
        self,
        level: u32,
        flush: bool,
        dictionary: Option<&DictionaryData>,
    ) -> Option<Encoder> {
        if level == 0 {
            return None;
        }
        let _ = (flush, dictionary);
        match self {
            #[cfg(feature = "compression")]
            ContentCoding::Gzip => Some(super::gzip::compressor(level, flush)),
            #[cfg(feature = "compression")]
            ContentCoding::Deflate => Some(super::deflate::compressor(level, flush)),
            #[cfg(feature = "brotli")]
            ContentCoding::Brotli => Some(super::brotli::compressor(level, flush)),
            #[cfg(feature = "brotli")]
            ContentCoding::Dcb => super::shared_brotli::with_dictionary(level, flush, dictionary?),
            #[cfg(feature = "zstd")]
            ContentCoding::Zstd => super::zstd::compressor(level, flush),
            #[cfg(feature = "zstd")]
            ContentCoding::Dcz => super::zstd::with_dictionary(level, flush, dictionary?),
            #[allow(unreachable_patterns, reason = "all of them may be built")]
            _ => None,
        }
    }

    /// A decompressor that gives out no more than `limits` allow; `None` where it is not built.
    pub(crate) fn decoder(self, limits: DecompressionLimits) -> Option<Decoder> {
        let _ = limits;
        match self {
            #[cfg(feature = "compression")]
            ContentCoding::Gzip => Some(super::gzip::decompressor(limits)),
            #[cfg(feature = "compression")]
            ContentCoding::Deflate => Some(super::deflate::decompressor(limits)),
            #[cfg(feature = "brotli")]
            ContentCoding::Brotli => Some(super::brotli::decompressor(limits)),
            #[cfg(feature = "zstd")]
            ContentCoding::Zstd => super::zstd::decompressor(limits),
            _ => None,
        }
    }
}
