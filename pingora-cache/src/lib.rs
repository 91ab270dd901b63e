//! What may be stored, and where: the vocabulary of the cache.
//!
//! The proxy's phases and its session name the types of a cache, so these stand here from the
//! start. What is **not built yet** is the cache behind them: there is no storage, no eviction, no
//! predictor, no lookup. An [`HttpCache`] is always disabled; it can say so, and why, and that
//! costs neither an allocation nor a branch that a request could notice. Whatever needs the rest is
//! absent from this crate rather than present without effect.
//!
//! | module | what it is |
//! |---|---|
//! | [`key`] | what tells stored responses apart |
//! | [`storage`] | the seam to where responses are kept |
//! | [`eviction`] | names of single stored entries |
//! | [`lock`] | one request fetches, the others wait |
//! | [`trace`] | spans that record nothing |
#![forbid(unsafe_code)]

mod decision;
mod http_cache;
mod meta;

pub mod eviction;
pub mod key;
pub mod lock;
pub mod storage;
pub mod trace;

pub use decision::{ForcedFreshness, HitStatus, NoCacheReason, RespCacheable};
pub use eviction::{CacheEntryId, CacheEntryKey, CacheEntryKeyRef};
pub use http_cache::{CachePhase, HttpCache};
pub use key::CacheKey;
pub use meta::CacheMeta;
pub use storage::{
    HitHandler, MissHandler, PurgeAction, PurgeOutcome, PurgeTarget, PurgeType, Storage,
};
