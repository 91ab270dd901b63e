//! How a proxy treats fields and their meaning.
//!
//! - `hops`: fields that are for one hop, and those that look like it.
//! - `upgrades`: requests to switch protocols, granted or not.
//! - `trailers`: fields that must not come back as trailers.
//! - `lengths`: bodies whose length is known, or is invalid.
//! - `added`: fields that a message lacks, and that are added.
//! - `aliases`: names that a server may confuse with others.
//!
//! Tests for a published advisory name it in their comment.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod added;
mod aliases;
mod hops;
mod lengths;
mod trailers;
mod upgrades;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::upstreams::peer::{H1UpgradePolicy, HttpUpstreamRequestPolicy};
use pingora_tests::http2::RawHttp2;
use pingora_tests::http2::frames::{self, Frame};
use pingora_tests::{Origin, TestServer, Version, VersionedUpstream, h2c_proxy};
use std::net::SocketAddr;
use std::sync::Arc;

const VERSIONS: [Version; 2] = [Version::H1, Version::H2];

const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn good_origin(version: Version) -> Origin {
    match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    }
}

/// A good origin of this version, and a proxy that speaks it with the origin, and both with clients.
async fn behind_a_proxy(version: Version) -> (Origin, TestServer) {
    let origin = good_origin(version).await;
    let address = origin.address();
    (
        origin,
        h2c_proxy(VersionedUpstream { address, version }).await,
    )
}

/// An origin of this version that answers each request with this status and these fields, without a
/// body, and a proxy in front of it.
async fn answering(version: Version, status: u16, fields: &[(&str, &str)]) -> (Origin, TestServer) {
    let origin = match version {
        Version::H1 => {
            let mut head = format!("HTTP/1.1 {status} \r\nContent-Length: 0\r\n");
            for (name, value) in fields {
                head += &format!("{name}: {value}\r\n");
            }
            Origin::answering(head + "\r\n").await
        }
        Version::H2 => {
            let status = status.to_string();
            let block = [&[(":status", status.as_str())], fields].concat();
            let block: Arc<[u8]> = frames::block(&block).into();
            Origin::http2_scripted(&[], move |raw, _| answer_all(raw, block.clone())).await
        }
    };
    let address = origin.address();
    (
        origin,
        h2c_proxy(VersionedUpstream { address, version }).await,
    )
}

/// Answers each stream with only this block.
async fn answer_all(mut raw: RawHttp2, block: Arc<[u8]>) {
    while let Some(request) = raw.frame_of(frames::kind::HEADERS).await {
        let answer = Frame::headers(request.stream, block.to_vec(), true);
        if raw.try_send([answer]).await.is_err() {
            return;
        }
    }
}

/// A proxy that lets any upgrade through.
struct AnyUpgrade(SocketAddr);

#[async_trait]
impl ProxyHttp for AnyUpgrade {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.0, false, String::new());
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy {
            h1_upgrade: H1UpgradePolicy::Preserve,
            ..HttpUpstreamRequestPolicy::standard()
        };
        Ok(Box::new(peer))
    }
}
