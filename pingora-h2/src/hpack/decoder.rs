//! Field blocks to fields.

use super::Field;
use crate::error::Error;

/// Takes the fields of a block as they are decoded.
pub trait Sink {
    /// Announces a field of `size` bytes (name, value and 32). Answers whether it is wanted: if not,
    /// it is decoded for the table's sake only, and not handed over.
    fn wants(&mut self, size: usize) -> bool;

    /// Takes a field that is wanted.
    fn field(&mut self, field: Field);
}

/// The receiving side of the compression of a connection.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// A decoder whose table is bounded by `max_size` bytes: the `SETTINGS_HEADER_TABLE_SIZE` that
    /// is in force from the beginning, 4,096 unless it is known that the peer won't use a table.
    pub fn new(max_size: u32) -> Self {
        let _ = max_size;
        Self {}
    }

    /// The peer acknowledged this `SETTINGS_HEADER_TABLE_SIZE`. If the table is larger, the next
    /// block has to begin with a size update (RFC 7541 section 4.2).
    pub fn set_max_size(&mut self, max_size: u32) {
        let _ = max_size;
    }

    /// Decodes the next bytes of a block; `end` tells whether they are its last. A field that is cut
    /// off waits for the rest.
    ///
    /// # Errors
    /// COMPRESSION_ERROR of the connection. The decoder can't be used any more.
    pub fn decode(
        &mut self,
        fragment: &[u8],
        end: bool,
        sink: &mut impl Sink,
    ) -> Result<(), Error> {
        let _ = (fragment, end, sink);
        Ok(())
    }
}
