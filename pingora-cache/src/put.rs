//! Putting a response into the cache that came as the body of a request, say from another cache.

use crate::cache_control::CacheControl;
use crate::eviction::EvictionManager;
use crate::filters::resp_cacheable;
use crate::max_file_size::ERR_RESPONSE_TOO_LARGE;
use crate::storage::Storage;
use crate::trace::Span;
use crate::{CacheKey, CacheMetaDefaults, HttpCache, NoCacheReason, RespCacheable};
use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, TRAILER, TRANSFER_ENCODING, UPGRADE};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::h1::{
    BodyDecoder, BodyLength, Fault, HeadLimits, HeadScanner, ResponseContext, Step, parse_response,
};
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::fmt;

/// A program's decisions about responses that are put.
pub trait CachePut {
    /// Whether the response may be stored. By default, as [`resp_cacheable`] says, with
    /// [`cache_defaults`](Self::cache_defaults).
    fn cacheable(&self, response: ResponseHeader) -> RespCacheable {
        let control = CacheControl::from_resp_headers(&response);
        resp_cacheable(control.as_ref(), response, false, Self::cache_defaults())
    }

    /// The defaults for responses that say nothing about their freshness.
    fn cache_defaults() -> &'static CacheMetaDefaults;

    /// Sees the head of the response, ahead of the decision.
    fn trace_header(&mut self, _response: &ResponseHeader) {}
}

/// One response that is put: the body of a request is an HTTP/1 response, head and body.
pub struct CachePutCtx<C: CachePut> {
    cache_put: C,
    key: CacheKey,
    storage: &'static (dyn Storage + Sync),
    eviction: Option<&'static (dyn EvictionManager + Sync)>,
    most: Option<usize>,
    trace: Span,
}

impl<C: CachePut> fmt::Debug for CachePutCtx<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachePutCtx")
            .field("key", &self.key)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

impl<C: CachePut> CachePutCtx<C> {
    /// Puts a response under this key.
    pub fn new(
        cache_put: C,
        key: CacheKey,
        storage: &'static (dyn Storage + Sync),
        eviction: Option<&'static (dyn EvictionManager + Sync)>,
        trace: Span,
    ) -> Self {
        CachePutCtx {
            cache_put,
            key,
            storage,
            eviction,
            most: None,
            trace,
        }
    }

    /// Limits the size of the response, in bytes of its body; without limit by default.
    pub fn set_max_file_size_bytes(&mut self, max_file_size_bytes: usize) {
        self.most = Some(max_file_size_bytes);
    }

    /// Reads the response from the body of this request, and stores it. `None`: it is stored; otherwise the reason
    /// why it is not, and the rest of the body may not be read. Answers nothing.
    ///
    /// A response that is incomplete when the request's body ends is not stored, and neither is one that is followed
    /// by more data. The previous version of a response stays until this one is complete.
    ///
    /// Not cancel-safe: nothing is stored if it is dropped.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, by the client, if the body is not one whole response; those of reading the request; those
    /// of the storage.
    pub async fn cache_put(
        &mut self,
        session: &mut ServerSession,
    ) -> Result<Option<NoCacheReason>> {
        let mut incoming = Incoming::default();
        let header = loop {
            let piece = session.read_request_body().await?.ok_or_else(cut_short)?;
            if let Some(header) = incoming.head(&piece)? {
                break header;
            }
        };
        self.cache_put.trace_header(&header);
        let mut meta = match self.cache_put.cacheable(header) {
            RespCacheable::Cacheable(meta) => meta,
            RespCacheable::Uncacheable(reason) => return Ok(Some(reason)),
        };
        for name in [CONNECTION, TRANSFER_ENCODING, TRAILER, UPGRADE] {
            meta.response_header_mut().remove_header(&name);
        }
        let mut cache = HttpCache::new();
        cache.enable(self.storage, self.eviction, None, None, None);
        cache.enable_tracing(self.trace.child("put", |options| options));
        if let Some(most) = self.most {
            cache.set_max_file_size_bytes(most);
        }
        cache.set_cache_key(self.key.clone());
        cache.cache_miss();
        let variance = meta.variance();
        cache.set_cache_meta(meta);
        cache.update_variance(variance);
        cache.set_miss_handler().await?;
        drop(cache.take_body_reader());
        match self.body(session, &mut incoming, &mut cache).await {
            Ok(length) => {
                cache.finish_miss_handler().await?;
                if length > 0 {
                    cache.declare_length(length).await?;
                }
                Ok(None)
            }
            Err(error) if *error.etype() == ERR_RESPONSE_TOO_LARGE => {
                Ok(Some(NoCacheReason::ResponseTooLarge))
            }
            Err(error) => Err(error),
        }
    }

    /// Stores the body; how long it is.
    async fn body(
        &self,
        session: &mut ServerSession,
        incoming: &mut Incoming,
        cache: &mut HttpCache,
    ) -> Result<usize> {
        let mut length = 0;
        loop {
            while let Some(piece) = incoming.next()? {
                length += piece.len();
                if !cache.track_body_bytes_for_max_file_size(piece.len()) {
                    let context = "the response that is put is too large";
                    return Error::e_explain(ERR_RESPONSE_TOO_LARGE, context);
                }
                if let Some(miss) = cache.miss_handler() {
                    miss.write_body(piece, false).await?;
                }
            }
            match session.read_request_body().await? {
                Some(piece) => incoming.push(&piece),
                None => break,
            }
        }
        incoming.end()?;
        if let Some(miss) = cache.miss_handler() {
            miss.write_body(Bytes::new(), true).await?;
        }
        Ok(length)
    }
}

/// A response as it comes in.
struct Incoming {
    buffer: BytesMut,
    scanner: HeadScanner,
    limits: HeadLimits,
    decoder: BodyDecoder,
    is_over: bool,
}

impl Default for Incoming {
    fn default() -> Self {
        Incoming {
            buffer: BytesMut::new(),
            scanner: HeadScanner::default(),
            limits: HeadLimits::default(),
            decoder: BodyDecoder::new(BodyLength::Empty),
            is_over: false,
        }
    }
}

impl Incoming {
    fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The head, once it is there. Interim responses are left out.
    fn head(&mut self, piece: &[u8]) -> Result<Option<ResponseHeader>> {
        self.push(piece);
        loop {
            let end = self.scanner.find_end(&self.buffer, &self.limits);
            let Some(end) = end.map_err(invalid)? else {
                return Ok(None);
            };
            let head = self.buffer.split_to(end).freeze();
            self.scanner = HeadScanner::default();
            let mut header = ResponseHeader::empty();
            let context = ResponseContext::default();
            let facts = parse_response(&head, &self.limits, context, &mut header);
            let facts = facts.map_err(invalid)?;
            if !facts.informational {
                self.decoder = BodyDecoder::new(facts.body);
                self.is_over = self.decoder.is_done();
                return Ok(Some(header));
            }
        }
    }

    /// The next piece of the body, as far as it is there.
    fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.is_over {
            match self.decoder.step(&self.buffer).map_err(invalid)? {
                Step::More { consumed } => {
                    self.buffer.advance(consumed);
                    return Ok(None);
                }
                Step::Data { skip, len } => {
                    self.buffer.advance(skip);
                    return Ok(Some(self.buffer.split_to(len).freeze()));
                }
                Step::End { consumed } => {
                    self.buffer.advance(consumed);
                    self.is_over = true;
                }
            }
        }
        if self.buffer.is_empty() {
            Ok(None)
        } else {
            Err(bad("something follows the response that is put"))
        }
    }

    /// Nothing more follows.
    fn end(&mut self) -> Result<()> {
        if !self.is_over {
            self.decoder.end_of_input().map_err(invalid)?;
        }
        Ok(())
    }
}

fn bad(context: &'static str) -> BError {
    Error::explain(ErrorType::InvalidHTTPHeader, context).into_down()
}

fn cut_short() -> BError {
    bad("the response that is put is cut short")
}

fn invalid(fault: Fault) -> BError {
    let context = format!("the response that is put: {fault}");
    Error::explain(ErrorType::InvalidHTTPHeader, context).into_down()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemCache;
    use http::StatusCode;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    static DEFAULTS: CacheMetaDefaults = CacheMetaDefaults::new(a_minute, 0, 0);

    fn a_minute(_: StatusCode) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }

    #[derive(Default)]
    struct Putting {
        seen: usize,
    }

    impl CachePut for Putting {
        fn cache_defaults() -> &'static CacheMetaDefaults {
            &DEFAULTS
        }

        fn trace_header(&mut self, _: &ResponseHeader) {
            self.seen += 1;
        }
    }

    /// Puts what comes in pieces of this size.
    async fn put(response: &str, size: usize) -> (Result<Option<NoCacheReason>>, Option<String>) {
        let storage: &'static MemCache = Box::leak(Box::default());
        let key = CacheKey::new("https://one.example/", "");
        let (mut client, server) = tokio::io::duplex(size);
        let length = response.len();
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let request = head + response;
        let sends = async { client.write_all(request.as_bytes()).await };
        let puts = async {
            let mut session = ServerSession::new_http1(Box::new(server));
            session.read_request().await.unwrap();
            let none = Span::inactive();
            let mut ctx = CachePutCtx::new(Putting::default(), key.clone(), storage, None, none);
            ctx.set_max_file_size_bytes(1000);
            let put = ctx.cache_put(&mut session).await;
            assert!(ctx.cache_put.seen <= 1);
            put
        };
        let (_, put) = tokio::join!(sends, puts);
        let trace = Span::inactive().handle();
        let found = storage.lookup(&key, &trace).await.unwrap();
        let Some((meta, mut hit)) = found else {
            return (put, None);
        };
        assert!(!meta.headers().contains_key("transfer-encoding"));
        let mut body = String::new();
        while let Some(piece) = hit.read_body().await.unwrap() {
            body.push_str(str::from_utf8(&piece).unwrap());
        }
        (put, Some(body))
    }

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[tokio::test]
    async fn whole_responses_are_stored() {
        let chunked = format!("{CHUNKED}2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
        let rows = [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            chunked.as_str(),
        ];
        for row in rows {
            for size in [1, 7, 4096] {
                let (put, stored) = put(row, size).await;
                assert_eq!(put.unwrap(), None, "{row}");
                assert_eq!(stored.as_deref(), Some("hello"), "{row}");
            }
        }
        let (put, stored) = put("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 99).await;
        assert_eq!((put.unwrap(), stored.as_deref()), (None, Some("")));
    }

    #[tokio::test]
    async fn others_are_not() {
        let too_large = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{}",
            "x".repeat(2000)
        );
        let refused = [
            (
                "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n\r\n",
                NoCacheReason::OriginNotCache,
            ),
            (too_large.as_str(), NoCacheReason::ResponseTooLarge),
        ];
        for (row, reason) in refused {
            let (put, stored) = put(row, 4096).await;
            assert_eq!((put.unwrap(), stored), (Some(reason), None), "{row}");
        }
        let half = format!("{CHUNKED}5\r\nhello\r\n");
        let nonsense = format!("{CHUNKED}x\r\n");
        let broken = [
            "",
            "HTTP/1.1 200 OK\r\n",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhello",
            half.as_str(),
            nonsense.as_str(),
        ];
        for row in broken {
            for size in [1, 4096] {
                let (put, stored) = put(row, size).await;
                assert!(put.is_err() && stored.is_none(), "{row}");
            }
        }
    }
}
