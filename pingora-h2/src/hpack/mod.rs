//! Compression of fields (RFC 7541): [`Decoder`] and [`Encoder`].
//!
//! # Errors
//! A block that can't be decompressed leaves the two ends with different tables, so it is always a
//! COMPRESSION_ERROR of the connection. A malformed field is not: the decoder reports it as
//! [`Field::Malformed`] and continues, so that only the stream of that message ends (RFC 9113
//! section 8.1.1).
//!
//! | RFC 7541 | COMPRESSION_ERROR |
//! |---|---|
//! | 2.3.3 | index 0, or beyond both tables |
//! | 4.2, 6.3 | a size update above what we announced, after a field, or missing after a reduction |
//! | 5.1 | an integer over 2³²−1 or of more than five bytes behind its prefix |
//! | 5.2 | EOS within a string, padding of 8 bits or more or with a 0 |
//! | | a block that ends within a field |
//!
//! # Bounds
//! The decoder's table is bounded by the size that we announced (`SETTINGS_HEADER_TABLE_SIZE`), the
//! encoder's by the peer's number and by 1 KiB. A block is bounded on the wire by
//! [`ReaderLimits::max_block_bytes`](crate::frame::ReaderLimits::max_block_bytes), its list by
//! [`ListLimits`]; fields beyond the latter are decoded to keep the table correct, but not stored.

mod decoder;
mod encoder;
mod field;
mod huffman;
mod integer;
mod list;
mod names;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Discard, Sink};
pub use encoder::Encoder;
pub use field::{Field, Pseudo, malformed};
pub use pingora_http::grammar::{Malformed, Section};

pub use list::{FieldList, ListLimits, PseudoFields, Refusal};

/// The size of a dynamic table until it is changed, in bytes (RFC 9113 section 6.5.2).
pub const DEFAULT_TABLE_SIZE: u32 = 4096;
/// The bytes that a field counts for in a table or list beyond its name and value (RFC 7541 section
/// 4.1).
pub const FIELD_OVERHEAD: usize = 32;
