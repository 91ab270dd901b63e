//! A load balancer for a proxy: peers, tries, reports.

use crate::selection::{BackendIter, BackendSelection};
use crate::sticky::{Pin, Sticky};
use crate::{Backend, Lease, LoadBalancer, Queue};
#[cfg(feature = "openssl")]
use http::header::SET_COOKIE;
use pingora_core::upstreams::outcome::BalancedRequest;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
#[cfg(feature = "openssl")]
use pingora_http::ResponseHeader;
use std::fmt;
use std::sync::Arc;

/// The default of [`Upstreams::most_tries`].
const TRIES: usize = 3;
/// The number of a selector's offers that are examined, repetitions included.
const OFFERS: usize = 4096;

/// Chooses the peers of a proxy's requests: with a lease for each try, reports of its outcome, and another
/// backend after a failure.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::{BError, Result};
/// use pingora_core::upstreams::peer::HttpPeer;
/// use pingora_load_balancing::selection::PeakEwma;
/// use pingora_load_balancing::{LoadBalancer, Tries, Upstreams};
/// # use pingora_proxy::{ProxyHttp, Session};
///
/// struct Proxy(Upstreams<PeakEwma>);
///
/// #[async_trait]
/// impl ProxyHttp for Proxy {
///     type CTX = Tries;
///
///     fn new_ctx(&self) -> Tries {
///         Tries::default()
///     }
///
///     async fn upstream_peer(&self, session: &mut Session, tries: &mut Tries) -> Result<Box<HttpPeer>> {
///         self.0.peer(session, b"", tries)
///     }
///
///     fn fail_to_connect(
///         &self,
///         _session: &mut Session,
///         _peer: &HttpPeer,
///         tries: &mut Tries,
///         error: BError,
///     ) -> BError {
///         self.0.fail_to_connect(tries, error)
///     }
///
///     fn error_while_proxy(
///         &self,
///         peer: &HttpPeer,
///         session: &mut Session,
///         error: BError,
///         tries: &mut Tries,
///         reused: bool,
///     ) -> BError {
///         self.0.error_while_proxy(session, peer, tries, error, reused)
///     }
/// }
///
/// let balancer = LoadBalancer::try_from_iter(["127.0.0.1:8001", "127.0.0.1:8002"]).unwrap();
/// let proxy = Proxy(Upstreams::new(balancer).most_tries(2));
/// ```
///
/// The two hooks are optional: without them a request fails with its first backend, unless a connection
/// was kept from an earlier request.
pub struct Upstreams<S: BackendSelection> {
    balancer: Arc<LoadBalancer<S>>,
    tls: Option<String>,
    most_tries: usize,
    queue: Option<Queue>,
    sticky: Option<Sticky>,
    adjust: Option<Box<Adjust>>,
}

type Adjust = dyn Fn(&Backend, &mut HttpPeer) + Send + Sync;

/// The tries of a request so far: a proxy's context, or a part of it.
#[derive(Debug, Default)]
pub struct Tries {
    tried: Vec<Backend>,
    pub(crate) pin: Pin,
}

impl Tries {
    /// The backends that were tried, the latest last. A backend that was tried twice occurs twice.
    pub fn backends(&self) -> &[Backend] {
        &self.tried
    }

    /// The backend of the current, or last, try.
    pub fn current(&self) -> Option<&Backend> {
        self.tried.last()
    }
}

impl<S> Upstreams<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    /// The backends of `balancer`, over plain connections, with up to three tries for each request.
    pub fn new(balancer: impl Into<Arc<LoadBalancer<S>>>) -> Self {
        Upstreams {
            balancer: balancer.into(),
            tls: None,
            most_tries: TRIES,
            queue: None,
            sticky: None,
            adjust: None,
        }
    }

    /// Uses TLS with the backends, whose certificate has to be for `name`; empty: without a name,
    /// as for [`HttpPeer::new`].
    pub fn tls(mut self, name: impl Into<String>) -> Self {
        self.tls = Some(name.into());
        self
    }

    /// The number of tries of a request, the first one included. The server's `max_retries` bounds them,
    /// too. 0 means 1.
    pub fn most_tries(mut self, tries: usize) -> Self {
        self.most_tries = tries.max(1);
        self
    }

    /// Lets requests wait in `queue` when all backends are full; for [`peer_or_wait`](Self::peer_or_wait).
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Sends the requests of one client to one backend. If clients are identified by a cookie, call
    /// [`stick`](Self::stick) for their responses.
    pub fn sticky(mut self, sticky: Sticky) -> Self {
        self.sticky = Some(sticky);
        self
    }

    /// Adjusts each peer, for example the timeouts in its options, depending on its backend.
    pub fn adjust_peer(
        mut self,
        adjust: impl Fn(&Backend, &mut HttpPeer) + Send + Sync + 'static,
    ) -> Self {
        self.adjust = Some(Box::new(adjust));
        self
    }

    /// The balancer.
    pub fn balancer(&self) -> &Arc<LoadBalancer<S>> {
        &self.balancer
    }

    /// The peer of the next try; for `ProxyHttp::upstream_peer`. `key` is for selection by hash.
    ///
    /// It is a backend that this request has not tried yet, or, if there is none, one that it has. The try
    /// counts as in progress there, and its outcome is reported.
    ///
    /// # Errors
    /// [`ErrorType::HTTPStatus`] 503 if no backend is ready and has room.
    pub fn peer(
        &self,
        request: &mut impl BalancedRequest,
        key: &[u8],
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        let lease = self.lease(request, key, tries);
        self.peer_of(lease, request, tries)
    }

    /// Puts the cookie on a response whose client stays with its backend from now on; for
    /// `ProxyHttp::response_filter`. Does nothing if the client already has it, or needs none. A response
    /// with a cookie must not be stored in a shared cache: add it to responses that leave the cache, as
    /// that filter does.
    ///
    /// # Errors
    /// `InternalError` if the cookie can't be signed.
    #[cfg(feature = "openssl")]
    pub fn stick(&self, tries: &Tries, response: &mut ResponseHeader) -> Result<()> {
        if let Some(cookie) = self.sticky.as_ref().and_then(|s| s.cookie_for(tries)) {
            response.append_header(SET_COOKIE, cookie?)?;
        }
        Ok(())
    }

    /// [`peer`](Self::peer) that waits in the [queue](Self::queue), if there is one, while every ready
    /// backend has as many requests as it may. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorType::HTTPStatus`] 503 if no backend is ready, the queue is full, or the time has passed.
    pub async fn peer_or_wait(
        &self,
        request: &mut impl BalancedRequest,
        key: &[u8],
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        let lease = match (self.lease(request, key, tries), &self.queue) {
            (None, Some(queue)) => self.balancer.lease_or_wait(key, OFFERS, queue).await,
            (lease, _) => lease,
        };
        self.peer_of(lease, request, tries)
    }

    fn peer_of(
        &self,
        lease: Option<Lease>,
        request: &mut impl BalancedRequest,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        let Some(lease) = lease else {
            let error = ErrorType::HTTPStatus(503);
            return Error::e_explain(error, "no backend is ready and has room");
        };
        let (backend, attempt) = lease.into_parts();
        request.report_attempt(Some(attempt));
        let name = self.tls.clone();
        let mut peer = HttpPeer::new(&backend, name.is_some(), name.unwrap_or_default());
        if let Some(adjust) = &self.adjust {
            adjust(&backend, &mut peer);
        }
        tries.tried.push(backend);
        Ok(Box::new(peer))
    }

    fn lease(
        &self,
        request: &impl BalancedRequest,
        key: &[u8],
        tries: &mut Tries,
    ) -> Option<Lease> {
        if let Some(sticky) = &self.sticky {
            let members = self.balancer.backends().members();
            let (wanted, pin) = sticky.wanted(request, &members, tries);
            tries.pin = pin;
            if let Some(lease) = wanted.and_then(|backend| self.balancer.lease_at(backend)) {
                return Some(lease);
            }
        }
        if tries.tried.is_empty() {
            return self.balancer.lease(key, OFFERS);
        }
        let new = self.balancer.lease_with(key, OFFERS, |backend, ready| {
            ready && !tries.tried.contains(backend)
        });
        new.or_else(|| self.balancer.lease(key, OFFERS))
    }

    /// Whether another backend is ready that this request has not tried, and tries are left.
    fn has_another(&self, tries: &Tries) -> bool {
        tries.tried.len() < self.most_tries
            && self
                .balancer
                .select_with(b"", OFFERS, |backend, ready| {
                    ready && !tries.tried.contains(backend)
                })
                .is_some()
    }

    /// Lets a request that failed to connect go to another backend; for
    /// `ProxyHttp::fail_to_connect`.
    pub fn fail_to_connect(&self, tries: &Tries, mut error: BError) -> BError {
        error.set_retry(self.has_another(tries));
        error
    }

    /// Learns which of two tries at once goes on; for `ProxyHttp::hedge_settled`, in proxies whose policy
    /// hedges. The backend of that peer becomes the [current](Tries::current) one.
    pub fn hedge_settled(&self, tries: &mut Tries, peer: &HttpPeer) {
        if let [.., first, second] = &mut tries.tried[..]
            && second.addr != *peer.address()
            && first.addr == *peer.address()
        {
            std::mem::swap(first, second);
        }
    }

    /// Lets a request that failed at its upstream go to another backend, if it
    /// [may be repeated](BalancedRequest::may_be_repeated); for `ProxyHttp::error_while_proxy`. If the
    /// connection was kept from an earlier request, it may also go to the same one again, as by default.
    pub fn error_while_proxy(
        &self,
        request: &impl BalancedRequest,
        peer: &HttpPeer,
        tries: &Tries,
        error: BError,
        client_reused: bool,
    ) -> BError {
        let mut error = error.more_context(format!("Peer: {peer}"));
        let repeatable = request.may_be_repeated();
        let left = tries.tried.len() < self.most_tries;
        error
            .retry
            .decide_reuse(client_reused && repeatable && left);
        let is_the_upstreams = error.esource() == &ErrorSource::Upstream;
        if !error.retry() && is_the_upstreams && repeatable && self.has_another(tries) {
            error.set_retry(true);
        }
        error
    }
}

impl<S: BackendSelection> fmt::Debug for Upstreams<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstreams")
            .field("balancer", &self.balancer)
            .field("tls", &self.tls)
            .field("most_tries", &self.most_tries)
            .finish_non_exhaustive()
    }
}
