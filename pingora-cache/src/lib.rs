//! The vocabulary of the cache: which responses may be stored, and where.
//!
//! The proxy's phases and its session refer to the types of a cache, so these types exist from the start.
//! The cache behind them is **not built yet**: there is no storage, no eviction, no predictor, no lookup.
//! An [`HttpCache`] is always disabled; it can report that, and the reason, without an allocation or a
//! branch that a request could notice. Types that need the rest are absent from this crate rather than
//! present without effect.
//!
//! | module | what it is |
//! |---|---|
//! | [`key`] | the keys that distinguish stored responses |
//! | [`storage`] | the interface to a storage of responses |
//! | [`eviction`] | names of single stored entries |
//! | [`lock`] | one request fetches, the others wait |
//! | [`trace`] | spans that record nothing |
//!
//! # Example
//! ```
//! use pingora_cache::{CacheKey, HttpCache};
//!
//! let key = CacheKey::new("GET https://one.example/", "");
//! assert_eq!(key.primary_key_str(), Some("GET https://one.example/"));
//! assert!(!HttpCache::new().enabled());
//! ```
//!
//! Page in the repository: `docs/migrating.md`.
#![forbid(unsafe_code)]

mod decision;
mod digest;
mod http_cache;

pub mod admission;
pub mod cache_control;
pub mod clock;
pub mod eviction;
pub mod filters;
pub mod hashtable;
pub mod key;
pub mod lock;
pub mod max_file_size;
pub mod meta;
pub mod policy;
pub mod predictor;
pub mod storage;
pub mod trace;
pub mod variance;

pub use decision::{ForcedFreshness, HitStatus, NoCacheReason, RespCacheable};
pub use eviction::{CacheEntryId, CacheEntryKey, CacheEntryKeyRef};
pub use http_cache::{CachePhase, HttpCache};
pub use key::CacheKey;
pub use meta::{
    CacheMeta, CacheMetaDefaults, set_compression_dict_content, set_compression_dict_path,
};
pub use storage::{
    HitHandler, MissHandler, PurgeAction, PurgeOutcome, PurgeTarget, PurgeType, Storage,
};
pub use variance::VarianceBuilder;

/// The items that most programs need of this crate: none yet. The facade's prelude includes it.
pub mod prelude {}
