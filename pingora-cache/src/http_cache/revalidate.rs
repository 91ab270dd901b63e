//! Stale responses: confirming them, or serving them nevertheless.

use super::{CachePhase, HttpCache};
use crate::lock::LockStatus;
use crate::policy::{freshen, is_confirmed_by};
use crate::{CacheMeta, NoCacheReason};
use pingora_error::Result;
use pingora_http::ResponseHeader;

/// The head of a response, without the order and the case of its fields.
pub(crate) type RespHeader = http::response::Parts;

impl HttpCache {
    /// The upstream has confirmed what is stale: it gets this metadata, except for its variant, its further
    /// data and when it was created. Whether it is still stored.
    ///
    /// # Errors
    /// Those of the storage; `InternalError` if nothing stale was found.
    pub async fn revalidate_cache_meta(&mut self, mut meta: CacheMeta) -> Result<bool> {
        let inner = self.in_use()?;
        let stale = matches!(inner.phase, CachePhase::Stale | CachePhase::StaleUpdating);
        let Some(old) = inner.meta.as_ref().filter(|_| stale) else {
            return Err(super::misused("only what is stale can be confirmed"));
        };
        meta.confirm(old);
        match old.variance() {
            Some(variance) => meta.set_variance(variance),
            None => meta.remove_variance(),
        }
        meta.extensions_mut().extend(old.extensions().clone());
        inner.phase = CachePhase::Revalidated;
        let trace = inner.spans.hit.handle();
        let updated = inner.storage.update_meta(inner.key()?, &meta, &trace).await;
        inner.meta = Some(meta);
        inner.release(LockStatus::Done);
        updated
    }

    /// The head of the stored response, with the fields of a 304 instead of its own (RFC 9111 section
    /// 3.2): all except those of framing and coding. Its status stays.
    pub fn revalidate_merge_header(&mut self, resp: &RespHeader) -> ResponseHeader {
        let Some(meta) = self.maybe_cache_meta() else {
            return ResponseHeader::from(clone_head(resp));
        };
        freshen(meta.response_header(), resp, crate::clock::now())
    }

    /// Whether a 304 applies to the stale response (RFC 9111 section 4.3.4).
    pub fn is_confirmed_by(&self, resp: &RespHeader) -> bool {
        let meta = self.maybe_cache_meta();
        meta.is_some_and(|meta| is_confirmed_by(meta.response_header(), resp))
    }

    /// The upstream has confirmed what is stale, but it must not be stored any longer: it is served this once,
    /// with this head.
    pub fn revalidate_uncacheable(&mut self, header: ResponseHeader, reason: NoCacheReason) {
        let Some(inner) = self.on() else {
            return;
        };
        if let Some(meta) = &mut inner.meta {
            *meta.response_header_mut() = header;
        }
        inner.phase = CachePhase::RevalidatedNoCache(reason);
        inner.release(inner.status_for(reason));
    }

    /// The stale response is served while another request refreshes it.
    pub fn set_stale_updating(&mut self) {
        if let Some(inner) = self.on()
            && inner.phase == CachePhase::Stale
        {
            inner.phase = CachePhase::StaleUpdating;
        }
    }

    /// Whether something stale was found that may be served because the upstream fails.
    pub fn can_serve_stale_error(&self) -> bool {
        self.stale()
            .is_some_and(|meta| meta.serve_stale_if_error(crate::clock::now()))
    }

    /// Whether something stale was found that may be served while it is refreshed.
    pub fn can_serve_stale_updating(&self) -> bool {
        self.stale()
            .is_some_and(|meta| meta.serve_stale_while_revalidate(crate::clock::now()))
    }

    fn stale(&self) -> Option<&CacheMeta> {
        let inner = self.on_ref()?;
        let is_stale = matches!(inner.phase, CachePhase::Stale | CachePhase::StaleUpdating);
        inner
            .meta
            .as_ref()
            .filter(|_| is_stale && inner.body_reader.is_some())
    }
}

fn clone_head(resp: &RespHeader) -> RespHeader {
    let mut copy = http::Response::new(()).into_parts().0;
    copy.status = resp.status;
    copy.version = resp.version;
    copy.headers = resp.headers.clone();
    copy
}
