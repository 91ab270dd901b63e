//! The format of a file with the tracked entries.
//!
//! A number of the format, then for each entry: 16 bytes of the primary digest, a byte and 16 bytes of variance, a
//! byte and 8 bytes of the entry's number, 8 bytes of its size, 4 bytes of length and the tag of its owner. At the
//! end a checksum of all. Numbers are little-endian.

use super::{CacheEntryId, CacheEntryKey};
use crate::key::CompactCacheKey;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tokio::fs;

const FORMAT: u8 = 1;

/// The entries of one shard in the making of a file.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Writer(vec![FORMAT])
    }

    pub(super) fn push(&mut self, entry: &CacheEntryKey, size: usize) {
        let key = entry.key();
        let Ok(tag_length) = u32::try_from(key.user_tag.len()) else {
            return;
        };
        let out = &mut self.0;
        out.extend(key.primary);
        out.push(u8::from(key.variance.is_some()));
        out.extend(key.variance.as_deref().copied().unwrap_or_default());
        let id = entry.entry_id();
        out.push(u8::from(id.is_some()));
        out.extend(id.map_or(0, CacheEntryId::get).to_le_bytes());
        out.extend((size as u64).to_le_bytes());
        out.extend(tag_length.to_le_bytes());
        out.extend(key.user_tag.as_bytes());
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let sum = crc32fast::hash(&self.0);
        self.0.extend(sum.to_le_bytes());
        self.0
    }
}

/// Calls `each` with the entries that a [`Writer`] wrote, in that order.
pub(super) fn read(buf: &[u8], mut each: impl FnMut(CacheEntryKey, usize)) -> Result<()> {
    let Some((content, sum)) = buf.split_last_chunk::<4>() else {
        return damaged();
    };
    if u32::from_le_bytes(*sum) != crc32fast::hash(content) {
        return damaged();
    }
    let [FORMAT, rest @ ..] = content else {
        return damaged();
    };
    let mut rest = rest;
    while !rest.is_empty() {
        let Some((entry, size, after)) = read_entry(rest) else {
            return damaged();
        };
        each(entry, size);
        rest = after;
    }
    Ok(())
}

fn read_entry(buf: &[u8]) -> Option<(CacheEntryKey, usize, &[u8])> {
    let (primary, buf) = buf.split_first_chunk::<16>()?;
    let ([has_variance], buf) = buf.split_first_chunk::<1>()?;
    let (variance, buf) = buf.split_first_chunk::<16>()?;
    let ([has_id], buf) = buf.split_first_chunk::<1>()?;
    let (id, buf) = buf.split_first_chunk::<8>()?;
    let (size, buf) = buf.split_first_chunk::<8>()?;
    let (length, buf) = buf.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (tag, rest) = buf.split_at_checked(length)?;
    let key = CompactCacheKey {
        primary: *primary,
        variance: (*has_variance == 1).then(|| Box::new(*variance)),
        user_tag: std::str::from_utf8(tag).ok()?.into(),
    };
    let id = (*has_id == 1).then(|| CacheEntryId::new(u64::from_le_bytes(*id)));
    let size = usize::try_from(u64::from_le_bytes(*size)).unwrap_or(usize::MAX);
    Some((CacheEntryKey::from_entry_id(key, id), size, rest))
}

#[cold]
fn damaged<T>() -> Result<T> {
    Error::e_explain(
        ErrorType::InternalError,
        "a saved list of entries is damaged",
    )
}

/// Writes one file per shard: beside its place, and then there.
pub(super) async fn save(dir: &str, name: &str, shards: Vec<Vec<u8>>) -> Result<()> {
    fs::create_dir_all(dir).await.or_err(
        ErrorType::FileCreateError,
        "the directory for saved entries",
    )?;
    for (shard, content) in shards.into_iter().enumerate() {
        let path = path(dir, name, shard);
        let beside = path.with_extension("new");
        fs::write(&beside, content)
            .await
            .or_err(ErrorType::FileWriteError, "a saved list of entries")?;
        fs::rename(&beside, &path)
            .await
            .or_err(ErrorType::FileWriteError, "a saved list of entries")?;
    }
    Ok(())
}

/// Reads the files of all shards, however many there were: entries find their shard by themselves. Calls `each`
/// with the content of each file. No file is no entry.
pub(super) async fn load(
    dir: &str,
    name: &str,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    for shard in 0.. {
        match fs::read(path(dir, name, shard)).await {
            Ok(content) => each(&content)?,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => {
                return Error::e_because(
                    ErrorType::FileReadError,
                    "a saved list of entries",
                    error,
                );
            }
        }
    }
    Ok(())
}

fn path(dir: &str, name: &str, shard: usize) -> PathBuf {
    Path::new(dir).join(format!("{name}.{shard}"))
}
