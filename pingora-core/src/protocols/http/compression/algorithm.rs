//! The content codings there are, and which of them are built.

use super::coder::Encode;

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `*`: any coding that is not named.
    Any,
    /// `gzip`, also known as `x-gzip`.
    Gzip,
    /// `br`. Not built yet.
    Brotli,
    /// `zstd`. Not built yet.
    Zstd,
    /// `dcb`: Brotli with a dictionary (RFC 9842). Not built yet.
    Dcb,
    /// `dcz`: Zstandard with a dictionary (RFC 9842). Not built yet.
    Dcz,
    /// Any other coding.
    Other,
}

impl Algorithm {
    /// How many there are.
    pub(super) const COUNT: usize = 7;

    /// Those that a response may be compressed with, the preferred one first.
    pub(super) const CANDIDATES: [Algorithm; 3] =
        [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip];

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

    /// A compressor of this level; `None` at level 0 and where the algorithm is not built. Levels
    /// above the algorithm's highest (gzip: 9) mean the highest.
    pub fn compressor(&self, level: u32) -> Option<Box<dyn Encode + Send + Sync>> {
        self.compressor_for(level, false)
    }

    /// With `flush`, all that is taken in is given out at once.
    pub(super) fn compressor_for(
        &self,
        level: u32,
        flush: bool,
    ) -> Option<Box<dyn Encode + Send + Sync>> {
        match self {
            #[cfg(feature = "compression")]
            Algorithm::Gzip if level > 0 => {
                Some(Box::new(super::gzip::Compressor::new(level, flush)))
            }
            _ => {
                let _ = (level, flush);
                None
            }
        }
    }

    /// A decompressor; `None` unless `enabled`, and where the algorithm is not built.
    pub fn decompressor(&self, enabled: bool) -> Option<Box<dyn Encode + Send + Sync>> {
        match self {
            #[cfg(feature = "compression")]
            Algorithm::Gzip if enabled => Some(Box::new(super::gzip::Decompressor::new())),
            _ => {
                let _ = enabled;
                None
            }
        }
    }

    /// Whether there is a compressor.
    pub(super) fn can_compress(&self) -> bool {
        cfg!(feature = "compression") && matches!(self, Algorithm::Gzip)
    }

    /// Whether there is a decompressor.
    pub fn can_decompress(&self) -> bool {
        cfg!(feature = "compression") && matches!(self, Algorithm::Gzip)
    }

    /// Its place in a table of all algorithms.
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
