//! Decodes field blocks into fields.

use bytes::{Buf, Bytes, BytesMut};

use super::field::{Entry, Name};
use super::table::DynamicTable;
use super::{Field, huffman, integer, static_table};
use crate::error::{Error, Reason};

/// Initial capacity for the text of a block, in bytes.
const MOST_ROOM: usize = 4096;

/// Takes the fields of a block as they are decoded.
pub trait Sink {
    /// Announces a field of `size` bytes (name, value and 32). Returns whether the field is wanted;
    /// if not, it is decoded only to update the table, and not handed over.
    fn wants(&mut self, size: usize) -> bool;

    /// Takes a field that is wanted.
    fn field(&mut self, field: Field);

    /// Takes a field that is wanted and that a table keeps. Copies it by default.
    #[inline]
    fn indexed(&mut self, field: &Field) {
        self.field(field.clone());
    }
}

/// Discards all fields: for blocks of streams that are gone, which have to be decoded nevertheless.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl Sink for Discard {
    fn wants(&mut self, _: usize) -> bool {
        false
    }

    fn field(&mut self, _: Field) {}
}

/// The receiving side of a connection's field compression.
///
/// ```text
///            size update        field
///            +--------+       +-------+
///            v        |       v       |
/// block --> START ----+----> FIELDS --+--> end of the block --> START
/// ```
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    /// The largest limit that the peer may set for the table.
    max_size: usize,
    /// If set, the next block has to begin with a size update of at most this value.
    reduction: Option<usize>,
    /// A field of the open block has been decoded, so size updates are no longer allowed.
    in_fields: bool,
    /// The beginning of a field that was cut off. Bounded like the block.
    cut_off: Vec<u8>,
}

/// A string as it appears in the block.
#[derive(Clone, Copy)]
struct Text<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

/// How the sender wants a literal field to be indexed (RFC 7541 section 6.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexing {
    /// Added to the table.
    Insert,
    /// Not indexed.
    Without,
    /// Never indexed, at any hop: the value is a secret.
    Never,
}

/// How a field is represented (RFC 7541 section 6).
enum Representation<'a> {
    Indexed(u32),
    Literal {
        /// 0: the name is literal.
        index: u32,
        name: Option<Text<'a>>,
        value: Text<'a>,
        indexing: Indexing,
    },
    SizeUpdate(u32),
}

#[cold]
fn broken(section: &'static str, detail: &'static str) -> Error {
    Error::connection(Reason::COMPRESSION_ERROR, section, detail)
}

impl From<integer::Overflow> for Error {
    fn from(_: integer::Overflow) -> Self {
        broken("RFC 7541 5.1", "an integer is too large or too long")
    }
}

impl From<huffman::Invalid> for Error {
    fn from(_: huffman::Invalid) -> Self {
        broken("RFC 7541 5.2", "a string is no valid Huffman code")
    }
}

impl Decoder {
    /// Creates a decoder whose table is bounded by `max_size` bytes: the
    /// `SETTINGS_HEADER_TABLE_SIZE` that is in force at the start, 4,096 on every connection.
    pub fn new(max_size: u32) -> Self {
        let max_size = max_size as usize;
        Self {
            table: DynamicTable::new(max_size),
            max_size,
            reduction: None,
            in_fields: false,
            cut_off: Vec::new(),
        }
    }

    /// Applies a `SETTINGS_HEADER_TABLE_SIZE` that the peer acknowledged. If the table's limit is
    /// larger, the next block has to begin with a size update (RFC 7541 section 4.2).
    ///
    /// Must not be called within a block.
    pub fn set_max_size(&mut self, max_size: u32) {
        let max_size = max_size as usize;
        self.max_size = max_size;
        if max_size < self.table.limit() {
            let least = self.reduction.unwrap_or(max_size);
            self.reduction = Some(least.min(max_size));
        }
    }

    /// Decodes the next bytes of a block; `end` tells whether they are the last. A field that is cut
    /// off is kept until the rest arrives.
    ///
    /// # Errors
    /// COMPRESSION_ERROR of the connection. The decoder must not be used afterwards.
    pub fn decode(
        &mut self,
        fragment: &[u8],
        end: bool,
        sink: &mut impl Sink,
    ) -> Result<(), Error> {
        if self.cut_off.is_empty() {
            self.decode_bytes(fragment, end, sink)
        } else {
            let mut bytes = std::mem::take(&mut self.cut_off);
            bytes.extend_from_slice(fragment);
            self.decode_bytes(&bytes, end, sink)
        }
    }

    fn decode_bytes(
        &mut self,
        mut bytes: &[u8],
        end: bool,
        sink: &mut impl Sink,
    ) -> Result<(), Error> {
        // The text of all literals of a fragment: names are only stored briefly, values are slices
        // of it.
        let mut text = BytesMut::new();
        while !bytes.is_empty() {
            let Some((representation, rest)) = representation(bytes)? else {
                if end {
                    let detail = "a field block ends within a field";
                    return Err(broken("RFC 7541 3.1", detail));
                }
                self.cut_off = bytes.to_vec();
                return Ok(());
            };
            if let Representation::SizeUpdate(size) = representation {
                self.size_update(size as usize)?;
            } else {
                self.begin_fields()?;
                self.one(representation, bytes.len(), &mut text, sink)?;
            }
            bytes = rest;
        }
        if end {
            // A block may have no fields, but not if a size update is due.
            self.begin_fields()?;
            self.in_fields = false;
        }
        Ok(())
    }

    fn begin_fields(&mut self) -> Result<(), Error> {
        self.in_fields = true;
        match self.reduction {
            None => Ok(()),
            Some(_) => Err(broken("RFC 7541 4.2", "the table was not reduced")),
        }
    }

    fn size_update(&mut self, size: usize) -> Result<(), Error> {
        if self.in_fields {
            let detail = "a size update behind a field";
            return Err(broken("RFC 7541 4.2", detail));
        }
        if size > self.max_size {
            let detail = "a size update above what was announced";
            return Err(broken("RFC 7541 6.3", detail));
        }
        self.reduction = self.reduction.filter(|least| size > *least);
        self.table.set_limit(size);
        Ok(())
    }

    /// Decodes one field. `left`: the bytes of the fragment that remain for this field and those
    /// after it.
    #[inline]
    fn one(
        &mut self,
        representation: Representation<'_>,
        left: usize,
        text: &mut BytesMut,
        sink: &mut impl Sink,
    ) -> Result<(), Error> {
        match representation {
            Representation::Indexed(index) => {
                let (entry, size) = self.entry(index)?;
                if sink.wants(size) {
                    hand_over(entry, sink);
                }
                Ok(())
            }
            Representation::Literal {
                index,
                name,
                value,
                indexing,
            } => {
                if text.capacity() == 0 {
                    // The shortest Huffman codes have 5 bits.
                    text.reserve((left * 8 / 5 + 2).min(MOST_ROOM));
                }
                let name = match name {
                    Some(name) => literal_name(name, text)?,
                    None => self.entry(index)?.0.name(),
                };
                self.literal(name, value, indexing, text, sink)
            }
            Representation::SizeUpdate(_) => Ok(()),
        }
    }

    fn literal(
        &mut self,
        name: Name,
        value: Text<'_>,
        indexing: Indexing,
        text: &mut BytesMut,
        sink: &mut impl Sink,
    ) -> Result<(), Error> {
        append(value, text)?;
        let size = name.len() + text.len() + super::FIELD_OVERHEAD;
        let wanted = sink.wants(size);
        if indexing == Indexing::Insert {
            // The copy has memory of its own, because the entry may outlive everything else in the
            // block.
            let entry = Entry::new(name, Bytes::copy_from_slice(text));
            text.clear();
            if wanted {
                hand_over(&entry, sink);
            }
            self.table.insert(entry, size);
        } else if wanted {
            let value = text.split().freeze();
            let mut field = Entry::new(name, value).into_field();
            if let (Field::Regular(_, value), Indexing::Never) = (&mut field, indexing) {
                value.set_sensitive(true);
            }
            sink.field(field);
        } else {
            text.clear();
        }
        Ok(())
    }

    /// The entry at an index, and its size (RFC 7541 section 2.3.3).
    #[inline]
    fn entry(&self, index: u32) -> Result<(&Entry, usize), Error> {
        let place = (index as usize).wrapping_sub(1);
        if let Some(entry) = static_table::TABLE.get(place) {
            return Ok((entry, entry.size()));
        }
        let place = place.wrapping_sub(static_table::LENGTH);
        let found = self.table.get(place);
        found.ok_or_else(|| broken("RFC 7541 2.3.3", "an index beyond the tables"))
    }

    #[cfg(test)]
    pub(super) fn table_limit(&self) -> usize {
        self.table.limit()
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }
}

#[inline]
fn hand_over(entry: &Entry, sink: &mut impl Sink) {
    match entry {
        Entry::Good(field) => sink.indexed(field),
        Entry::Bad { why, .. } => sink.field(Field::Malformed(*why)),
    }
}

fn literal_name(name: Text<'_>, text: &mut BytesMut) -> Result<Name, Error> {
    if !name.huffman {
        return Ok(Name::parse(name.bytes));
    }
    append(name, text)?;
    let name = Name::parse(text);
    let length = text.len();
    text.advance(length);
    Ok(name)
}

fn append(string: Text<'_>, text: &mut BytesMut) -> Result<(), Error> {
    if string.huffman {
        huffman::decode(string.bytes, text)?;
    } else {
        text.extend_from_slice(string.bytes);
    }
    Ok(())
}

/// The next representation, and the bytes after it. `None`: it is cut off.
#[inline]
fn representation(bytes: &[u8]) -> Result<Option<(Representation<'_>, &[u8])>, Error> {
    let Some(first) = bytes.first() else {
        return Ok(None);
    };
    let (prefix, indexing) = match first {
        0x80.. => (7, Indexing::Without),
        0x40..0x80 => (6, Indexing::Insert),
        0x20..0x40 => (5, Indexing::Without),
        0x10..0x20 => (4, Indexing::Never),
        0x00..0x10 => (4, Indexing::Without),
    };
    let Some((number, rest)) = integer::decode(bytes, prefix)? else {
        return Ok(None);
    };
    match prefix {
        7 => return Ok(Some((Representation::Indexed(number), rest))),
        5 => return Ok(Some((Representation::SizeUpdate(number), rest))),
        _ => {}
    }
    let (name, rest) = if number == 0 {
        let Some((name, rest)) = string(rest)? else {
            return Ok(None);
        };
        (Some(name), rest)
    } else {
        (None, rest)
    };
    let Some((value, rest)) = string(rest)? else {
        return Ok(None);
    };
    let literal = Representation::Literal {
        index: number,
        name,
        value,
        indexing,
    };
    Ok(Some((literal, rest)))
}

/// A string (RFC 7541 section 5.2).
#[inline]
fn string(bytes: &[u8]) -> Result<Option<(Text<'_>, &[u8])>, Error> {
    let huffman = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let Some((length, rest)) = integer::decode(bytes, 7)? else {
        return Ok(None);
    };
    let Some((bytes, rest)) = rest.split_at_checked(length as usize) else {
        return Ok(None);
    };
    Ok(Some((Text { huffman, bytes }, rest)))
}
