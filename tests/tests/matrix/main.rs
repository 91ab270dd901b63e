//! Every shape of message between every pair of versions: what goes in comes out.
//!
//! - `pairs`: shapes of bodies, trailers, interim answers, by every version on either side.
//! - `endings`: what is reset, cut short, answered early or lies about its length.
//! - `fields`: what becomes of the fields of a head from one version to the other.
//! - `http1`: what HTTP/1 alone has: its older version, chunks, keep-alive, pipelining, upgrades.
//!
//! How much memory a slow reader costs is in the suite `slow_readers`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod endings;
mod fields;
mod http1;
mod pairs;

use pingora_tests::{Message, Origin, TestServer, Version, VersionedUpstream, h2c_proxy};

const MB: usize = 1024 * 1024;

/// The version of the client, and that of the origin.
type Pair = (Version, Version);

const PAIRS: [Pair; 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

/// A good origin of this version, and a proxy that speaks it with the origin, and both with clients.
async fn behind_a_proxy(version: Version) -> (Origin, TestServer) {
    let origin = match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    };
    let upstream = VersionedUpstream {
        address: origin.address(),
        version,
    };
    (origin, h2c_proxy(upstream).await)
}

/// Compares long bodies without printing them.
#[track_caller]
fn assert_same(got: &[u8], wanted: &[u8], what: &str) {
    let differs = got.iter().zip(wanted).position(|(a, b)| a != b);
    assert!(
        got == wanted,
        "{what}: {} bytes for {}, the first difference at {differs:?}",
        got.len(),
        wanted.len()
    );
}

/// How a message of HTTP/1 is delimited, or what a message of HTTP/2 says of its length.
fn framing_of(message: &Message) -> &'static str {
    match (
        message.header("Content-Length"),
        message.header("Transfer-Encoding"),
    ) {
        (Some(_), Some(_)) => "both",
        (Some(_), None) => "length",
        (None, Some(_)) => "chunked",
        (None, None) => "none",
    }
}

/// Field lines whose names are without case.
fn named(fields: &[(String, String)]) -> Vec<String> {
    let lines = fields.iter();
    lines
        .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
        .collect()
}
