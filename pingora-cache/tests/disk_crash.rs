//! A process that is killed while it stores: what the next one serves is whole, and what it was.
//!
//! By default a few times; `CACHE_CRASHES=200 cargo test -p pingora-cache --test disk_crash` for longer.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "it is a test"
)]

use bytes::Bytes;
use pingora_cache::disk::{DiskOptions, DiskStore};
use pingora_cache::storage::HitHandler;
use pingora_cache::trace::Span;
use pingora_cache::{CacheKey, CacheMeta, Storage};
use pingora_http::ResponseHeader;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// Names the directory, for the process that is going to be killed.
const DIRECTORY: &str = "CACHE_CRASH_DIRECTORY";
const KEYS: u32 = 40;

/// What a tag says that the body is.
fn body(tag: &str) -> Vec<u8> {
    let mut parts = tag.split('-').map(|part| part.parse::<u64>().unwrap());
    let (key, version, length) = (parts.next(), parts.next(), parts.next());
    let seed = key.unwrap() << 40 ^ version.unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut body = vec![0; usize::try_from(length.unwrap()).unwrap()];
    random.fill(&mut body);
    body
}

fn key(number: u32) -> CacheKey {
    CacheKey::new(format!("GET https://one.example/{number}"), "")
}

async fn put(store: &'static DiskStore, number: u32, random: &mut fastrand::Rng) {
    let length = match random.u8(..10) {
        0 => random.usize(300_000..900_000),
        1..4 => random.usize(50_000..80_000),
        _ => random.usize(..5000),
    };
    let tag = format!("{number}-{}-{length}", random.u32(..));
    let mut header = ResponseHeader::build(200, None).unwrap();
    header.insert_header("ETag", tag.as_str()).unwrap();
    let now = SystemTime::now();
    let meta = CacheMeta::new(now + Duration::from_secs(60), now, 0, 0, header);
    let trace = Span::inactive().handle();
    let miss = store.get_miss_handler(&key(number), &meta, &trace).await;
    let Ok(mut miss) = miss else { return };
    for piece in body(&tag).chunks(40_000) {
        // Too much at once is refused.
        if miss
            .write_body(Bytes::copy_from_slice(piece), false)
            .await
            .is_err()
        {
            return;
        }
        tokio::task::yield_now().await;
    }
    let _ = miss.finish().await;
}

/// Whether the key has a response. It is the one that its tag names.
async fn check(store: &'static DiskStore, number: u32, follow: bool) -> bool {
    let trace = Span::inactive().handle();
    let Some((meta, mut hit)): Option<(CacheMeta, HitHandler)> =
        store.lookup(&key(number), &trace).await.unwrap()
    else {
        return false;
    };
    let mut found = Vec::new();
    loop {
        match hit.read_body().await {
            Ok(Some(piece)) => found.extend(piece),
            Ok(None) => break,
            // Behind a writer that gave up.
            Err(_) if follow => return false,
            Err(error) => panic!("{error}"),
        }
    }
    let tag = meta.headers()["etag"].to_str().unwrap();
    assert!(
        tag.starts_with(&format!("{number}-")),
        "of another key: {tag}"
    );
    assert!(found == body(tag), "not what was stored: {tag}");
    true
}

async fn open(dir: &str) -> &'static DiskStore {
    let store = DiskStore::open(dir, DiskOptions::bytes(16 << 20).entries(30)).unwrap();
    while !store.is_scanned() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store
}

/// What the process does that is going to be killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(dir) = std::env::var(DIRECTORY) else {
        return;
    };
    let store = open(&dir).await;
    let mut found = 0;
    for number in 0..KEYS {
        found += u32::from(check(store, number, false).await);
    }
    assert_eq!(
        store.damaged_entries(),
        0,
        "something torn was in its place"
    );
    eprintln!("found {found}");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        tasks.spawn(async move {
            let mut random = fastrand::Rng::new();
            loop {
                let number = random.u32(..KEYS);
                if random.bool() {
                    put(store, number, &mut random).await;
                } else {
                    check(store, number, true).await;
                }
            }
        });
    }
    // Ends only by a failed check.
    tasks.join_all().await;
}

#[test]
fn what_a_killed_process_left_is_whole() {
    let crashes = std::env::var("CACHE_CRASHES")
        .ok()
        .and_then(|text| text.parse().ok());
    let crashes: u32 = crashes.unwrap_or(5);
    let dir: PathBuf = std::env::temp_dir().join(format!("disk-crash-{}", std::process::id()));
    let mut found = 0;
    for crash in 0..crashes {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIRECTORY, &dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // At any instant: also while it is starting.
        std::thread::sleep(Duration::from_millis(fastrand::u64(20..600)));
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            ended.is_none() && !said.contains("panicked"),
            "{crash}: {said}"
        );
        found += said
            .lines()
            .find_map(|line| line.strip_prefix("found ")?.parse::<u32>().ok())
            .unwrap_or(0);
    }
    // The last one looks at everything in peace.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = open(dir.to_str().unwrap()).await;
        for number in 0..KEYS {
            found += u32::from(check(store, number, false).await);
        }
        assert_eq!(store.damaged_entries(), 0);
    });
    drop(runtime);
    std::fs::remove_dir_all(&dir).unwrap();
    eprintln!("{found} responses were there after {crashes} crashes");
    assert!(found > 0, "nothing was ever stored");
}
