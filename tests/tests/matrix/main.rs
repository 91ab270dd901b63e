//! Every kind of message between every pair of versions: what goes in comes out.
//!
//! - `pairs`: kinds of bodies, trailers, interim answers, with every version on either side.
//! - `endings`: messages that are reset, cut short, answered early or have a wrong length.
//! - `bodiless`: answers that have no body, whatever is said of it.
//! - `early`: bodies of requests that are answered before they arrive.
//! - `fields`: how the fields of a head change from one version to the other.
//! - `http1`: features that only HTTP/1 has: its older version, chunks, keep-alive, pipelining,
//!   upgrades.
//!
//! The suite `slow_readers` tests how much memory a slow reader costs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod bodiless;
mod early;
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

/// How an HTTP/1 message is delimited, or what an HTTP/2 message declares about its length.
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

/// Field lines with case-insensitive names.
fn named(fields: &[(String, String)]) -> Vec<String> {
    let lines = fields.iter();
    lines
        .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
        .collect()
}
