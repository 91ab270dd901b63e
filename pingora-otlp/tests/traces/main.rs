//! Traces of a proxy: what clients and upstreams see of them, and what a collector gets, which reads it by the published
//! messages.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

mod collector;
mod export;
mod fields;
mod kept;

use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::prelude::*;
use pingora::proxy::subrequest::Ctx as SubrequestCtx;
use pingora::proxy::trace::{RequestTrace, Span, SpanSink, Tracing};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Keeps the spans of each request.
#[derive(Debug, Default)]
struct Sink(Mutex<Vec<Vec<Span>>>);

impl SpanSink for Sink {
    fn take(&self, spans: Vec<Span>) {
        self.0.lock().unwrap().push(spans);
    }
}

impl Sink {
    /// The spans of the next request; the client has its answer before they are there.
    async fn next(&self) -> Vec<Span> {
        pingora_tests::eventually("spans are there", || !self.0.lock().unwrap().is_empty()).await;
        self.0.lock().unwrap().remove(0)
    }
}

/// A proxy that traces; each failed try is followed by one at the next peer.
struct Traced {
    tracing: Tracing,
    peers: Vec<SocketAddr>,
    asks_itself: bool,
}

impl Traced {
    fn new(tracing: Tracing, peers: &[SocketAddr]) -> Self {
        Traced {
            tracing,
            peers: peers.to_vec(),
            asks_itself: false,
        }
    }
}

#[async_trait]
impl ProxyHttp for Traced {
    type CTX = Option<RequestTrace>;
    fn new_ctx(&self) -> Self::CTX {
        None
    }

    fn allow_spawning_subrequest(&self, _session: &Session, _ctx: &Self::CTX) -> bool {
        self.asks_itself
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        let mut trace = self.tracing.begin(session)?;
        trace.set_attribute("tenant", "one");
        *ctx = Some(trace);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut Self::CTX) -> Result<bool> {
        if self.asks_itself
            && session.subrequest_ctx.is_none()
            && let Some(spawner) = session.subrequest_spawner.clone()
        {
            let ctx = SubrequestCtx::builder().build();
            let (question, mut answer) = spawner.create_subrequest(session, ctx);
            let read = async { while answer.rx.recv().await.is_some() {} };
            tokio::join!(read, question.run());
        }
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        _: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let peer = self.peers.get(session.failed_tries().len()).copied();
        let Some(peer) = peer else {
            return Error::e_explain(ErrorType::InternalError, "no more peers");
        };
        Ok(Box::new(HttpPeer::new(peer, false, String::new())))
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        _: &mut Self::CTX,
        mut e: Box<Error>,
    ) -> Box<Error> {
        e.set_retry(self.peers.len() > 1);
        e
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match ctx {
            Some(trace) => trace.begin_try(session, request),
            None => Ok(()),
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        if let Some(trace) = ctx.take() {
            self.tracing.end(trace, session, error);
        }
    }
}

fn sampled(sink: &Arc<Sink>) -> Tracing {
    Tracing::new(sink.clone()).sample(1.0)
}
