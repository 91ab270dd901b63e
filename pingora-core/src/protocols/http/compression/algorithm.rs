//! The content codings by the names that programs use.

use super::coder::Encode;
use super::coding::ContentCoding;
use super::decoder::Strict;
use super::dictionary::DictionaryData;
use super::limits::DecompressionLimits;

/// A content coding (RFC 9110 section 8.4.1).
///
/// Brotli and Zstandard are built with the cargo features `brotli` and `zstd`, gzip and deflate with
/// `compression` (on by default). Other codings are known by name, and never chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `*`: any coding that is not named.
    Any,
    /// `gzip`, also known as `x-gzip`.
    Gzip,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
    /// `dcb`: Brotli with a dictionary (RFC 9842). Compressed only, and only where the client has the
    /// dictionary that was set.
    Dcb,
    /// `dcz`: Zstandard with a dictionary (RFC 9842). Compressed only, and only where the client has
    /// the dictionary that was set.
    Dcz,
    /// Any other coding. Where a level or decompression is set by algorithm, it stands for `deflate`.
    Other,
}

impl Algorithm {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// The coding's name as it stands in `Content-Encoding`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Algorithm::Any => "*",
            Algorithm::Gzip => "gzip",
            Algorithm::Brotli => "br",
            Algorithm::Zstd => "zstd",
            Algorithm::Dcb => "dcb",
            Algorithm::Dcz => "dcz",
            Algorithm::Other => "other",
        }
    }

    /// A compressor of this level; `None` at level 0, where the algorithm is not built, where it needs a
    /// dictionary, and for [`Any`](Algorithm::Any) and [`Other`](Algorithm::Other). Levels above the
    /// algorithm's highest (gzip: 9, Brotli: 11, Zstandard: 19) mean the highest.
    pub fn compressor(&self, level: u32) -> Option<Box<dyn Encode + Send + Sync>> {
        match self {
            Algorithm::Any | Algorithm::Other => None,
            named => named.coding()?.encoder(level, false, None),
        }
    }

    /// A compressor of this level that uses the dictionary, as the coding needs one:
    /// [`Dcz`](Algorithm::Dcz) with the cargo feature `zstd`, [`Dcb`](Algorithm::Dcb) with `brotli`, where
    /// level 1 means 2. `None` otherwise, for a dictionary of less than two bytes (`Dcb`), and for one that is
    /// empty or not plain content (`Dcz`).
    pub fn maybe_compressor_with_dictionary(
        &self,
        level: u32,
        dictionary: &DictionaryData,
    ) -> Option<Box<dyn Encode + Send + Sync>> {
        let coding = self.coding().filter(|coding| coding.needs_dictionary())?;
        coding.encoder(level, false, Some(dictionary))
    }

    /// A decompressor; `None` unless `enabled`, and where the algorithm is not built. A piece that grows
    /// beyond 16 MiB is an error.
    pub fn decompressor(&self, enabled: bool) -> Option<Box<dyn Encode + Send + Sync>> {
        match self {
            Algorithm::Any | Algorithm::Other => None,
            _ if !enabled => None,
            named => {
                let decoder = named
                    .coding()?
                    .decoder(DecompressionLimits::of_responses())?;
                Some(Box::new(Strict(decoder)))
            }
        }
    }

    /// Whether there is a decompressor.
    pub fn can_decompress(&self) -> bool {
        match self {
            Algorithm::Any | Algorithm::Other => false,
            named => named.coding().is_some_and(|coding| coding.can_decompress()),
        }
    }

    /// The coding that a program means by it.
    pub(super) fn coding(self) -> Option<ContentCoding> {
        match self {
            Algorithm::Gzip => Some(ContentCoding::Gzip),
            Algorithm::Brotli => Some(ContentCoding::Brotli),
            Algorithm::Zstd => Some(ContentCoding::Zstd),
            Algorithm::Dcb => Some(ContentCoding::Dcb),
            Algorithm::Dcz => Some(ContentCoding::Dcz),
            Algorithm::Other => Some(ContentCoding::Deflate),
            Algorithm::Any => None,
        }
    }

    /// Its place in a table of all algorithms, below [`COUNT`](Algorithm::COUNT).
    pub fn index(&self) -> usize {
        *self as usize
    }
}

impl From<&str> for Algorithm {
    /// Reads a coding's name, in any case.
    fn from(name: &str) -> Self {
        const NAMES: [(&str, Algorithm); 7] = [
            ("gzip", Algorithm::Gzip),
            ("x-gzip", Algorithm::Gzip),
            ("br", Algorithm::Brotli),
            ("zstd", Algorithm::Zstd),
            ("dcb", Algorithm::Dcb),
            ("dcz", Algorithm::Dcz),
            ("*", Algorithm::Any),
        ];
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Algorithm::Other, |(_, algorithm)| *algorithm)
    }
}
