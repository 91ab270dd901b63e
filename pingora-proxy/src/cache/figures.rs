//! The metrics of the process that the cache updates.

use crate::Session;
use pingora_cache::{CachePhase, NoCacheReason};
use pingora_core::metrics::{Block, Kind, ONE, Shape, Spec};
use std::sync::LazyLock;

const SPECS: &[Spec] = &[
    Spec {
        name: "pingora_cache_requests_total",
        help: "Requests that turned the cache on, by what came of it.",
        kind: Kind::Counter,
        labels: &["result"],
        series: &[
            &["hit"],
            &["stale"],
            &["updating"],
            &["revalidated"],
            &["expired"],
            &["miss"],
            &["bypass"],
            &["uncacheable"],
            &["too_large"],
            &["storage_failed"],
            &["upstream_failed"],
            &["gave_up_waiting"],
            &["other"],
        ],
    },
    Spec {
        name: "pingora_cache_lock_wait_seconds",
        help: "Time that requests waited for another one that fetched the same.",
        kind: Kind::Histogram,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_cache_hit_bytes_total",
        help: "Bytes of bodies that were read from the store for clients.",
        kind: Kind::Counter,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_cache_fills_without_client_total",
        help: "Responses whose rest was fetched for the store after the client had left.",
        kind: Kind::Counter,
        labels: &[],
        series: ONE,
    },
];

const REQUESTS: usize = Shape::place(SPECS, 0);
const WAITS: usize = Shape::place(SPECS, 1);
const HIT_BYTES: usize = Shape::place(SPECS, 2);
const WITHOUT_CLIENT: usize = Shape::place(SPECS, 3);

static CACHE: Shape = Shape {
    specs: SPECS,
    most: 1,
};

static BLOCK: LazyLock<Block> = LazyLock::new(|| Block::only(&CACHE));

/// A request that turned the cache on is over.
pub(crate) fn count_request(session: &Session) {
    let here = BLOCK.here();
    here.add(REQUESTS + result(session.cache.phase()), 1);
    if let Some(waited) = session.cache.lock_duration() {
        here.observe(WAITS, waited);
    }
}

pub(crate) fn count_hit_bytes(bytes: usize) {
    BLOCK.here().add(HIT_BYTES, bytes as u64);
}

pub(crate) fn count_fill_without_client() {
    BLOCK.here().add(WITHOUT_CLIENT, 1);
}

/// The position among the series.
fn result(phase: CachePhase) -> usize {
    match phase {
        CachePhase::Hit => 0,
        CachePhase::Stale => 1,
        CachePhase::StaleUpdating => 2,
        CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => 3,
        CachePhase::Expired => 4,
        CachePhase::Miss => 5,
        CachePhase::Bypass => 6,
        CachePhase::Disabled(reason) => match reason {
            NoCacheReason::OriginNotCache | NoCacheReason::Custom(_) => 7,
            NoCacheReason::ResponseTooLarge | NoCacheReason::PredictedResponseTooLarge => 8,
            NoCacheReason::StorageError => 9,
            NoCacheReason::UpstreamError => 10,
            NoCacheReason::CacheLockGiveUp
            | NoCacheReason::CacheLockTimeout
            | NoCacheReason::CacheLockRetryLimit => 11,
            NoCacheReason::NeverEnabled
            | NoCacheReason::InternalError
            | NoCacheReason::Deferred
            | NoCacheReason::DeclinedToUpstream => 12,
        },
        CachePhase::Uninit | CachePhase::CacheKey => 12,
    }
}
