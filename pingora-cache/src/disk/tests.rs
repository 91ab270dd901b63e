use super::*;
use crate::storage::MissFinishType;
use bytes::Bytes;
use pingora_http::ResponseHeader;
use std::fs;

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("disk-store-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Directory(path)
    }

    async fn open(&self, options: DiskOptions) -> &'static DiskStore {
        let store = DiskStore::open(&self.0, options).unwrap();
        while !store.is_scanned() {
            tokio::task::yield_now().await;
        }
        store
    }

    /// All files of responses.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for folder in fs::read_dir(&self.0).unwrap().flatten() {
            if folder.path().is_dir() {
                let inner = fs::read_dir(folder.path()).unwrap();
                files.extend(inner.flatten().map(|file| file.path()));
            }
        }
        files.sort();
        files
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn trace() -> SpanHandle {
    crate::trace::Span::inactive().handle()
}

fn large() -> DiskOptions {
    DiskOptions::bytes(1 << 30)
}

fn key(name: &str) -> CacheKey {
    CacheKey::new(name, "")
}

fn meta(tag: &str) -> CacheMeta {
    let mut header = ResponseHeader::build(200, None).unwrap();
    header.insert_header("ETag", tag).unwrap();
    let now = clock::now();
    CacheMeta::new(now + Duration::from_secs(60), now, 0, 0, header)
}

fn body(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| random.u8(..)).collect()
}

async fn store(store: &'static DiskStore, key: &CacheKey, tag: &str, body: &[u8]) -> usize {
    let mut miss = store
        .get_miss_handler(key, &meta(tag), &trace())
        .await
        .unwrap();
    for piece in body.chunks(100_000) {
        miss.write_body(Bytes::copy_from_slice(piece), false)
            .await
            .unwrap();
    }
    match miss.finish().await.unwrap() {
        MissFinishType::Created(size) => size,
        MissFinishType::Appended(..) => panic!("it was there"),
    }
}

async fn read(mut hit: HitHandler) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = hit.read_body().await? {
        body.extend(piece);
    }
    Ok(body)
}

async fn found(store: &'static DiskStore, key: &CacheKey) -> Option<(String, Vec<u8>)> {
    let (meta, hit) = store.lookup(key, &trace()).await.unwrap()?;
    let tag = meta.headers()["etag"].to_str().unwrap().to_owned();
    Some((tag, read(hit).await.unwrap()))
}

#[tokio::test]
async fn what_is_stored_is_found() {
    let dir = Directory::new("found");
    let disk = dir.open(large()).await;
    for length in [0, 1, 65_000, 65_536, 262_144, 1_000_001] {
        let key = key(&length.to_string());
        assert!(found(disk, &key).await.is_none());
        let body = body(length, 1);
        let size = store(disk, &key, "a", &body).await;
        assert!(size >= length && size % 4096 == 0);
        assert_eq!(found(disk, &key).await.unwrap(), ("a".into(), body));
    }
    assert_eq!(disk.stored_entries(), 6);
    // Again, and another variant.
    let mut key = key("1");
    store(disk, &key, "b", b"new").await;
    assert_eq!(
        found(disk, &key).await.unwrap(),
        ("b".into(), b"new".to_vec())
    );
    key.set_variance_key([7; 16]);
    assert!(found(disk, &key).await.is_none());
    store(disk, &key, "c", b"variant").await;
    assert_eq!(found(disk, &key).await.unwrap().0, "c");
    assert_eq!((disk.stored_entries(), dir.files().len()), (7, 7));
}

#[tokio::test]
async fn parts_are_read() {
    let dir = Directory::new("parts");
    let disk = dir.open(large()).await;
    let body = body(600_000, 2);
    store(disk, &key("a"), "a", &body).await;
    let (_, mut hit) = disk.lookup(&key("a"), &trace()).await.unwrap().unwrap();
    assert!(hit.can_seek() && hit.can_seek_multipart());
    for (start, end) in [
        (0, Some(10)),
        (65_000, Some(66_000)),
        (500_000, None),
        (599_999, Some(1 << 40)),
        (1 << 40, None),
        (10, Some(5)),
    ] {
        hit.seek_multipart(start, end).unwrap();
        let mut part = Vec::new();
        while let Some(piece) = hit.read_body().await.unwrap() {
            part.extend(piece);
        }
        let end = end.unwrap_or(usize::MAX).min(body.len());
        assert_eq!(
            part,
            body.get(start..end).unwrap_or_default(),
            "{start} {end}"
        );
    }
}

#[tokio::test]
async fn readers_follow_the_writer() {
    let dir = Directory::new("follow");
    let disk = dir.open(large()).await;
    let (key, body) = (key("a"), body(1_500_000, 3));
    let mut miss = disk
        .get_miss_handler(&key, &meta("a"), &trace())
        .await
        .unwrap();
    let tag = miss.streaming_write_tag().unwrap().to_owned();
    assert!(!miss.has_readers());
    let early = disk.lookup(&key, &trace()).await.unwrap().unwrap().1;
    let early = tokio::spawn(read(early));
    let mut late = None;
    for (number, piece) in body.chunks(70_000).enumerate() {
        miss.write_body(Bytes::copy_from_slice(piece), false)
            .await
            .unwrap();
        if number == 9 {
            let found = disk
                .lookup_streaming_write(&key, Some(&tag), &trace())
                .await;
            late = Some(tokio::spawn(read(found.unwrap().unwrap().1)));
        }
    }
    assert!(miss.has_readers());
    miss.finish().await.unwrap();
    assert_eq!(early.await.unwrap().unwrap(), body);
    assert_eq!(late.unwrap().await.unwrap().unwrap(), body);
    assert_eq!(found(disk, &key).await.unwrap().1, body);
}

#[tokio::test]
async fn what_is_not_whole_is_never_served() {
    let dir = Directory::new("whole");
    let disk = dir.open(large()).await;
    for length in [10, 600_000] {
        let mut miss = disk
            .get_miss_handler(&key("a"), &meta("a"), &trace())
            .await
            .unwrap();
        miss.write_body(body(length, 4).into(), true).await.unwrap();
        let (_, follower) = disk.lookup(&key("a"), &trace()).await.unwrap().unwrap();
        let reader = tokio::spawn(read(follower));
        drop(miss);
        assert!(reader.await.unwrap().is_err());
        assert!(found(disk, &key("a")).await.is_none());
    }
    while !dir.files().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        (disk.stored_entries(), disk.written.load(Ordering::Relaxed)),
        (0, 0)
    );
}

#[tokio::test]
async fn the_next_process_finds_it() {
    let dir = Directory::new("next");
    let old = dir.open(large()).await;
    let mut variant = key("b");
    variant.set_variance_key([9; 16]);
    store(old, &key("a"), "a", &body(300_000, 5)).await;
    store(old, &variant, "b", b"variant").await;
    assert!(
        old.update_meta(&key("a"), &meta("a2"), &trace())
            .await
            .unwrap()
    );
    assert!(
        !old.update_meta(&key("x"), &meta("x"), &trace())
            .await
            .unwrap()
    );
    // Unusable files.
    let stray = dir.0.join("beside").join("0-0000000000000001");
    fs::write(&stray, "torn").unwrap();
    fs::write(dir.0.join("00").join("no entry"), "x").unwrap();

    let new = dir.open(large()).await;
    assert_eq!(
        found(new, &key("a")).await.unwrap(),
        ("a2".into(), body(300_000, 5))
    );
    assert_eq!(found(new, &variant).await.unwrap().0, "b");
    assert_eq!(new.stored_entries(), 2);
    assert_eq!(new.stored_bytes(), old.stored_bytes());
    assert!(!stray.exists());
    // The older one goes on serving, and stores nothing any more.
    while old.owner.is_ours() {
        assert!(!old.owner.is_ours_now());
    }
    assert!(
        old.get_miss_handler(&key("c"), &meta("c"), &trace())
            .await
            .is_err()
    );
    assert_eq!(found(old, &variant).await.unwrap().0, "b");
    store(new, &key("a"), "a3", b"newer").await;
    assert!(found(old, &key("a")).await.is_none());
    assert_eq!(found(new, &key("a")).await.unwrap().0, "a3");
    // Three: the entries, and what is no entry.
    assert_eq!(dir.files().len(), 3);
}

#[tokio::test]
async fn a_fill_does_not_outlive_its_process() {
    let dir = Directory::new("handover");
    let old = dir.open(large()).await;
    let mut miss = old
        .get_miss_handler(&key("a"), &meta("a"), &trace())
        .await
        .unwrap();
    miss.write_body(Bytes::from_static(b"half"), false)
        .await
        .unwrap();
    let new = dir.open(large()).await;
    assert!(matches!(
        miss.finish().await.unwrap(),
        MissFinishType::Created(0)
    ));
    assert!(found(old, &key("a")).await.is_none() && found(new, &key("a")).await.is_none());
    assert!(dir.files().is_empty());
}

#[tokio::test]
async fn what_is_damaged_is_gone() {
    let dir = Directory::new("damaged");
    let length = 70_000;
    let whole = {
        let disk = dir.open(large()).await;
        store(disk, &key("a"), "a", &body(length, 6)).await;
        fs::read(&dir.files()[0]).unwrap()
    };
    let path = dir.files()[0].clone();
    let body_at = whole.len() - length;
    // In the head, the metadata, and the body of which more than the first read has come.
    for at in [0, 8, 24, 41, 49, 65, 73, 81, 85, 89, FIXED_END, body_at - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let disk = dir.open(large()).await;
        assert!(found(disk, &key("a")).await.is_none(), "{at}");
        assert_eq!(
            (disk.damaged_entries(), disk.stored_entries()),
            (1, 0),
            "{at}"
        );
        assert!(dir.files().is_empty(), "{at}");
    }
    for cut in [0, 10, 95, body_at, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        let disk = dir.open(large()).await;
        assert!(found(disk, &key("a")).await.is_none(), "{cut}");
    }
    // In the body: never served as a whole one.
    for at in [body_at, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let disk = dir.open(large()).await;
        let (_, hit) = disk.lookup(&key("a"), &trace()).await.unwrap().unwrap();
        assert!(read(hit).await.is_err(), "{at}");
        assert!(found(disk, &key("a")).await.is_none(), "{at}");
    }
    // Of another key, under this one's name.
    fs::write(&path, &whole).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let (_, id, _) = Name::read(name).unwrap();
    let other = Name::of(&key("b")).path(&dir.0, id);
    fs::rename(&path, &other).unwrap();
    let disk = dir.open(large()).await;
    assert!(found(disk, &key("b")).await.is_none());
}

const FIXED_END: usize = format::FIXED;

#[tokio::test]
async fn what_another_boot_wrote_is_checked_first() {
    let dir = Directory::new("boot");
    {
        let disk = dir.open(large()).await;
        store(disk, &key("a"), "a", &body(500_000, 7)).await;
    }
    let path = dir.files()[0].clone();
    let mut file = fs::read(&path).unwrap();
    let mut head = format::Head::read(&file).unwrap();
    head.boot = [1; 16];
    file[..FIXED_END].copy_from_slice(&head.write());
    fs::write(&path, &file).unwrap();
    let disk = dir.open(large()).await;
    assert_eq!(found(disk, &key("a")).await.unwrap().1.len(), 500_000);
    let last = file.len() - 1;
    file[last] ^= 1;
    fs::write(&path, &file).unwrap();
    let disk = dir.open(large()).await;
    // Not even its beginning is served.
    assert!(disk.lookup(&key("a"), &trace()).await.unwrap().is_none());
}

#[tokio::test]
async fn purging_and_expiring() {
    let dir = Directory::new("purge");
    let disk = dir.open(large()).await;
    let mut variant = key("a");
    variant.set_variance_key([9; 16]);
    for key in [&key("a"), &variant, &key("b")] {
        store(disk, key, "x", b"body").await;
    }
    let compact = key("a").to_compact();
    let active = PurgeTarget::Active(&compact);
    assert_eq!(
        disk.expire(active, &trace()).await.unwrap(),
        PurgeOutcome::Expired
    );
    let (meta, _) = disk.lookup(&key("a"), &trace()).await.unwrap().unwrap();
    assert!(!meta.is_fresh(clock::now()));
    // One that is being written has not been asked for since.
    let mut miss = disk
        .get_miss_handler(&key("a"), &self::meta("y"), &trace())
        .await
        .unwrap();
    let outcome = disk
        .purge(active, PurgeType::Invalidation, &trace())
        .await
        .unwrap();
    assert!(matches!(outcome, PurgeOutcome::Purged(Some(_))));
    miss.write_body(Bytes::from_static(b"old"), true)
        .await
        .unwrap();
    assert!(matches!(
        miss.finish().await.unwrap(),
        MissFinishType::Created(0)
    ));
    for key in [&key("a"), &variant] {
        assert!(found(disk, key).await.is_none());
    }
    let outcome = disk
        .purge(active, PurgeType::Invalidation, &trace())
        .await
        .unwrap();
    assert_eq!(outcome, PurgeOutcome::NotFound);
    assert!(found(disk, &key("b")).await.is_some());
    assert_eq!((disk.stored_entries(), dir.files().len()), (1, 1));
    // By its number, and no other.
    let slot = disk.index.slot(&Name::of(&key("b"))).unwrap();
    let other = entry(&Name::of(&key("b")), slot.id + 1);
    let exact = PurgeTarget::Exact(&other);
    let outcome = disk
        .purge(exact, PurgeType::Eviction, &trace())
        .await
        .unwrap();
    assert_eq!(outcome, PurgeOutcome::NotFound);
    let own = entry(&Name::of(&key("b")), slot.id);
    let outcome = disk
        .purge(PurgeTarget::Exact(&own), PurgeType::Eviction, &trace())
        .await;
    assert!(matches!(outcome.unwrap(), PurgeOutcome::Purged(Some(_))));
    assert!(dir.files().is_empty());
}

#[tokio::test]
async fn bounds_hold() {
    let dir = Directory::new("bounds");
    let disk = dir.open(DiskOptions::bytes(160 * 4096).entries(30)).await;
    for number in 0..60 {
        store(
            disk,
            &key(&number.to_string()),
            "a",
            &body(3 * 4096, number),
        )
        .await;
        assert!(disk.stored_bytes() <= 160 * 4096 && disk.stored_entries() <= 30);
    }
    assert_eq!(dir.files().len(), disk.stored_entries());
    assert!(disk.evicted_entries() >= 30);
    // Larger than an eighth of all.
    let mut miss = disk
        .get_miss_handler(&key("large"), &meta("a"), &trace())
        .await
        .unwrap();
    miss.write_body(body(20 * 4096, 1).into(), false)
        .await
        .unwrap();
    assert!(
        miss.write_body(Bytes::from_static(b"x"), false)
            .await
            .is_err()
    );
    drop(miss);
    assert_eq!(disk.written.load(Ordering::Relaxed), 0);
    // More than a quarter at once.
    let mut open = Vec::new();
    for number in 0..3 {
        let key = key(&format!("open {number}"));
        let mut miss = disk
            .get_miss_handler(&key, &meta("a"), &trace())
            .await
            .unwrap();
        let written = miss.write_body(body(18 * 4096, 1).into(), false).await;
        assert_eq!(written.is_ok(), number < 2);
        open.push(miss);
    }
    // A smaller directory than the last process had.
    drop(open);
    let smaller = dir.open(DiskOptions::bytes(20 * 4096)).await;
    assert!(smaller.stored_bytes() <= 20 * 4096);
    let responses = dir.files().into_iter();
    let responses = responses.filter(|file| !file.to_str().unwrap().contains("/beside/"));
    assert_eq!(responses.count(), smaller.stored_entries());
    for number in 0..100 {
        let mut key = key("variants");
        key.set_variance_key([number; 16]);
        store(smaller, &key, "a", b"").await;
    }
    assert!(smaller.stored_entries() <= 20);
}

#[tokio::test]
async fn a_failing_disk_is_left_alone() {
    let dir = Directory::new("failing");
    let disk = dir.open(large()).await;
    store(disk, &key("a"), "a", b"body").await;
    // A folder in the place of a file: reading it is an error that is neither absence nor damage.
    let path = dir.files()[0].clone();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    for _ in 0..3 {
        assert!(disk.lookup(&key("a"), &trace()).await.is_err());
    }
    assert!(disk.is_off() && disk.disk_errors() == 3);
    assert!(disk.lookup(&key("a"), &trace()).await.unwrap().is_none());
    assert!(
        disk.get_miss_handler(&key("b"), &meta("b"), &trace())
            .await
            .is_err()
    );
}

#[test]
fn names_of_files() {
    let dir = Path::new("/d");
    let mut key = key("a");
    for variance in [None, Some([0xab; 16])] {
        if let Some(variance) = variance {
            key.set_variance_key(variance);
        }
        let name = Name::of(&key);
        for (path, is_updated) in [
            (name.path(dir, 7), false),
            (name.updated_path(dir, 7), true),
        ] {
            let file = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(Name::read(file), Some((name, 7, is_updated)));
        }
    }
    for file in [
        "",
        "a",
        "owner",
        "0.1",
        &"0".repeat(49),
        "\u{e4}.0000000000000001",
    ] {
        assert_eq!(Name::read(file), None);
    }
}
