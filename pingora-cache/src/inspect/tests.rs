use super::*;
use crate::disk::{DiskOptions, DiskStore};
use crate::tiered::TieredStore;
use crate::trace::Span;
use crate::{CacheMeta, MemCache, clock};
use bytes::Bytes;
use pingora_http::ResponseHeader;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

type Store = &'static (dyn Storage + Sync);

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("inspect-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }

    async fn open(&self) -> &'static DiskStore {
        let store = DiskStore::open(&self.0, DiskOptions::bytes(1 << 30)).unwrap();
        while !store.is_scanned() {
            tokio::task::yield_now().await;
        }
        store
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn memory() -> &'static MemCache {
    Box::leak(Box::new(MemCache::bounded(1 << 30)))
}

fn meta(tags: &str) -> CacheMeta {
    let now = clock::now();
    let mut header = ResponseHeader::build(200, None).unwrap();
    header.insert_header("Cache-Tag", tags).unwrap();
    CacheMeta::new(now + Duration::from_secs(60), now, 5, 7, header)
}

fn key(uri: &str) -> CacheKey {
    CacheKey::new(format!("GET {uri}"), "")
}

async fn begin(store: Store, key: &CacheKey, tags: &str) -> crate::MissHandler {
    let trace = Span::inactive().handle();
    let meta = meta(tags);
    store.get_miss_handler(key, &meta, &trace).await.unwrap()
}

async fn put(store: Store, key: &CacheKey, tags: &str, body: &'static [u8]) {
    let mut miss = begin(store, key, tags).await;
    miss.write_body(Bytes::from_static(body), true)
        .await
        .unwrap();
    miss.finish().await.unwrap();
}

async fn all(inspector: &Inspector, mut listing: Listing) -> (Vec<Entry>, usize) {
    let (mut entries, mut pages) = (Vec::new(), 0);
    loop {
        let page = inspector.list(&listing).await.unwrap();
        pages += 1;
        entries.extend(page.entries().iter().cloned());
        let Some(next) = page.next() else {
            return (entries, pages);
        };
        // As an operator sends it.
        listing = listing.after(next.to_string().parse().unwrap());
    }
}

async fn looks_up(store: Store, key: &CacheKey) {
    let trace = Span::inactive().handle();
    assert!(store.lookup(key, &trace).await.unwrap().is_some());
}

async fn one_is_found_with_all_its_variants(store: Store, kind: &str) {
    let inspector = Inspector::new(store).policy(policy());
    let uri = "https://one.example/a?b";
    assert!(inspector.find_uri(uri).await.unwrap().is_empty());
    assert_eq!(inspector.totals(), Some(Totals::new(0, 0)));
    let mut own = key(uri);
    put(store, &own, "news, sport", b"abc").await;
    own.set_variance_key([7; 16]);
    put(store, &own, "news", b"another").await;
    looks_up(store, &own).await;
    looks_up(store, &own).await;

    let mut entries = inspector
        .find_uri("HTTPS://One.Example:443/a?b#c")
        .await
        .unwrap();
    entries.sort_by_key(Entry::body);
    let [first, second] = &entries[..] else {
        panic!("{entries:?}");
    };
    assert_eq!((first.body(), second.body()), (3, 7));
    let totals = inspector.totals().unwrap();
    assert_eq!(totals.entries, 2, "variants count by themselves");
    assert_eq!(totals.bytes, first.size() + second.size());
    assert_eq!((first.variant(), second.variant()), (None, Some([7; 16])));
    assert_eq!((first.hits(), second.hits()), (0, 2));
    assert_eq!(first.uri(), uri);
    assert_eq!(first.primary_key(), b"GET https://one.example/a?b");
    assert_eq!(first.key(), &key(uri).to_compact());
    assert_eq!(first.tags(), ["news", "sport"]);
    assert_eq!(first.storage(), kind);
    assert!(first.is_complete() && first.is_fresh(clock::now()));
    assert!(first.size() > 3, "{first:?}");
    assert_eq!(first.meta().stale_if_error_sec(), 7);
}

async fn pages_have_each_entry_once(store: Store) {
    let inspector = Inspector::new(store);
    for number in 0..100 {
        let section = if number % 10 == 0 { "news" } else { "sport" };
        let uri = format!("https://one.example/{section}/{number}");
        put(store, &key(&uri), section, b"abc").await;
    }
    let uris = |entries: &[Entry]| -> BTreeSet<String> {
        entries
            .iter()
            .map(|entry| entry.uri().into_owned())
            .collect()
    };
    for (listing, found, most_pages) in [
        (Listing::new().limit(7), 100, 15),
        (Listing::new().limit(1), 100, 101),
        (Listing::new().limit(1000), 100, 1),
        (Listing::new().prefix("https://one.example/news/"), 10, 1),
        (
            Listing::new()
                .prefix("https://one.example/news/")
                .look_at(3),
            10,
            34,
        ),
        (Listing::new().prefix("https://two.example/"), 0, 1),
        // The tags are unknown.
        (Listing::new().tag("news"), 0, 1),
    ] {
        let (entries, pages) = all(&inspector, listing.clone()).await;
        assert_eq!(entries.len(), found, "{listing:?}");
        assert_eq!(uris(&entries).len(), found, "{listing:?}");
        assert!(pages <= most_pages, "{pages} of {listing:?}");
    }
    let inspector = inspector.policy(policy());
    let (entries, _) = all(&inspector, Listing::new().tag("news")).await;
    assert_eq!(uris(&entries).len(), 10);
    assert!(entries.iter().all(|entry| entry.tags() == ["news"]));
}

fn policy() -> Arc<CachePolicy> {
    Arc::new(CachePolicy::new().tag_fields(["cache-tag"]))
}

#[tokio::test]
async fn in_memory() {
    one_is_found_with_all_its_variants(memory(), "memory").await;
    pages_have_each_entry_once(memory()).await;
}

#[tokio::test]
async fn on_disk() {
    let dir = Directory::new("disk");
    one_is_found_with_all_its_variants(dir.open().await, "disk").await;
    let dir = Directory::new("pages");
    pages_have_each_entry_once(dir.open().await).await;
}

#[tokio::test]
async fn what_an_earlier_process_left_is_there() {
    let dir = Directory::new("left");
    let own = key("https://one.example/");
    put(dir.open().await, &own, "", b"abc").await;
    let store = dir.open().await;
    let trace = Span::inactive().handle();
    // A confirmation is in a file of its own, which has no key.
    store.update_meta(&own, &meta("new"), &trace).await.unwrap();
    let (entries, _) = all(&Inspector::new(store), Listing::new()).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].uri(), "https://one.example/");
    assert_eq!(entries[0].meta().headers()["cache-tag"], "new");
}

#[tokio::test]
async fn of_two_storages_each_says_what_it_holds() {
    let dir = Directory::new("tiers");
    let (first, second) = (memory(), dir.open().await);
    let store: Store = Box::leak(Box::new(TieredStore::new(first, second)));
    for number in 0..5 {
        let uri = format!("https://one.example/{number}");
        put(store, &key(&uri), "", b"abc").await;
        let [one, other] = [first as Store, second].map(|one| Inspector::new(one).totals());
        let (one, other) = (one.unwrap(), other.unwrap());
        let both = Totals::new(one.entries + other.entries, one.bytes + other.bytes);
        assert_eq!(Inspector::new(store).totals(), Some(both));
    }
    // Not in memory any more.
    put(second, &key("https://one.example/large"), "", b"abc").await;
    let inspector = Inspector::new(store);
    for limit in [1, 2, 3, 100] {
        let (entries, _) = all(&inspector, Listing::new().limit(limit)).await;
        let of = |kind| {
            entries
                .iter()
                .filter(|entry| entry.storage() == kind)
                .count()
        };
        assert_eq!((of("memory"), of("disk")), (5, 6), "{limit}");
    }
    let entries = inspector.find_uri("https://one.example/1").await.unwrap();
    assert_eq!(entries.len(), 2);
}

#[tokio::test]
async fn pairs_of_pairs_are_listed_as_well() {
    let pair = |first: Store, second: Store| -> Store {
        Box::leak(Box::new(TieredStore::new(first, second)))
    };
    let leaves = [memory(), memory(), memory(), memory()];
    for leaf in leaves {
        for number in 0..3 {
            put(
                leaf,
                &key(&format!("https://one.example/{number}")),
                "",
                b"",
            )
            .await;
        }
    }
    let [a, b, c, d] = leaves;
    let shapes = [pair(pair(a, b), pair(c, d)), pair(a, pair(b, pair(c, d)))];
    for store in shapes {
        let (entries, _) = all(&Inspector::new(store), Listing::new().limit(2)).await;
        assert_eq!(entries.len(), 12);
    }
}

#[tokio::test]
async fn what_is_being_written_and_what_was_purged_is_marked() {
    let dir = Directory::new("marks");
    for store in [memory() as Store, dir.open().await] {
        let policy = policy();
        let inspector = Inspector::new(store).policy(policy.clone());
        let own = key("https://one.example/");
        let mut miss = begin(store, &own, "news").await;
        miss.write_body(Bytes::from_static(b"ab"), false)
            .await
            .unwrap();
        let entries = inspector.find(&own).await.unwrap();
        assert_eq!(entries.len(), 1);
        assert!(!entries[0].is_complete());
        assert_eq!(entries[0].body(), 2);
        miss.finish().await.unwrap();
        let entries = inspector.find(&own).await.unwrap();
        assert!(entries[0].is_complete() && !entries[0].is_purged());
        policy.purges().purge_tag("news");
        assert!(inspector.find(&own).await.unwrap()[0].is_purged());
    }
}

#[tokio::test]
async fn a_storage_that_cannot_say_is_an_error() {
    struct Silent;

    #[async_trait]
    impl Storage for Silent {
        async fn lookup(
            &'static self,
            _: &CacheKey,
            _: &crate::trace::SpanHandle,
        ) -> Result<Option<(CacheMeta, crate::HitHandler)>> {
            Ok(None)
        }

        async fn get_miss_handler(
            &'static self,
            _: &CacheKey,
            _: &CacheMeta,
            _: &crate::trace::SpanHandle,
        ) -> Result<crate::MissHandler> {
            Error::e_explain(ErrorType::InternalError, "it stores nothing")
        }

        async fn purge(
            &'static self,
            _: crate::PurgeTarget<'_>,
            _: crate::PurgeType,
            _: &crate::trace::SpanHandle,
        ) -> Result<crate::PurgeOutcome> {
            Ok(crate::PurgeOutcome::NotFound)
        }

        async fn update_meta(
            &'static self,
            _: &CacheKey,
            _: &CacheMeta,
            _: &crate::trace::SpanHandle,
        ) -> Result<bool> {
            Ok(false)
        }

        fn as_any(&self) -> &(dyn std::any::Any + Send + Sync + 'static) {
            self
        }
    }

    let inspector = Inspector::new(&Silent);
    assert!(inspector.list(&Listing::new()).await.is_err());
    assert!(inspector.find_uri("https://a/").await.is_err());
    let pair: Store = Box::leak(Box::new(TieredStore::new(&Silent, &Silent)));
    assert!(Inspector::new(pair).list(&Listing::new()).await.is_err());
    // The one that can say does.
    let memory = memory();
    put(memory, &key("https://a/"), "", b"").await;
    for pair in [
        TieredStore::new(&Silent, memory),
        TieredStore::new(memory, &Silent),
    ] {
        let pair: Store = Box::leak(Box::new(pair));
        let (entries, _) = all(&Inspector::new(pair), Listing::new()).await;
        assert_eq!(entries.len(), 1);
    }
}

#[test]
fn uris_and_cursors_are_read_strictly() {
    for uri in [
        "",
        "/a",
        "a",
        "https://",
        "https:///a",
        "https://a b/",
        "https://me@a/",
    ] {
        assert!(CachePolicy::key_of_uri(uri).is_err(), "{uri}");
    }
    for (uri, normal) in [
        ("https://a", "https://a/"),
        ("http://A:80?q", "http://a/?q"),
        ("http://a:8080/%61", "http://a:8080/%61"),
    ] {
        let key = CachePolicy::key_of_uri(uri).unwrap();
        assert_eq!(key.primary_key_str().unwrap(), format!("GET {normal}"));
    }
    let cursor = Cursor::after([0xab; 16]);
    assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
    for bad in ["", "00", "-", "+1-", "0-", "000-", "00-ab", "é0-"] {
        assert!(bad.parse::<Cursor>().is_err(), "{bad}");
    }
}
