//! Names of single stored entries, shared by a storage and the code that frees its space.

use crate::key::CompactCacheKey;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A number that distinguishes two entries of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CacheEntryId(u64);

impl CacheEntryId {
    /// The entry with this number.
    pub fn new(value: u64) -> Self {
        CacheEntryId(value)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// Names a stored entry: by its key, and by its number if the storage assigns numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CacheEntryKey {
    /// Any entry stored under this key.
    KeyOnly(CompactCacheKey),
    /// A specific entry under this key.
    Identified {
        /// The key.
        key: CompactCacheKey,
        /// The entry's number.
        id: CacheEntryId,
    },
}

impl CacheEntryKey {
    /// Names an entry by its key, and by its number if it has one.
    pub fn from_entry_id(key: CompactCacheKey, id: Option<CacheEntryId>) -> Self {
        match id {
            Some(id) => CacheEntryKey::Identified { key, id },
            None => CacheEntryKey::KeyOnly(key),
        }
    }

    /// Names any entry stored under `key`.
    pub fn key_only(key: CompactCacheKey) -> Self {
        CacheEntryKey::KeyOnly(key)
    }

    /// Names a specific entry under `key`.
    pub fn identified(key: CompactCacheKey, id: CacheEntryId) -> Self {
        CacheEntryKey::Identified { key, id }
    }

    /// The key.
    pub fn key(&self) -> &CompactCacheKey {
        match self {
            CacheEntryKey::KeyOnly(key) | CacheEntryKey::Identified { key, .. } => key,
        }
    }

    /// The key.
    pub fn into_key(self) -> CompactCacheKey {
        match self {
            CacheEntryKey::KeyOnly(key) | CacheEntryKey::Identified { key, .. } => key,
        }
    }

    /// The entry's number, if it has one.
    pub fn entry_id(&self) -> Option<CacheEntryId> {
        match self {
            CacheEntryKey::KeyOnly(_) => None,
            CacheEntryKey::Identified { id, .. } => Some(*id),
        }
    }
}

impl Default for CacheEntryKey {
    fn default() -> Self {
        CacheEntryKey::KeyOnly(CompactCacheKey::default())
    }
}

impl fmt::Display for CacheEntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CacheEntryKeyRef::from(self).fmt(f)
    }
}

/// [`CacheEntryKey`] of a borrowed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheEntryKeyRef<'a> {
    /// Any entry stored under this key.
    KeyOnly(&'a CompactCacheKey),
    /// A specific entry under this key.
    Identified {
        /// The key.
        key: &'a CompactCacheKey,
        /// The entry's number.
        id: CacheEntryId,
    },
}

impl<'a> CacheEntryKeyRef<'a> {
    /// Names an entry by its key, and by its number if it has one.
    pub fn from_entry_id(key: &'a CompactCacheKey, id: Option<CacheEntryId>) -> Self {
        match id {
            Some(id) => CacheEntryKeyRef::Identified { key, id },
            None => CacheEntryKeyRef::KeyOnly(key),
        }
    }

    /// The key.
    pub fn key(self) -> &'a CompactCacheKey {
        match self {
            CacheEntryKeyRef::KeyOnly(key) | CacheEntryKeyRef::Identified { key, .. } => key,
        }
    }

    /// The entry's number, if it has one.
    pub fn entry_id(self) -> Option<CacheEntryId> {
        match self {
            CacheEntryKeyRef::KeyOnly(_) => None,
            CacheEntryKeyRef::Identified { id, .. } => Some(id),
        }
    }
}

impl<'a> From<&'a CacheEntryKey> for CacheEntryKeyRef<'a> {
    fn from(entry: &'a CacheEntryKey) -> Self {
        CacheEntryKeyRef::from_entry_id(entry.key(), entry.entry_id())
    }
}

impl fmt::Display for CacheEntryKeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key())?;
        match self.entry_id() {
            Some(id) => write!(f, ", entry: {}", id.get()),
            None => Ok(()),
        }
    }
}
