//! Compressing and decompressing bodies.
//!
//! A [`ResponseCompressionCtx`] accompanies one request. It learns from the request what the client
//! accepts (RFC 9110 section 12.5.3), decides at the response's head, and from there on turns each
//! part of the body into another. One that was not turned on is a null pointer.
//!
//! | coding | cargo feature | levels |
//! |---|---|---|
//! | gzip, deflate | `compression` (on by default) | 1 to 9 |
//! | Brotli, also with a dictionary (`dcb`) | `brotli` | 1 to 11 |
//! | Zstandard, also with a dictionary (`dcz`) | `zstd` | 1 to 19 |
//!
//! A coding that is not built is never chosen; a client that accepts nothing else gets its response as it is.
//!
//! Never changed are answers without a body, partial ones (206, `Content-Range`), those with
//! `Cache-Control: no-transform` or a digest (`Digest`, `Repr-Digest`, `Content-Digest`, `Content-MD5`,
//! also as a trailer), those with several codings or an unknown one. Never compressed are a body
//! that has a coding, messages of gRPC and Connect, and answers to requests with `no-transform`.
//!
//! A decision is a function of settings, request and response (`plan.rs`); nothing else decides.

mod accept;
mod algorithm;
#[cfg(feature = "brotli")]
mod brotli;
mod coder;
mod coding;
#[cfg(feature = "compression")]
mod compressor;
mod context;
#[cfg_attr(
    not(feature = "compression"),
    allow(dead_code, reason = "no coding is built")
)]
mod decoder;
#[cfg(feature = "compression")]
mod decompressor;
#[cfg(feature = "compression")]
mod deflate;
#[cfg(feature = "compression")]
mod deflater;
mod dictionary;
#[cfg(feature = "compression")]
mod gzip;
#[cfg_attr(
    not(feature = "compression"),
    allow(dead_code, reason = "no coding is built")
)]
mod limits;
mod plan;
mod settings;
#[cfg(feature = "brotli")]
mod shared_brotli;
mod task;
mod transform;
#[cfg(feature = "zstd")]
mod zstd;

pub use algorithm::Algorithm;
pub use coder::{COMPRESSION_ERROR, Encode};
pub use context::ResponseCompressionCtx;
pub use dictionary::{DCZ_HEADER_SIZE, DCZ_MAGIC, DictionaryData};
pub use limits::DecompressionLimits;
pub use settings::CompressionSettings;

pub(crate) use super::changed_body::CHECKSUMS;
pub(crate) use coding::ContentCoding;
pub(crate) use decoder::{DecodeError, Decoder};
pub(crate) use transform::{Coded, content_coding};

#[cfg(test)]
mod tests;
