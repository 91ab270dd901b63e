//! The format of an entry's file.
//!
//! ```text
//! 0    8  mark and number of the format
//! 8   16  digest of the primary key
//! 24   1  whether there is a variant, and 16 bytes of its digest
//! 41   8  number of the entry
//! 49  16  the boot in which it was written
//! 65   4  length of the cache's own metadata
//! 69   4  length of the header
//! 73   4  length of the text of the key
//! 77   8  length of the body
//! 85   4  checksum of metadata, header and key
//! 89   4  checksum of the body
//! 93   4  checksum of all of the above
//! 100     metadata, header, key, body
//! ```
//! Numbers are little-endian. Metadata that was updated later is in a file of its own, of the same form, without a key
//! and without a body.

use crate::CacheMeta;
use crate::key::{HashBinary, Name};
use std::io;
use std::path::{Path, PathBuf};

/// The length of what precedes the metadata.
pub(super) const FIXED: usize = 100;
const MARK: &[u8; 8] = b"pgcache\x02";
/// The suffix of the file with updated metadata.
const UPDATED: &str = ".meta";

impl Name {
    /// The file of an entry: in one of 256 directories.
    pub(super) fn path(&self, dir: &Path, id: u64) -> PathBuf {
        let primary = hex(&self.primary);
        let variance = self.variance.as_ref().map(hex);
        let folder = dir.join(primary.get(..2).unwrap_or_default());
        folder.join(match variance {
            Some(variance) => format!("{primary}-{variance}.{id:016x}"),
            None => format!("{primary}.{id:016x}"),
        })
    }

    /// The same for updated metadata.
    pub(super) fn updated_path(&self, dir: &Path, id: u64) -> PathBuf {
        let mut path = self.path(dir, id).into_os_string();
        path.push(UPDATED);
        path.into()
    }

    /// Reads the name of a file: the entry, its number, and whether it is updated metadata.
    pub(super) fn read(file: &str) -> Option<(Name, u64, bool)> {
        let (rest, is_updated) = match file.strip_suffix(UPDATED) {
            Some(rest) => (rest, true),
            None => (file, false),
        };
        let (digests, id) = rest.split_once('.')?;
        let id = (id.len() == 16).then(|| u64::from_str_radix(id, 16).ok())??;
        let (primary, variance) = match digests.split_once('-') {
            Some((primary, variance)) => (primary, Some(crate::key::str2hex(variance)?)),
            None => (digests, None),
        };
        let primary = crate::key::str2hex(primary)?;
        Some((Name { primary, variance }, id, is_updated))
    }
}

fn hex(digest: &HashBinary) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The part of a file before the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: Name,
    pub(super) id: u64,
    pub(super) boot: [u8; 16],
    pub(super) internal: u32,
    pub(super) header: u32,
    pub(super) key: u32,
    pub(super) body: u64,
    pub(super) meta_sum: u32,
    pub(super) body_sum: u32,
}

impl Head {
    pub(super) fn write(&self) -> [u8; FIXED] {
        let mut out = Vec::with_capacity(FIXED);
        out.extend(MARK);
        out.extend(self.name.primary);
        out.push(u8::from(self.name.variance.is_some()));
        out.extend(self.name.variance.unwrap_or_default());
        out.extend(self.id.to_le_bytes());
        out.extend(self.boot);
        out.extend(self.internal.to_le_bytes());
        out.extend(self.header.to_le_bytes());
        out.extend(self.key.to_le_bytes());
        out.extend(self.body.to_le_bytes());
        out.extend(self.meta_sum.to_le_bytes());
        out.extend(self.body_sum.to_le_bytes());
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.resize(FIXED, 0);
        out.try_into().unwrap_or([0; FIXED])
    }

    /// `None`: this is no entry, or a damaged one, or of another format.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        let (content, sum) = fixed.split_at_checked(93)?;
        if u32::from_le_bytes(*sum.first_chunk()?) != crc32fast::hash(content) {
            return None;
        }
        let rest = content.strip_prefix(MARK)?;
        let (primary, rest) = rest.split_first_chunk()?;
        let ([has_variance], rest) = rest.split_first_chunk()?;
        let (variance, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (boot, rest) = rest.split_first_chunk()?;
        let (internal, rest) = rest.split_first_chunk()?;
        let (header, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (body, rest) = rest.split_first_chunk()?;
        let (meta_sum, rest) = rest.split_first_chunk()?;
        let (body_sum, _) = rest.split_first_chunk()?;
        Some(Head {
            name: Name {
                primary: *primary,
                variance: (*has_variance == 1).then_some(*variance),
            },
            id: u64::from_le_bytes(*id),
            boot: *boot,
            internal: u32::from_le_bytes(*internal),
            header: u32::from_le_bytes(*header),
            key: u32::from_le_bytes(*key),
            body: u64::from_le_bytes(*body),
            meta_sum: u32::from_le_bytes(*meta_sum),
            body_sum: u32::from_le_bytes(*body_sum),
        })
    }

    /// Where the body begins.
    pub(super) fn body_at(&self) -> u64 {
        let [internal, header, key] = [self.internal, self.header, self.key].map(u64::from);
        FIXED as u64 + internal + header + key
    }

    /// The length of the whole file.
    pub(super) fn file_len(&self) -> u64 {
        self.body_at().saturating_add(self.body)
    }

    /// The text of the key, of bytes that begin with the head and whose [metadata](Self::meta) was read.
    pub(super) fn key<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let end = usize::try_from(self.body_at()).ok()?;
        let key = usize::try_from(self.key).ok()?;
        bytes.get(end.checked_sub(key)?..end)
    }

    /// The metadata, of bytes that begin with the head.
    pub(super) fn meta(&self, bytes: &[u8]) -> Option<CacheMeta> {
        let end = usize::try_from(self.body_at()).ok()?;
        let meta = bytes.get(FIXED..end)?;
        if crc32fast::hash(meta) != self.meta_sum {
            return None;
        }
        let (internal, rest) = meta.split_at_checked(usize::try_from(self.internal).ok()?)?;
        let (header, _) = rest.split_at_checked(usize::try_from(self.header).ok()?)?;
        CacheMeta::deserialize(internal, header).ok()
    }
}

/// The metadata of an entry and its key as bytes, and a head that lacks what is known only at the end.
pub(super) fn begin(
    name: Name,
    id: u64,
    boot: [u8; 16],
    meta: &CacheMeta,
    key: &[u8],
) -> pingora_error::Result<(Head, Vec<u8>)> {
    let (internal, header) = meta.serialize()?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let head = Head {
        name,
        id,
        boot,
        internal: length(&internal),
        header: length(&header),
        key: length(key),
        body: 0,
        meta_sum: 0,
        body_sum: 0,
    };
    let meta = [&internal[..], &header, key].concat();
    let head = Head {
        meta_sum: crc32fast::hash(&meta),
        ..head
    };
    Ok((head, meta))
}

/// A number of this boot of the machine: what was written during another one may have been lost in part. Zero if
/// the system has none, so that nothing is trusted unread.
pub(super) fn boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    crate::key::str2hex(&digits).unwrap_or_default()
}

pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a stored response is damaged")
}
