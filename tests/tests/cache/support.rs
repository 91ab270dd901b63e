//! A caching proxy that a test sets up, and an origin that a test writes by hand.

use async_trait::async_trait;
use http::StatusCode;
use pingora::cache::cache_control::CacheControl;
use pingora::cache::filters::resp_cacheable;
use pingora::cache::key::HashBinary;
use pingora::cache::lock::{CacheKeyLockImpl, CacheLock};
use pingora::cache::predictor::{CacheablePredictor, Predictor};
use pingora::cache::{
    CacheKey, CacheMeta, CacheMetaDefaults, CachePhase, MemCache, NoCacheReason, PurgeAction,
    RespCacheable, Storage, VarianceBuilder,
};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::proxy::{ProxyWarnLogContext, PurgeStatus};
use pingora_tests::{Connection, Message, Origin, Version};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

pub(crate) const VERSIONS: [Version; 2] = [Version::H1, Version::H2];

pub(crate) fn leak<T>(it: T) -> &'static T {
    Box::leak(Box::new(it))
}

/// What a proxy saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Requests that asked the cache.
    pub(crate) asked: AtomicUsize,
    /// The phase of each request when it was logged, and its error.
    pub(crate) logged: Mutex<Vec<(CachePhase, Option<String>)>>,
    /// Fills that went on without their clients.
    pub(crate) outlived: AtomicUsize,
}

impl Seen {
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn logged(&self) -> usize {
        self.logged.lock().unwrap().len()
    }

    pub(crate) fn phases(&self) -> Vec<CachePhase> {
        let logged = self.logged.lock().unwrap();
        logged.iter().map(|(phase, _)| *phase).collect()
    }
}

/// A proxy that caches what may be.
#[derive(Clone)]
pub(crate) struct Caching {
    pub(crate) origin: SocketAddr,
    pub(crate) upstream_version: Version,
    pub(crate) storage: &'static (dyn Storage + Sync),
    pub(crate) lock: Option<&'static CacheKeyLockImpl>,
    pub(crate) predictor: Option<&'static (dyn CacheablePredictor + Sync)>,
    pub(crate) defaults: &'static CacheMetaDefaults,
    pub(crate) most: Option<usize>,
    /// Serves what is stale while it is refreshed.
    pub(crate) serves_stale: bool,
    pub(crate) purge: PurgeAction,
    pub(crate) seen: Arc<Seen>,
}

fn a_minute(status: StatusCode) -> Option<Duration> {
    (status == StatusCode::OK).then_some(Duration::from_secs(60))
}

pub(crate) static DEFAULTS: CacheMetaDefaults = CacheMetaDefaults::new(a_minute, 0, 0);

impl Caching {
    pub(crate) fn of(origin: SocketAddr) -> Self {
        Caching {
            origin,
            upstream_version: Version::H1,
            storage: leak(MemCache::new()),
            lock: Some(leak(CacheLock::new(Duration::from_secs(60)))),
            predictor: Some(leak(Predictor::<4>::new(64, None))),
            defaults: &DEFAULTS,
            most: None,
            serves_stale: false,
            purge: PurgeAction::Delete,
            seen: Arc::default(),
        }
    }
}

#[async_trait]
impl ProxyHttp for Caching {
    type CTX = ();

    fn new_ctx(&self) {}

    fn request_cache_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        session
            .cache
            .enable(self.storage, None, self.predictor, self.lock, None);
        if let Some(most) = self.most {
            session.cache.set_max_file_size_bytes(most);
        }
        self.seen.asked.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn cache_key_callback(&self, session: &Session, _: &mut ()) -> Result<CacheKey> {
        let request = session.req_header();
        let host = request.headers.get("host").map(|host| host.as_bytes());
        let key = [
            host.unwrap_or_default(),
            request
                .uri
                .path_and_query()
                .map_or("/", |it| it.as_str())
                .as_bytes(),
        ];
        Ok(CacheKey::new(key.concat(), ""))
    }

    fn response_cache_filter(
        &self,
        _: &Session,
        resp: &ResponseHeader,
        _: &mut (),
    ) -> Result<RespCacheable> {
        let control = CacheControl::from_resp_headers(resp);
        Ok(resp_cacheable(
            control.as_ref(),
            resp.clone(),
            false,
            self.defaults,
        ))
    }

    fn cache_vary_filter(
        &self,
        meta: &CacheMeta,
        _: &mut (),
        req: &RequestHeader,
    ) -> Option<HashBinary> {
        let vary = meta.headers().get("vary")?.to_str().ok()?;
        let mut variance = VarianceBuilder::new();
        for name in vary.split(',').map(str::trim) {
            let value = req.headers.get(name).map(|value| value.as_bytes());
            variance.add_owned_name_value(name.into(), value.unwrap_or_default().to_vec());
        }
        variance.finalize()
    }

    fn should_serve_stale(&self, _: &mut Session, _: &mut (), error: Option<&Error>) -> bool {
        match error {
            None => self.serves_stale,
            Some(error) => *error.esource() == ErrorSource::Upstream,
        }
    }

    fn is_purge(&self, session: &Session, _: &()) -> bool {
        session.req_header().method == "PURGE"
    }

    fn purge_action(&self, _: &Session, _: &()) -> PurgeAction {
        self.purge
    }

    fn purge_response_filter(
        &self,
        _: &Session,
        _: &mut (),
        status: PurgeStatus,
        answer: &mut Cow<'static, ResponseHeader>,
    ) -> Result<()> {
        answer
            .to_mut()
            .insert_header("X-Purge", format!("{status:?}"))
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.origin, false, String::new());
        if self.upstream_version == Version::H2 {
            peer.options.alpn = ALPN::H2;
        }
        Ok(Box::new(peer))
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        response.insert_header("X-Cache", session.cache.phase().as_str())
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &(),
        _: &Error,
        context: ProxyWarnLogContext,
    ) -> bool {
        if matches!(context, ProxyWarnLogContext::DownstreamCache) {
            self.seen.outlived.fetch_add(1, Ordering::SeqCst);
        }
        false
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, _: &mut ()) {
        let error = error.map(|error| error.to_string());
        let mut logged = self.seen.logged.lock().unwrap();
        logged.push((session.cache.phase(), error));
    }
}

/// An origin that answers each request with what a test says, and keeps what it was asked.
pub(crate) struct Scripted {
    pub(crate) origin: Origin,
    requests: Arc<Mutex<Vec<Message>>>,
    /// Each answer takes one.
    pub(crate) gate: Arc<Semaphore>,
}

impl Scripted {
    /// `answer` is given the request and its number, from 0.
    pub(crate) async fn new(
        answer: impl Fn(&Message, usize) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Scripted::gated(Semaphore::MAX_PERMITS, answer).await
    }

    pub(crate) async fn gated(
        answers: usize,
        answer: impl Fn(&Message, usize) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let requests: Arc<Mutex<Vec<Message>>> = Arc::default();
        let gate = Arc::new(Semaphore::new(answers));
        let answer = Arc::new(answer);
        let (noted, opened) = (requests.clone(), gate.clone());
        let origin = Origin::scripted(move |mut connection: Connection, _| {
            let (noted, opened, answer) = (noted.clone(), opened.clone(), answer.clone());
            async move {
                while let Some(request) = connection.request().await {
                    let number = {
                        let mut noted = noted.lock().unwrap();
                        noted.push(request.clone());
                        noted.len() - 1
                    };
                    opened.acquire().await.unwrap().forget();
                    if connection.try_send(answer(&request, number)).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Scripted {
            origin,
            requests,
            gate,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    pub(crate) fn asked(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> Message {
        self.requests.lock().unwrap().last().cloned().unwrap()
    }
}

/// A 200 with these fields and this body.
pub(crate) fn ok(fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// The reason why a request did without the cache.
pub(crate) fn disabled(reason: NoCacheReason) -> CachePhase {
    CachePhase::Disabled(reason)
}
