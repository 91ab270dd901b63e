//! The HTTP cache: what may be stored, where, and one request's way through it.
//!
//! A proxy turns it on for a request by [`HttpCache::enable`], with a storage, a manager of evictions, a
//! predictor and a lock table. The proxy's engine does the rest, and asks the phases on the way. A request that
//! does not turn it on carries three words of it.
//!
//! | module | what it is |
//! |---|---|
//! | [`key`] | the keys that distinguish stored responses |
//! | [`meta`], [`variance`] | what is stored beside a body; what a response varies on |
//! | [`cache_control`], [`filters`] | RFC 9111: directives, freshness, what may be stored |
//! | [`policy`] | a ready policy: RFC 9111 and its companions as one value |
//! | [`storage`] | the interface to a storage of responses; [`MemCache`] is one |
//! | [`disk`], [`tiered`] | a storage in a directory; one storage before another |
//! | [`eviction`] | which responses go when a storage is full |
//! | [`lock`] | one request fetches, the others wait |
//! | [`inspect`] | what is stored, to look up and to list |
//! | [`put`] | responses that come as the body of a request |
//! | [`predictor`], [`admission`] | keys that can't be stored; responses that are not worth it yet |
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
//! Page in the repository: `docs/caching.md`.
#![forbid(unsafe_code)]

mod decision;
mod digest;
mod http_cache;
mod memory;
mod recent;

pub mod admission;
pub mod cache_control;
pub mod clock;
pub mod disk;
pub mod eviction;
pub mod filters;
pub mod hashtable;
pub mod inspect;
pub mod key;
pub mod lock;
pub mod max_file_size;
pub mod meta;
pub mod policy;
pub mod predictor;
pub mod put;
pub mod storage;
pub mod tiered;
pub mod trace;
pub mod variance;

pub use decision::{ForcedFreshness, HitStatus, NoCacheReason, RespCacheable};
pub use eviction::{CacheEntryId, CacheEntryKey, CacheEntryKeyRef};
pub use http_cache::{
    CacheOptionOverrides, CachePhase, HttpCache, HttpCacheDigest, LockAbandon, LockCtx,
};
pub use key::CacheKey;
pub use memory::MemCache;
pub use meta::{
    CacheMeta, CacheMetaDefaults, set_compression_dict_content, set_compression_dict_path,
};
pub use storage::{
    HitHandler, MissHandler, PurgeAction, PurgeOutcome, PurgeTarget, PurgeType, Storage,
};
pub use variance::VarianceBuilder;

/// The items that most programs need of this crate: none yet. The facade's prelude includes it.
pub mod prelude {}
