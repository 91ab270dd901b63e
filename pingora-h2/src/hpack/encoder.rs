//! Encodes fields into field blocks.

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use std::collections::VecDeque;

use super::names::{KNOWN, Policy, known};
use super::{DEFAULT_TABLE_SIZE, FIELD_OVERHEAD, Pseudo, huffman, integer, static_table};

/// The largest part of the peer's table that is used, in bytes. It keeps idle connections small.
const LARGEST_TABLE: usize = 1024;
/// Longer values are not indexed.
const LONGEST_VALUE: usize = 256;

/// Representations, and the number of bits of their prefixes (RFC 7541 section 6).
const INDEXED: (u8, u32) = (0x80, 7);
const INSERT: (u8, u32) = (0x40, 6);
const SIZE_UPDATE: (u8, u32) = (0x20, 5);
const NEVER: (u8, u32) = (0x10, 4);
const WITHOUT: (u8, u32) = (0x00, 4);

/// Indices of the static table.
const AUTHORITY: u8 = 1;
const METHOD: u8 = 2;
const PATH: u8 = 4;
const SCHEME: u8 = 6;
const STATUS: u8 = 8;
/// `accept-encoding: gzip, deflate`, the only regular entry with a value.
const GZIP_DEFLATE: u8 = 16;

/// The sending side of a connection's field compression.
///
/// A field is written as an entry of the static table, as an entry of the peer's dynamic table, or
/// as a literal. The dynamic table only receives fields whose names are known to repeat and to hold
/// nothing private, and of those only values that came twice in a row. In that case an index takes
/// less time than the literal, and fewer bytes. Secrets (`authorization`, `cookie`, and values
/// marked [sensitive](HeaderValue::is_sensitive)) are literals that no hop may index.
///
/// Memory: at most 1 KiB for the table, and nothing until a value repeats.
#[derive(Debug)]
pub struct Encoder {
    /// The inserted entries, newest first.
    entries: VecDeque<Entry>,
    /// The size of all entries (RFC 7541 section 4.1).
    size: usize,
    /// The limit of the peer's table that has been signalled to it.
    limit: usize,
    /// Set if the peer allows less than `limit`: the next block has to begin with a size update.
    reduction: Option<usize>,
    /// A hash of the last value of each known name, and of `:authority`.
    last: [u32; KNOWN.len() + 1],
}

#[derive(Debug)]
struct Entry {
    name: u8,
    value: Box<[u8]>,
    size: usize,
}

/// The place of `:authority` among the names.
const AUTHORITY_NAME: u8 = KNOWN.len() as u8;

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder for a peer whose settings are not known yet.
    pub fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: DEFAULT_TABLE_SIZE as usize,
            reduction: None,
            last: [0; KNOWN.len() + 1],
        }
    }

    /// Applies a change of the peer's `SETTINGS_HEADER_TABLE_SIZE`, in bytes. If its SETTINGS had
    /// several values, first call this with
    /// [`least_header_table_size`](crate::frame::Settings::least_header_table_size).
    ///
    /// A table that has grown is not used beyond its previous size; an encoder is free to do so
    /// (RFC 7541 section 4.2).
    pub fn set_max_size(&mut self, max_size: u32) {
        let max_size = max_size as usize;
        if max_size < self.reduction.unwrap_or(self.limit) {
            self.reduction = Some(max_size);
        }
    }

    /// Begins a block. Must be called at the start of every block.
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(limit) = self.reduction.take() {
            integer::encode(out, SIZE_UPDATE.0, SIZE_UPDATE.1, limit);
            self.limit = limit;
            self.make_room(0);
        }
    }

    /// Appends `:method`.
    #[inline]
    pub fn method(&mut self, out: &mut Vec<u8>, method: &Method) {
        match *method {
            Method::GET => indexed(out, METHOD.into()),
            Method::POST => indexed(out, (METHOD + 1).into()),
            _ => literal(out, WITHOUT, METHOD.into(), method.as_str().as_bytes()),
        }
    }

    /// Appends `:status`.
    #[inline]
    pub fn status(&mut self, out: &mut Vec<u8>, status: StatusCode) {
        let offset = match status {
            StatusCode::OK => 0,
            StatusCode::NO_CONTENT => 1,
            StatusCode::PARTIAL_CONTENT => 2,
            StatusCode::NOT_MODIFIED => 3,
            StatusCode::BAD_REQUEST => 4,
            StatusCode::NOT_FOUND => 5,
            StatusCode::INTERNAL_SERVER_ERROR => 6,
            _ => return literal(out, WITHOUT, STATUS.into(), status.as_str().as_bytes()),
        };
        indexed(out, (STATUS + offset).into());
    }

    /// Appends another pseudo-header field.
    pub fn pseudo(&mut self, out: &mut Vec<u8>, pseudo: Pseudo, value: &[u8]) {
        let index = match (pseudo, value) {
            (Pseudo::Path, b"/") => return indexed(out, PATH.into()),
            (Pseudo::Scheme, b"http") => return indexed(out, SCHEME.into()),
            (Pseudo::Scheme, b"https") => return indexed(out, (SCHEME + 1).into()),
            (Pseudo::Authority, _) => {
                let (name, length) = (AUTHORITY_NAME, pseudo.name().len());
                let inserts = match self.find(out, name, length, value) {
                    Found::Written => return,
                    Found::Insert => INSERT,
                    Found::Nothing => WITHOUT,
                };
                return literal(out, inserts, AUTHORITY.into(), value);
            }
            (Pseudo::Path, _) => PATH,
            (Pseudo::Scheme, _) => SCHEME,
            (Pseudo::Protocol, _) => {
                return named_literal(out, WITHOUT, pseudo.name().as_bytes(), value);
            }
        };
        literal(out, WITHOUT, index.into(), value);
    }

    /// Appends a field.
    #[inline]
    pub fn field(&mut self, out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
        let sensitive = value.is_sensitive();
        self.put(out, name.as_str().as_bytes(), value.as_bytes(), sensitive);
    }

    /// Appends a field whose name is in lower case and whose value is not marked as sensitive. Names that stand for secrets
    /// are known here as well.
    #[inline]
    pub fn text_field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        self.put(out, name, value, false);
    }

    fn put(&mut self, out: &mut Vec<u8>, text: &[u8], value_bytes: &[u8], sensitive: bool) {
        let known = known(text);
        let (index, policy) = known.map_or((0, Policy::Plain), |known| (known.index, known.policy));
        let mut representation = WITHOUT;
        if policy == Policy::Secret || sensitive {
            representation = NEVER;
        } else if index == GZIP_DEFLATE && value_bytes == b"gzip, deflate" {
            return indexed(out, GZIP_DEFLATE.into());
        } else if let (Policy::Repeats, Some(known)) = (policy, known) {
            match self.find(out, known.place, text.len(), value_bytes) {
                Found::Written => return,
                Found::Insert => representation = INSERT,
                Found::Nothing => {}
            }
        }
        match index {
            0 => named_literal(out, representation, text, value_bytes),
            index => literal(out, representation, index.into(), value_bytes),
        }
    }

    /// Looks a field up in the peer's table, and decides whether to insert it.
    fn find(&mut self, out: &mut Vec<u8>, name: u8, name_length: usize, value: &[u8]) -> Found {
        let same = |entry: &Entry| entry.name == name && *entry.value == *value;
        if let Some(place) = self.entries.iter().position(same) {
            indexed(out, static_table::LENGTH + 1 + place);
            return Found::Written;
        }
        let hash = hash(value);
        let Some(last) = self.last.get_mut(usize::from(name)) else {
            return Found::Nothing;
        };
        let size = name_length + value.len() + FIELD_OVERHEAD;
        let most = self.limit.min(LARGEST_TABLE);
        if std::mem::replace(last, hash) != hash || value.len() > LONGEST_VALUE || size > most {
            return Found::Nothing;
        }
        self.make_room(size);
        self.size += size;
        let value = value.into();
        self.entries.push_front(Entry { name, value, size });
        Found::Insert
    }

    /// Evicts entries until `size` more bytes fit. The peer may keep them longer, because the limit
    /// that it knows is not smaller; that does not change the indices of the remaining entries.
    fn make_room(&mut self, size: usize) {
        let most = self.limit.min(LARGEST_TABLE);
        while self.size.saturating_add(size) > most {
            let Some(oldest) = self.entries.pop_back() else {
                break;
            };
            self.size = self.size.saturating_sub(oldest.size);
        }
    }
}

/// The result of a table lookup.
enum Found {
    /// The entry exists; its index was written.
    Written,
    /// The entry was added: the caller has to write a literal with incremental indexing.
    Insert,
    /// The entry does not exist and is not added.
    Nothing,
}

/// FNV-1a, never 0.
fn hash(value: &[u8]) -> u32 {
    let hash = value.iter().fold(0x811c_9dc5_u32, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash | 1
}

#[inline]
fn indexed(out: &mut Vec<u8>, index: usize) {
    integer::encode(out, INDEXED.0, INDEXED.1, index);
}

#[inline]
fn literal(out: &mut Vec<u8>, (flags, prefix): (u8, u32), index: usize, value: &[u8]) {
    integer::encode(out, flags, prefix, index);
    string(out, value);
}

fn named_literal(out: &mut Vec<u8>, (flags, _): (u8, u32), name: &[u8], value: &[u8]) {
    out.push(flags);
    string(out, name);
    string(out, value);
}

/// Appends a string, Huffman-coded if that is shorter (RFC 7541 section 5.2).
fn string(out: &mut Vec<u8>, text: &[u8]) {
    let length = huffman::encoded_length(text);
    if length < text.len() {
        integer::encode(out, 0x80, 7, length);
        huffman::encode(text, out);
    } else {
        integer::encode(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}
