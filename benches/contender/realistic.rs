//! A proxy that does what one in production does: look at the request, edit a header field each
//! way, see the body, write an access log line.

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The log is buffered like `access_log … buffer=64k`.
const LOG_BUFFER: usize = 64 * 1024;

pub(crate) struct Realistic {
    upstream: SocketAddr,
    log: Mutex<BufWriter<File>>,
}

pub(crate) struct RequestState {
    started: Instant,
    body_bytes: usize,
}

impl Realistic {
    pub(crate) fn new(upstream: SocketAddr, log: &Path) -> std::io::Result<Self> {
        let log = Mutex::new(BufWriter::with_capacity(LOG_BUFFER, File::create(log)?));
        Ok(Self { upstream, log })
    }
}

#[async_trait]
impl ProxyHttp for Realistic {
    type CTX = RequestState;

    fn new_ctx(&self) -> RequestState {
        RequestState {
            started: Instant::now(),
            body_bytes: 0,
        }
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut RequestState,
    ) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut RequestState) -> Result<bool> {
        if session.req_header().uri.path().starts_with("/private/") {
            session.respond_error(403).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream_request: &mut RequestHeader,
        _ctx: &mut RequestState,
    ) -> Result<()> {
        upstream_request.insert_header("X-Forwarded-Proto", "http")
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        _ctx: &mut RequestState,
    ) -> Result<()> {
        response.insert_header("X-Served-By", "bench")
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut RequestState,
    ) -> Result<Option<Duration>> {
        ctx.body_bytes += body.as_ref().map_or(0, Bytes::len);
        Ok(None)
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut RequestState) {
        let status = session.response_written().map_or(0, |r| r.status.as_u16());
        let client = session.client_addr();
        let request = session.req_header();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end the request: the line is lost, as nginx loses it.
        let _ = writeln!(
            log,
            "{} \"{} {}\" {status} {} {} {}",
            client.map_or_else(|| "-".to_string(), ToString::to_string),
            request.method,
            request.uri,
            ctx.body_bytes,
            ctx.started.elapsed().as_micros(),
            if e.is_some() { "error" } else { "-" },
        );
    }
}
