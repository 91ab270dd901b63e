//! Looking at what is stored in either storage.

use super::TieredStore;
use crate::CacheKey;
use crate::inspect::{Cursor, Entry, Inspect, Listing, Page, Totals};
use async_trait::async_trait;
use pingora_error::Result;

/// The first's content, and then the second's: a response that is in both is there twice.
#[async_trait]
impl Inspect for TieredStore {
    /// With a page that the first storage does not fill, the second is looked at as well.
    async fn list(&'static self, listing: &Listing) -> Result<Page> {
        let (is_second, after) = listing.cursor().map_or((false, None), Cursor::split);
        let mut entries = Vec::new();
        let mut listing = listing.within(after);
        if !is_second && let Some(first) = self.first.inspection() {
            let page = first.list(&listing).await?;
            let next = page.next().map(|next| next.of(false));
            let left = listing.left_after(page.entries().len());
            let (Some(left), None) = (left, next) else {
                let second = self.second.inspection().map(|_| Cursor::second());
                return Ok(page.ending(next.or(second)));
            };
            entries = page.into_entries();
            listing = left;
        }
        let Some(second) = self.second.inspection() else {
            return Ok(Page::new(entries, None));
        };
        let page = second.list(&listing).await?;
        let next = page.next().map(|next| next.of(true));
        entries.extend(page.into_entries());
        Ok(Page::new(entries, next))
    }

    async fn find(&'static self, key: &CacheKey) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for storage in [self.first, self.second] {
            if let Some(storage) = storage.inspection() {
                entries.extend(storage.find(key).await?);
            }
        }
        Ok(entries)
    }

    /// Of both storages, if both know.
    fn totals(&'static self) -> Option<Totals> {
        let [first, second] = [self.first, self.second].map(|one| one.inspection()?.totals());
        let (first, second) = (first?, second?);
        let bytes = first.bytes.saturating_add(second.bytes);
        Some(Totals::new(
            first.entries.saturating_add(second.entries),
            bytes,
        ))
    }
}
