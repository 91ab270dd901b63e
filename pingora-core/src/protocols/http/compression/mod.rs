//! Compressing responses, and decompressing them for clients that can't.
//!
//! A [`ResponseCompressionCtx`] accompanies one request. It learns from the request what the client
//! accepts (RFC 9110 section 12.5.3), decides at the response's head, and from there on turns each
//! part of the body into another. One that nobody turned on is a null pointer.
//!
//! gzip is built, behind the cargo feature `compression` (on by default). Brotli, Zstandard and
//! compression dictionaries are **not built yet**: their [`Algorithm`]s exist and have no
//! compressor, so a client that accepts nothing else gets its response as it is.

mod accept;
mod algorithm;
mod coder;
mod context;
#[cfg(feature = "compression")]
mod gzip;
mod task;
mod transform;

pub use algorithm::Algorithm;
pub use coder::{COMPRESSION_ERROR, Encode};
pub use context::ResponseCompressionCtx;

#[cfg(test)]
mod tests;
