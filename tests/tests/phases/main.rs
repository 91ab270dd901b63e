//! The phases as documented in `docs/phases.md`, compared with the calls that a proxy records.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod cases;
mod page;
mod recorder;
mod table;
mod troubles;

use pingora::server::configuration::ServerConf;
use pingora_tests::{
    Ask, Message, Origin, Refusing, TestServer, Version, VersionedUpstream, eventually, proxy_with,
    speak_h2c,
};
use recorder::{Act, Journal, Pen, Recorder, Tries};
use std::sync::Arc;

const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

/// A recorder, and an origin behind it.
struct Behind {
    origin: Origin,
    proxy: TestServer,
    journal: Arc<Journal>,
    _refusing: Refusing,
}

impl Behind {
    async fn new(version: Version) -> Self {
        Self::with(version, None, Tries::default()).await
    }

    /// Performs an action in one of the calls.
    async fn acting(version: Version, site: &'static str, act: Act) -> Self {
        Self::with(version, Some((site, act)), Tries::default()).await
    }

    async fn with(version: Version, act: Option<(&'static str, Act)>, tries: Tries) -> Self {
        let origin = match version {
            Version::H1 => Origin::well_behaved().await,
            Version::H2 => Origin::http2().await,
        };
        let refusing = Refusing::new();
        let journal = Arc::new(Journal::default());
        let recorder = Recorder {
            upstream: VersionedUpstream {
                address: origin.address(),
                version,
            },
            refusing: refusing.address(),
            tries,
            pen: Pen {
                journal: journal.clone(),
                act,
            },
        };
        let conf = ServerConf {
            threads: 1,
            ..ServerConf::default()
        };
        Behind {
            origin,
            proxy: proxy_with(conf, recorder, speak_h2c).await,
            journal,
            _refusing: refusing,
        }
    }

    async fn ask(&self, from: Version, ask: &Ask) -> Message {
        let answer = ask.answered_over(from, self.proxy.address()).await;
        self.logged(1).await;
        answer
    }

    /// Waits until this many requests were logged.
    async fn logged(&self, count: usize) {
        eventually("the request is logged", || {
            self.journal.count("logging") >= count
        })
        .await;
    }
}

/// A request that reaches every message phase.
fn full() -> Ask {
    Ask::by("POST", "/echo-trailers")
        .pieces("body", 0)
        .trailer("x-sum", "7")
}
