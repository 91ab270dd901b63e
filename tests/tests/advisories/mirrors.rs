//! Responses that nobody reads.

use super::PAIRS;
use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::subrequest::Ctx;
use pingora_tests::{
    Ask, Connection, CountingAllocator, Origin, Version, VersionedUpstream, eventually, h2c_proxy,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const MB: usize = 1024 * 1024;
/// The body of a mirror's response.
const BODY: usize = 64 * MB;
/// What may be held at once, of both responses and everything else in this process.
const HELD: usize = 24 * MB;

/// Sends a copy of each request elsewhere, and drops the response.
struct Mirroring {
    upstream: VersionedUpstream,
    mirror: VersionedUpstream,
    mirrored: Arc<AtomicUsize>,
}

#[async_trait]
impl ProxyHttp for Mirroring {
    type CTX = ();
    fn new_ctx(&self) {}

    fn allow_spawning_subrequest(&self, session: &Session, _: &()) -> bool {
        !session.is_subrequest()
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        if let Some(spawner) = &session.subrequest_spawner {
            spawner.spawn_background_subrequest(session, Ctx::builder().build());
        }
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let to = if session.is_subrequest() {
            &self.mirror
        } else {
            &self.upstream
        };
        Ok(Box::new(to.peer()))
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, _: &mut ()) {
        if session.is_subrequest() && error.is_none() {
            let sent = session.body_bytes_sent();
            self.mirrored.fetch_add(sent, Ordering::SeqCst);
        }
    }
}

/// Sends more than anybody should keep, as fast as it is taken.
async fn endless() -> Origin {
    Origin::scripted(|mut connection: Connection, _| async move {
        let piece = vec![b'm'; 64 * 1024];
        while connection.request().await.is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
            if connection.try_send(head).await.is_err() {
                return;
            }
            for _ in 0..BODY / piece.len() {
                if connection.try_send(&piece).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// CVE-2024-34364: the responses of mirrored requests are buffered without a bound. They are read to their end and
/// dropped piece by piece, whoever asks.
#[tokio::test]
async fn a_mirrored_response_is_not_kept() {
    let mirror = endless().await;
    for (down, up) in PAIRS {
        let (origin, upstream) = super::origin(up).await;
        let mirrored = Arc::new(AtomicUsize::new(0));
        let proxy = h2c_proxy(Mirroring {
            upstream,
            mirror: VersionedUpstream {
                address: mirror.address(),
                version: Version::H1,
            },
            mirrored: mirrored.clone(),
        })
        .await;
        let (before, _) = CountingAllocator::in_use();
        let ask = Ask::get("/length/5");
        let answer = ask.answered_over(down, proxy.address()).await;
        assert_eq!(answer.status(), 200, "{down:?} to {up:?}");
        eventually("the mirror's response is read", || {
            mirrored.load(Ordering::SeqCst) == BODY
        })
        .await;
        let (_, peak) = CountingAllocator::in_use();
        let held = peak.saturating_sub(before);
        assert!(held < HELD, "{down:?} to {up:?}: {held} bytes");
        assert_eq!(origin.requests().len(), 1);
    }
}
