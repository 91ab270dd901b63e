//! Stores that fail, stall, or lie: the client gets its response, or one that ends as incomplete.

use super::support::{Caching, VERSIONS, leak};
use async_trait::async_trait;
use bytes::Bytes;
use pingora::cache::storage::{HandleHit, HandleMiss, MissFinishType};
use pingora::cache::trace::SpanHandle;
use pingora::cache::{
    CacheKey, CacheMeta, HitHandler, MemCache, MissHandler, PurgeOutcome, PurgeTarget, PurgeType,
    Storage,
};
use pingora::prelude::*;
use pingora_tests::{Ask, Origin, Version, eventually, h2c_proxy, pattern};
use std::any::Any;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    LookUp,
    Begin,
    Write,
    StallsInWrite,
    Finish,
    Read,
    ReadsLess,
    ReadsMore,
    ReadsNothing,
}

struct Faulty {
    inner: &'static MemCache,
    fault: Fault,
}

fn failed<T>() -> Result<T> {
    Error::e_explain(InternalError, "told to fail")
}

#[async_trait]
impl Storage for Faulty {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        if self.fault == Fault::LookUp {
            return failed();
        }
        let found = self.inner.lookup(key, trace).await?;
        Ok(found.map(|(meta, inner)| {
            let hit: HitHandler = Box::new(FaultyHit {
                inner,
                fault: self.fault,
                reads: 0,
            });
            (meta, hit)
        }))
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        trace: &SpanHandle,
    ) -> Result<MissHandler> {
        if self.fault == Fault::Begin {
            return failed();
        }
        let inner = self.inner.get_miss_handler(key, meta, trace).await?;
        Ok(Box::new(FaultyMiss {
            inner,
            fault: self.fault,
        }))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        kind: PurgeType,
        trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        self.inner.purge(target, kind, trace).await
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        trace: &SpanHandle,
    ) -> Result<bool> {
        self.inner.update_meta(key, meta, trace).await
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

struct FaultyHit {
    inner: HitHandler,
    fault: Fault,
    reads: usize,
}

#[async_trait]
impl HandleHit for FaultyHit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        self.reads += 1;
        match (self.fault, self.reads) {
            (Fault::ReadsNothing, _) => failed(),
            (Fault::Read, 2) => failed(),
            (Fault::ReadsLess, 2) => Ok(None),
            _ => {
                let piece = self.inner.read_body().await?;
                match (self.fault, piece) {
                    (Fault::ReadsMore, None) if self.reads < 9 => Ok(Some("more".into())),
                    (_, piece) => Ok(piece),
                }
            }
        }
    }

    async fn finish(
        self: Box<Self>,
        _: &'static (dyn Storage + Sync),
        _: &CacheKey,
        _: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

struct FaultyMiss {
    inner: MissHandler,
    fault: Fault,
}

#[async_trait]
impl HandleMiss for FaultyMiss {
    async fn write_body(&mut self, data: Bytes, eof: bool) -> Result<()> {
        match self.fault {
            Fault::Write => failed(),
            Fault::StallsInWrite => std::future::pending().await,
            _ => self.inner.write_body(data, eof).await,
        }
    }

    async fn finish(self: Box<Self>) -> Result<MissFinishType> {
        match self.fault {
            Fault::Finish => failed(),
            _ => self.inner.finish().await,
        }
    }
}

const LENGTH: usize = 1_000_000;

fn faulty(origin: &Origin, fault: Fault) -> Caching {
    let mut caching = Caching::of(origin.address());
    caching.storage = leak(Faulty {
        inner: leak(MemCache::new()),
        fault,
    });
    caching
}

#[tokio::test]
async fn a_store_that_can_not_store_is_given_up_and_the_client_served() {
    let origin = Origin::well_behaved().await;
    for fault in [
        Fault::LookUp,
        Fault::Begin,
        Fault::Write,
        Fault::StallsInWrite,
        Fault::Finish,
    ] {
        let caching = faulty(&origin, fault);
        let seen = caching.seen.clone();
        let server = h2c_proxy(caching).await;
        for version in VERSIONS {
            for path in [format!("/length/{LENGTH}"), format!("/chunked/{LENGTH}")] {
                let answer = Ask::get(&path)
                    .answered_over(version, server.address())
                    .await;
                let what = format!("{fault:?} {version:?} {path}");
                assert!(
                    answer.is_complete() && answer.body == pattern(LENGTH),
                    "{what}"
                );
            }
        }
        eventually("each is logged once", || seen.logged() == 4).await;
    }
}

#[tokio::test]
async fn what_can_not_be_read_is_never_a_whole_response() {
    let origin = Origin::well_behaved().await;
    for fault in [Fault::Read, Fault::ReadsLess, Fault::ReadsMore] {
        let caching = faulty(&origin, fault);
        let seen = caching.seen.clone();
        let server = h2c_proxy(caching).await;
        let ask = Ask::get(&format!("/length/{LENGTH}"));
        ask.answered_over(Version::H1, server.address()).await;
        for version in VERSIONS {
            let answer = ask.answered_over(version, server.address()).await;
            let is_right = answer.is_complete() && answer.body == pattern(LENGTH);
            let is_broken = !answer.is_complete() || answer.status() >= 500;
            assert!(
                is_broken || fault == Fault::ReadsMore && is_right,
                "{fault:?} {version:?}"
            );
        }
        eventually("each is logged once", || seen.logged() == 3).await;
    }
}

#[tokio::test]
async fn what_can_not_be_read_at_all_is_fetched() {
    let origin = Origin::well_behaved().await;
    let server = h2c_proxy(faulty(&origin, Fault::ReadsNothing)).await;
    let ask = Ask::get(&format!("/length/{LENGTH}"));
    for version in VERSIONS {
        for _ in 0..2 {
            let answer = ask.answered_over(version, server.address()).await;
            assert!(answer.is_complete() && answer.body == pattern(LENGTH));
        }
    }
}
