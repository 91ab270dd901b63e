//! Classes of faults that other proxies have published, as far as no suite about their subject has them.
//! docs/advisories.md lists all classes, each with its tests.
//!
//! - `paths`: what a program matches is what is forwarded.
//! - `values`: several values of one field.
//! - `identity`: fields that tell who a client is.
//! - `numbers`: numbers that are no plain digits, wherever one is read.
//! - `mirrors`: responses that nobody reads.
//! - `tunnels`: bytes that come before a tunnel exists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod identity;
mod mirrors;
mod numbers;
mod paths;
mod tunnels;
mod values;

use pingora_tests::{CountingAllocator, Origin, Version, VersionedUpstream};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const VERSIONS: [Version; 2] = [Version::H1, Version::H2];

const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

/// A good origin of this version, and how it is reached.
async fn origin(version: Version) -> (Origin, VersionedUpstream) {
    let origin = match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    };
    let address = origin.address();
    (origin, VersionedUpstream { address, version })
}
