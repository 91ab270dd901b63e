//! A sub-request's knowledge of the request that spawned it.

use pingora_cache::CacheKey;
use pingora_cache::lock::{CacheKeyLockImpl, LockStatus, WritePermit};
use std::any::Any;
use std::fmt;

/// Any data that the parent of a sub-request passes to its phases.
pub type UserCtx = Box<dyn Any + Sync + Send>;

/// Whether a sub-request has a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyMode {
    /// No body; fields that announce one are removed from its head. The default.
    #[default]
    NoBody,
    /// Its caller sends a body, and ends it. If the head does not declare the length, it is unknown.
    ExpectBody,
}

/// A permit to fetch for the cache, and its origin.
struct WriteLock {
    table: &'static CacheKeyLockImpl,
    key: CacheKey,
    permit: WritePermit,
}

/// Builds a [`Ctx`] step by step.
#[derive(Debug, Default)]
pub struct CtxBuilder {
    ctx: Ctx,
}

impl CtxBuilder {
    /// No permit, no user data, no body.
    pub fn new() -> Self {
        CtxBuilder::default()
    }

    /// Passes on the permit to fetch for the cache. The sub-request's look-up takes it if it would have to wait;
    /// otherwise it is released at the end of the sub-request.
    pub fn cache_write_lock(
        mut self,
        cache_lock: &'static CacheKeyLockImpl,
        key: CacheKey,
        write_permit: WritePermit,
    ) -> Self {
        self.ctx.release_write_lock();
        self.ctx.write_lock = Some(Box::new(WriteLock {
            table: cache_lock,
            key,
            permit: write_permit,
        }));
        self
    }

    /// Data for the phases of the sub-request.
    pub fn user_ctx(mut self, user_ctx: UserCtx) -> Self {
        self.ctx.user_ctx = Some(user_ctx);
        self
    }

    /// Whether the sub-request has a body.
    pub fn body_mode(mut self, body_mode: BodyMode) -> Self {
        self.ctx.body_mode = body_mode;
        self
    }

    /// The context.
    pub fn build(self) -> Ctx {
        self.ctx
    }
}

/// The facts that a sub-request knows about its origin.
#[derive(Default)]
pub struct Ctx {
    write_lock: Option<Box<WriteLock>>,
    user_ctx: Option<UserCtx>,
    body_mode: BodyMode,
    /// The process was shutting down when the parent began.
    pub(crate) shutting_down: bool,
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("write_lock", &self.write_lock.is_some())
            .field("user_ctx", &self.user_ctx.is_some())
            .field("body_mode", &self.body_mode)
            .finish_non_exhaustive()
    }
}

impl Ctx {
    /// Builds a context step by step.
    ///
    /// ```
    /// use pingora_proxy::subrequest::{BodyMode, Ctx};
    ///
    /// let ctx = Ctx::builder().user_ctx(Box::new("refresh")).build();
    /// assert_eq!(ctx.body_mode(), BodyMode::NoBody);
    /// assert_eq!(ctx.user_ctx().and_then(|c| c.downcast_ref()), Some(&"refresh"));
    /// ```
    pub fn builder() -> CtxBuilder {
        CtxBuilder::new()
    }

    /// The data that the parent passes to the phases.
    pub fn user_ctx(&self) -> Option<&UserCtx> {
        self.user_ctx.as_ref()
    }

    /// See [`Ctx::user_ctx`].
    pub fn user_ctx_mut(&mut self) -> Option<&mut UserCtx> {
        self.user_ctx.as_mut()
    }

    /// Releases the permit to fetch, unused: another request may try.
    pub fn release_write_lock(&mut self) {
        if let Some(lock) = self.write_lock.take() {
            let WriteLock { table, key, permit } = *lock;
            table.release(&key, permit, LockStatus::TransientError);
        }
    }

    /// Takes the permit to fetch. The caller has to release it.
    pub fn take_write_lock(&mut self) -> Option<WritePermit> {
        self.write_lock.take().map(|lock| lock.permit)
    }

    /// Whether the sub-request has a body.
    pub fn body_mode(&self) -> BodyMode {
        self.body_mode
    }
}

/// Otherwise the requests that wait for the permit would wait until it is too old.
impl Drop for Ctx {
    fn drop(&mut self) {
        self.release_write_lock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Extensions;
    use pingora_cache::lock::{CacheKeyLock, Locked};
    use std::sync::Mutex;
    use std::time::Duration;

    #[derive(Default)]
    struct Table(Mutex<Vec<(Vec<u8>, LockStatus)>>);

    impl CacheKeyLock for Table {
        fn lock(&self, _key: &CacheKey, stale_writer: bool) -> Locked {
            Locked::Write(permit(stale_writer))
        }

        fn release(&self, key: &CacheKey, _permit: WritePermit, reason: LockStatus) {
            let key = key.primary_key().to_vec();
            self.0.lock().unwrap().push((key, reason));
        }
    }

    fn permit(stale_writer: bool) -> WritePermit {
        WritePermit::new(Duration::from_secs(9), stale_writer, Extensions::new()).0
    }

    fn locked() -> (&'static Table, Ctx) {
        let table: &'static Table = Box::leak(Box::default());
        let key = CacheKey::new("k", "");
        let ctx = Ctx::builder().cache_write_lock(table, key, permit(false));
        (table, ctx.build())
    }

    #[test]
    fn a_permit_that_nobody_takes_is_given_back_once() {
        let (table, mut ctx) = locked();
        ctx.release_write_lock();
        assert!(ctx.take_write_lock().is_none());
        drop(ctx);
        let released = vec![(b"k".to_vec(), LockStatus::TransientError)];
        assert_eq!(*table.0.lock().unwrap(), released);

        let (table, ctx) = locked();
        drop(ctx);
        assert_eq!(*table.0.lock().unwrap(), released);
    }

    #[test]
    fn a_permit_that_is_taken_is_the_takers() {
        let (table, mut ctx) = locked();
        let permit = ctx.take_write_lock().unwrap();
        drop(ctx);
        assert_eq!(permit.lock_status(), LockStatus::Waiting);
        assert!(table.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_context_carries_what_it_was_given() {
        let mut ctx = CtxBuilder::new()
            .user_ctx(Box::new(7_u8))
            .body_mode(BodyMode::ExpectBody)
            .build();
        if let Some(seven) = ctx.user_ctx_mut().and_then(|c| c.downcast_mut::<u8>()) {
            *seven += 1;
        }
        let seen = ctx.user_ctx().and_then(|c| c.downcast_ref::<u8>());
        assert_eq!(seen, Some(&8));
        assert_eq!(ctx.body_mode(), BodyMode::ExpectBody);
        assert!(Ctx::builder().build().user_ctx().is_none());
    }
}
