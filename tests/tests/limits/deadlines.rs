//! Limits of time that no byte puts off, or not for long.

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::Spooling;
use pingora_tests::http2::RawHttp2;
use pingora_tests::http2::frames::{self, Frame, kind};
use pingora_tests::{Ask, Connection, Origin, Version, VersionedUpstream, eventually, h2c_proxy};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

const VERSIONS: [Version; 2] = [Version::H1, Version::H2];
const LIMIT: Duration = Duration::from_millis(300);
/// A client that drips sends at most a tenth of it, in bytes per second.
const RATE: usize = 1000;
/// Longer than the time of which a rate is the average.
const LONGEST: Duration = Duration::from_secs(60);
/// The pause between two bytes, far below every time-out between two reads.
const PAUSE: Duration = Duration::from_millis(10);

/// The path says what is limited.
struct Limited(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Limited {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        match session.req_header().uri.path() {
            "/body" => session.limit_request_body(Some(LIMIT)),
            "/rate" | "/buffered-at-a-rate" => session.set_min_receive_rate(Some(RATE)),
            _ => session.limit_request(Some(LIMIT)),
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        if session.req_header().uri.path() == "/buffered-at-a-rate" {
            session
                .buffer_request_body(&Spooling::new(10 << 20))
                .await?;
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.peer()))
    }
}

/// The status of the answer to an upload of which a byte comes now and then.
async fn dripped(version: Version, proxy: SocketAddr, path: &str) -> Option<u16> {
    let end = Instant::now() + LONGEST;
    match version {
        Version::H1 => {
            let mut client = Connection::to(proxy).await;
            let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
            client.send(head).await;
            while !client.has_input() && Instant::now() < end {
                client.send("x").await;
                tokio::time::sleep(PAUSE).await;
            }
            Some(client.response().await.status())
        }
        Version::H2 => {
            let mut client = RawHttp2::client(proxy, &[]).await;
            let head = Frame::headers(1, frames::request("POST", path), false);
            client.send([head]).await;
            while Instant::now() < end {
                client.send([Frame::data(1, "x", false)]).await;
                while let Ok(frame) = client.frame_within(PAUSE).await {
                    if frame.as_ref().is_none_or(|it| it.kind == kind::HEADERS) {
                        return frame.and_then(|frame| frame.status());
                    }
                }
            }
            None
        }
    }
}

#[tokio::test]
async fn a_body_that_drips_is_a_408_however_steadily_it_does() {
    for up in VERSIONS {
        let origin = match up {
            Version::H1 => Origin::well_behaved().await,
            Version::H2 => Origin::http2().await,
        };
        let address = origin.address();
        let limited = Limited(VersionedUpstream {
            address,
            version: up,
        });
        let server = h2c_proxy(limited).await;
        for down in VERSIONS {
            for path in ["/body", "/whole"] {
                let what = format!("{path} over {down:?} to {up:?}");
                let before = origin.aborted();
                let status = dripped(down, server.address(), path).await;
                assert_eq!(status, Some(408), "{what}");
                eventually("the origin hears of it", || origin.aborted() > before).await;
            }
        }
        let complete = |request: &pingora_tests::Message| request.is_complete();
        assert!(!origin.requests().iter().any(complete), "to {up:?}");
    }
}

#[tokio::test]
async fn a_body_slower_than_its_rate_is_a_408_and_a_faster_one_passes() {
    let origin = Origin::well_behaved().await;
    let server = h2c_proxy(Limited(VersionedUpstream {
        address: origin.address(),
        version: Version::H1,
    }))
    .await;
    let address = server.address();
    let rows = ["/rate", "/buffered-at-a-rate"]
        .into_iter()
        .flat_map(|path| VERSIONS.map(|down| (path, down)));
    let slow = rows.clone().map(async |(path, down)| {
        let status = dripped(down, address, path).await;
        assert_eq!(status, Some(408), "{path} over {down:?}");
    });
    let fast = rows.map(async |(path, down)| {
        let ask = Ask::by("POST", path).body(vec![b'x'; 1_000_000]);
        let answer = ask.answered_over(down, address).await;
        assert_eq!(answer.status(), 200, "{path} over {down:?}");
    });
    futures::join!(
        futures::future::join_all(slow),
        futures::future::join_all(fast)
    );
}
