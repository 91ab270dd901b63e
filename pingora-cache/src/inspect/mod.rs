//! Looks at what is stored, for operators: looks it up and lists it.
//!
//! An [`Inspector`] is a handle that an administration service can hold. It changes nothing about what is stored: what it
//! looks at counts neither as a hit nor as used.
//!
//! | question | answered by |
//! |---|---|
//! | what is stored for this URI, or under this key? | [`Inspector::find_uri`], [`Inspector::find`]: all variants |
//! | what is stored below this URI, or with this tag? | [`Inspector::list`], page by page |
//! | how much is stored? | [`Inspector::totals`] |
//!
//! # Example
//! ```
//! use pingora_cache::MemCache;
//! use pingora_cache::inspect::{Inspector, Listing};
//! use std::sync::LazyLock;
//!
//! static STORE: LazyLock<MemCache> = LazyLock::new(|| MemCache::bounded(256 << 20));
//!
//! # async fn run() -> pingora_error::Result<()> {
//! let inspector = Inspector::new(&*STORE);
//! let mut listing = Listing::new().prefix("https://one.example/news/");
//! loop {
//!     let page = inspector.list(&listing).await?;
//!     for entry in page.entries() {
//!         println!("{} {}", entry.uri(), entry.size());
//!     }
//!     match page.next() {
//!         Some(next) => listing = listing.after(next),
//!         None => break,
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Page in the repository: `docs/caching.md`.

mod entry;
mod listing;

#[cfg(test)]
mod tests;

pub use entry::Entry;
pub use listing::{Cursor, Listing, Page};
pub(crate) use listing::{keys_after, page};

use crate::policy::CachePolicy;
use crate::{CacheKey, Storage};
use async_trait::async_trait;
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::sync::Arc;

/// What a storage holds in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Whole responses; variants count by themselves.
    pub entries: u64,
    /// Bytes of heads and bodies, as the storage counts them.
    pub bytes: u64,
}

impl Totals {
    /// So many responses of so many bytes.
    pub fn new(entries: u64, bytes: u64) -> Self {
        Totals { entries, bytes }
    }
}

/// A storage that can say what it holds: see [`Storage::inspection`].
///
/// Both futures may be dropped at any time.
#[async_trait]
pub trait Inspect {
    /// The page of what it holds that a listing asks for. The order of keys is the storage's own, and stays the same
    /// from page to page: what is stored throughout a listing stands in it once.
    ///
    /// # Errors
    /// The storage's own, for example because its disk fails.
    async fn list(&'static self, listing: &Listing) -> Result<Page>;

    /// All that it holds under a key: the variants, whatever the key's own, and responses that are being written.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    async fn find(&'static self, key: &CacheKey) -> Result<Vec<Entry>>;

    /// How much it holds. Must not block: it is asked about once a second by whoever watches. `None`, the default: it does
    /// not know.
    fn totals(&'static self) -> Option<Totals> {
        None
    }
}

/// Looks at what a storage holds. Clones look at the same.
#[derive(Clone)]
pub struct Inspector {
    storage: &'static (dyn Storage + Sync),
    policy: Option<Arc<CachePolicy>>,
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Inspector {
    /// Looks at what this storage holds. Without a policy, entries have no tags, and none counts as purged.
    pub fn new(storage: &'static (dyn Storage + Sync)) -> Self {
        Inspector {
            storage,
            policy: None,
        }
    }

    /// Sets the policy that knows the tags of responses, and what was purged by tag, host or prefix.
    pub fn policy(mut self, policy: Arc<CachePolicy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// One page of what is stored.
    ///
    /// # Errors
    /// `InternalError`, if the storage can't be listed; otherwise the storage's own.
    pub async fn list(&self, listing: &Listing) -> Result<Page> {
        let fields = self.policy.as_ref().map(|policy| policy.fields_of_tags());
        let listing = listing.clone().with_tag_fields(fields.unwrap_or_default());
        let mut page = self.storage()?.list(&listing).await?;
        for entry in page.entries_mut() {
            self.complete(entry);
        }
        Ok(page)
    }

    /// All that is stored under a key: the variants, and responses that are being written.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn find(&self, key: &CacheKey) -> Result<Vec<Entry>> {
        let mut entries = self.storage()?.find(key).await?;
        for entry in &mut entries {
            self.complete(entry);
        }
        Ok(entries)
    }

    /// All that is stored for GET of this URI, under the key that [`CachePolicy::key`] makes: for example
    /// `https://one.example/a?b`.
    ///
    /// # Errors
    /// `InternalError`, if this is no URI with a scheme and an authority; otherwise as [`list`](Self::list).
    pub async fn find_uri(&self, uri: &str) -> Result<Vec<Entry>> {
        self.find(&CachePolicy::key_of_uri(uri)?).await
    }

    /// How much is stored; `None`: the storage does not know.
    pub fn totals(&self) -> Option<Totals> {
        self.storage.inspection()?.totals()
    }

    fn storage(&self) -> Result<&'static (dyn Inspect + Sync)> {
        let inspection = self.storage.inspection();
        let context = "this storage can't say what it holds";
        inspection.ok_or_else(|| Error::explain(ErrorType::InternalError, context))
    }

    fn complete(&self, entry: &mut Entry) {
        if let Some(policy) = &self.policy {
            let is_purged = policy.is_purged(entry.primary_key(), entry.meta());
            let tags = policy.tags(entry.meta());
            entry.complete(tags, is_purged);
        }
    }
}
