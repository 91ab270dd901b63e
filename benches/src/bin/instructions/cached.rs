//! A response from the cache: the origin is asked once, ahead of all that is counted.

use crate::messages::{BROWSER_REQUEST, RESPONSE_HEAD};
use crate::proxied::{ToOrigin, WARM_UP, peer, with};
use crate::{Failure, warmed_up};
use async_trait::async_trait;
use pingora::cache::MemCache;
use pingora::prelude::*;
use pingora::protocols::http::date::get_cached_date;
use pingora::proxy::ReadyCache;
use std::sync::{Arc, LazyLock};

static STORE: LazyLock<MemCache> = LazyLock::new(|| MemCache::bounded(64 << 20));

/// The least a caching proxy can be.
struct Cached {
    to_origin: Arc<ToOrigin>,
    cache: ReadyCache,
}

#[async_trait]
impl ProxyHttp for Cached {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    fn ready_cache(&self, _ctx: &()) -> Option<&ReadyCache> {
        Some(&self.cache)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(peer(&self.to_origin))
    }
}

pub(crate) fn short(times: u32) -> Result<(), Failure> {
    run(times, &[b'x'; 1024])
}

pub(crate) fn long(times: u32) -> Result<(), Failure> {
    run(times, &[b'x'; 100_000])
}

fn run(times: u32, body: &[u8]) -> Result<(), Failure> {
    let request = text(BROWSER_REQUEST)?.replace("Cache-Control: max-age=0\r\n", "");
    let request = request.as_bytes();
    let response = response(body)?;
    let make = |to_origin| Cached {
        to_origin,
        cache: ReadyCache::new(&*STORE),
    };
    with(make, |proxied| {
        proxied.client.send(request);
        proxied.poll()?;
        if !proxied.origin.receive(|got| got.ends_with(b"\r\n\r\n")) {
            return Err("the origin was not asked".into());
        }
        proxied.origin.send(&response);
        proxied.poll()?;
        proxied.client.receive(|_| ());
        for round in 0..WARM_UP + times {
            if round == WARM_UP {
                warmed_up();
            }
            proxied.client.send(request);
            proxied.poll()?;
            if !proxied.client.receive(|got| got.ends_with(body)) {
                return Err("the client got nothing from the cache".into());
            }
        }
        Ok(())
    })
}

/// A response of this moment: one that has no age yet.
fn response(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let now = get_cached_date();
    let head = text(RESPONSE_HEAD)?
        .replace(
            "Content-Length: 48",
            &format!("Content-Length: {}", body.len()),
        )
        .replace("Tue, 01 Jul 2025 12:00:00 GMT", now.to_str()?);
    Ok([head.as_bytes(), body].concat())
}

fn text(head: &[u8]) -> Result<&str, Failure> {
    Ok(std::str::from_utf8(head)?)
}
