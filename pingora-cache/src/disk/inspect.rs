//! Looking at what is stored on the disk: the heads of files are read, in a thread that may block.

use super::{DiskStore, entry, hit};
use crate::CacheKey;
use crate::inspect::{Entry, Inspect, Listing, Page, Totals, page};
use crate::key::{CacheHashKey, HashBinary, Name};
use async_trait::async_trait;
use pingora_error::{Error, ErrorType, Result};
use std::io;

const DISK: &str = "disk";

impl DiskStore {
    /// Leaves out what is damaged or has gone: a look-up is to find that.
    fn entries_of(&self, primary: &HashBinary) -> io::Result<Vec<Entry>> {
        let (slots, fills) = self.index.family(primary);
        let mut entries = Vec::with_capacity(slots.len() + fills.len());
        for slot in slots {
            let name = Name {
                primary: *primary,
                variance: slot.variance,
            };
            let (meta, key, body) = match hit::look(self, &name, &slot) {
                Ok(seen) => seen,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            let compact = entry(&name, slot.id).into_key();
            let entry = Entry::new(compact, key, meta, DISK).sizes(body, slot.size);
            entries.push(entry.found(slot.hits));
        }
        for fill in fills {
            let compact = entry(&fill.name, fill.id).into_key();
            let entry = Entry::new(compact, fill.key.clone(), fill.meta.clone(), DISK);
            entries.push(entry.sizes(fill.length(), 0).incomplete());
        }
        Ok(entries)
    }

    fn check_on(&self) -> Result<()> {
        if self.health.is_off() {
            return Error::e_explain(ErrorType::FileReadError, "the cache's disk is off");
        }
        Ok(())
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData
    )
}

#[async_trait]
impl Inspect for DiskStore {
    async fn list(&'static self, listing: &Listing) -> Result<Page> {
        self.check_on()?;
        let listing = listing.clone();
        let list = self.blocking(move |store| {
            let keys = store.index.keys_after(&listing);
            page(&listing, &keys, |key| store.entries_of(key))
        });
        list.await
    }

    async fn find(&'static self, key: &CacheKey) -> Result<Vec<Entry>> {
        self.check_on()?;
        let primary = key.primary_bin();
        self.blocking(move |store| store.entries_of(&primary)).await
    }

    fn totals(&'static self) -> Option<Totals> {
        Some(Totals::new(
            self.stored_entries() as u64,
            self.stored_bytes(),
        ))
    }
}
