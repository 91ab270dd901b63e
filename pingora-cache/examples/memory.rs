//! How much memory a `MemCache` takes for small responses: `cargo run --release -p pingora-cache --example memory`.
//!
//! Stores 100,000 and then 200,000 responses with typical keys and heads and a body of 1 KiB, and prints what the process
//! grew by for each, and what the storage counts. The figure in `docs/caching.md` is from here.
#![allow(clippy::print_stdout, reason = "figures are what it is for")]

use bytes::Bytes;
use pingora_cache::trace::Span;
use pingora_cache::{CacheKey, CacheMeta, MemCache, Storage};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use std::time::{Duration, SystemTime};

const STEP: usize = 100_000;
const BODY: usize = 1024;
const FIELDS: [(&str, &str); 7] = [
    ("date", "Mon, 30 Nov 2026 22:43:13 GMT"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-length", "1024"),
    ("cache-control", "public, max-age=86400"),
    ("etag", "\"65f5ac1b-400\""),
    ("last-modified", "Mon, 30 Nov 2026 20:00:00 GMT"),
    ("vary", "accept-encoding"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let cache: &'static MemCache = Box::leak(Box::new(MemCache::bounded(4 << 30)));
    let mut before = resident()?;
    let mut counted = 0;
    for step in 0..2 {
        runtime.block_on(fill(cache, step * STEP))?;
        let (now, counts) = (resident()?, cache.stored_bytes());
        let grown = (now.saturating_sub(before)) / STEP;
        let counts_more = (counts - counted) / STEP;
        println!(
            "{} responses: {grown} bytes each, {} beyond the body; counted as {counts_more}",
            cache.stored_entries(),
            grown.saturating_sub(BODY),
        );
        (before, counted) = (now, counts);
    }
    Ok(())
}

async fn fill(cache: &'static MemCache, first: usize) -> Result<()> {
    let trace = Span::inactive().handle();
    let now = SystemTime::now();
    for number in first..first + STEP {
        let mut header = ResponseHeader::build(200, Some(FIELDS.len()))?;
        for (name, value) in FIELDS {
            header.insert_header(name, value)?;
        }
        let meta = CacheMeta::new(now + Duration::from_secs(86_400), now, 0, 0, header);
        let key = CacheKey::new(format!("https://example.com/images/{number:08}.jpg"), "");
        let mut miss = cache.get_miss_handler(&key, &meta, &trace).await?;
        miss.write_body(Bytes::from(vec![7; BODY]), true).await?;
        miss.finish().await?;
    }
    Ok(())
}

/// The memory of this process, in bytes: its proportional share (PSS).
fn resident() -> Result<usize, Box<dyn std::error::Error>> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.ok_or("no Pss")?.parse::<usize>()? * 1024)
}
