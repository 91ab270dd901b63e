//! A stored response on its way to a client: an exchange whose source is the store.

use super::flush_downstream;
use super::outgoing::Outgoing;
use super::stored::Stored;
use crate::cache::figures::count_hit_bytes;
use crate::engine::deadline;
use crate::engine::{Exchange, Failure, Flow, Handler, Limits, Until, drive};
use crate::range::MultiRangeInfo;
use crate::{ProxyHttp, Session, defaults};
use bytes::Bytes;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::ops::Range;
use std::time::Duration;

/// A storage that delivers nothing of a body for this long has failed.
const STORE_LIMIT: Duration = Duration::from_secs(60);

/// An error, and whether it is the storage's.
pub(crate) type Failed = (BError, bool);

/// How much of a body the client gets.
#[derive(Debug)]
pub(crate) enum Part {
    Nothing,
    Whole,
    One(Range<usize>),
    Several(Box<MultiRangeInfo>),
}

impl Part {
    /// Whether its pieces can be cut out of a body that is read once, from its beginning to its end.
    pub(crate) fn is_in_order(&self) -> bool {
        let Part::Several(info) = self else {
            return true;
        };
        let pairs = info.ranges.iter().zip(info.ranges.iter().skip(1));
        pairs.into_iter().all(|(one, next)| one.end <= next.start)
    }
}

/// Passes a stored response to a client, through the phases that run for every client.
pub(crate) struct Hit<'a, SV: ProxyHttp> {
    inner: &'a SV,
    session: &'a mut Session,
    ctx: &'a mut SV::CTX,
    stored: Stored,
    flow: Flow,
    out: Outgoing,
    asks_filters: Option<bool>,
    has_body: bool,
}

impl<'a, SV> Hit<'a, SV>
where
    SV: ProxyHttp + Send + Sync,
    SV::CTX: Send + Sync,
{
    pub(crate) fn new(
        inner: &'a SV,
        session: &'a mut Session,
        ctx: &'a mut SV::CTX,
        part: Part,
    ) -> Self {
        let limits = Limits {
            downstream_write: session.get_write_timeout(),
            upstream_read: Some(STORE_LIMIT),
            ..Limits::default()
        };
        Hit {
            asks_filters: None,
            has_body: !matches!(part, Part::Nothing),
            stored: Stored::new(part),
            // The request's body has no reader: at the end it is drained, or the connection is closed.
            flow: Flow::new(Exchange::without_request(), limits),
            out: Outgoing::default(),
            inner,
            session,
            ctx,
        }
    }

    /// Carries the response with this head to its end.
    pub(crate) async fn run(&mut self, header: Box<ResponseHeader>) -> Result<(), Failed> {
        if let Some(end) = self.session.until() {
            self.flow.turn.limit_until(Until {
                end: Some(end),
                ..Until::default()
            });
        }
        self.begin(header).await.map_err(ours)?;
        if self.has_body {
            self.stored
                .open(self.session.cache.take_body_reader())
                .map_err(|error| (error, true))?;
        }
        let served = drive(self).await;
        if let Some(reader) = self.stored.close() {
            self.session.cache.put_body_reader(reader);
        }
        served?;
        if let Err(error) = self.session.cache.finish_hit_handler().await {
            log::warn!("the storage could not end a hit: {error}");
        }
        let written = self.session.write_downstream_proxy_tasks().await;
        written.map(|_| ()).map_err(ours)
    }

    async fn begin(&mut self, mut header: Box<ResponseHeader>) -> Result<()> {
        let end = !self.has_body;
        let session = &mut *self.session;
        if let Some(ready) = self.inner.ready_cache(self.ctx) {
            ready.add_status(session, false, &mut header);
        }
        if session.upstream_compression.is_enabled() {
            let compression = &mut session.upstream_compression;
            compression.response_header_filter(&mut header, end);
        }
        let status = header.line().status;
        self.inner
            .response_filter(session, &mut header, self.ctx)
            .await?;
        if !session.downstream_modules_ctx.is_empty() {
            session.introduce_module();
            let modules = &mut session.downstream_modules_ctx;
            modules.response_header_filter(&mut header, end).await?;
        }
        if header.line().status.is_informational() != status.is_informational() {
            let context = "a filter changed a final status to an informational one";
            return Error::e_explain(ErrorType::InternalError, context);
        }
        self.asks_filters = self.inner.body_filters(self.session, self.ctx);
        if end {
            Outgoing::queue_head(self.session, header, true)?;
            self.flow.exchange.head_passed_on(true);
        } else {
            self.out.hold(&mut self.flow, header);
        }
        Ok(())
    }

    /// Whether the filter of the response's body has to run.
    fn filters_body(&self) -> bool {
        self.asks_filters
            .unwrap_or(!self.session.noted.is_default(defaults::RESPONSE_BODY))
    }

    /// Whether the filter runs that may wait.
    fn waits_for_body(&self) -> bool {
        self.asks_filters.unwrap_or(true)
            && !self.session.noted.is_default(defaults::ASYNC_RESPONSE_BODY)
    }

    /// Lets the body pass unseen if nothing looks at it.
    fn see(&mut self) {
        let session = &*self.session;
        let is_seen = session.upstream_compression.is_enabled()
            || !session.downstream_modules_ctx.is_empty()
            || self.filters_body()
            || self.waits_for_body();
        self.stored.set_lends(!is_seen);
        self.flow.turn.set_response_unseen(!is_seen);
    }

    async fn on_piece(&mut self, mut data: Option<Bytes>, end: bool) -> Result<()> {
        count_hit_bytes(data.as_ref().map_or(0, Bytes::len));
        let session = &mut *self.session;
        if session.upstream_compression.is_enabled() {
            let compression = &mut session.upstream_compression;
            let changed = compression.try_response_body_filter(data.as_ref(), end)?;
            data = changed.or(data);
        }
        if self.filters_body() {
            let delay = self
                .inner
                .response_body_filter(self.session, &mut data, end, self.ctx)?;
            if let Some(delay) = delay.filter(|delay| !delay.is_zero()) {
                self.flow.turn.delay_response(delay);
            }
        }
        if self.waits_for_body() {
            flush_downstream(&mut *self.session.downstream_session).await;
            self.inner
                .async_response_body_filter(self.session, &mut data, end, self.ctx)
                .await?;
        }
        if !self.session.downstream_modules_ctx.is_empty() {
            let modules = &mut self.session.downstream_modules_ctx;
            modules.response_body_filter(&mut data, end)?;
        }
        self.out
            .queue_body(self.session, &mut self.flow, data, end)?;
        if end {
            self.flow.exchange.response_ended();
        } else {
            self.see();
        }
        Ok(())
    }
}

impl<SV> Handler for Hit<'_, SV>
where
    SV: ProxyHttp + Send + Sync,
    SV::CTX: Send + Sync,
{
    type Down = ServerSession;
    type Up = Stored;
    type Error = Failed;

    fn parts(&mut self) -> (&mut Flow, &mut Self::Down, &mut Self::Up) {
        let down = &mut *self.session.downstream_session;
        (&mut self.flow, down, &mut self.stored)
    }

    async fn on_body(&mut self, _piece: Option<Bytes>) -> Result<(), Failed> {
        Ok(())
    }

    async fn on_task(&mut self, task: HttpTask) -> Result<(), Failed> {
        match task {
            HttpTask::Body(data, end) => self.on_piece(data, end).await.map_err(ours),
            _ => self.on_piece(None, true).await.map_err(ours),
        }
    }

    fn on_held(&mut self) -> Result<(), Failed> {
        self.out
            .release_head(self.session, &mut self.flow)
            .map_err(ours)
    }

    #[cold]
    fn on_failure(&mut self, failure: Failure) -> Result<(), Failed> {
        Err(match failure {
            Failure::UpstreamFailed(error) | Failure::UpstreamUnwritable(error) => (error, true),
            Failure::DownstreamFailed(error) | Failure::DownstreamUnwritable(error) => ours(error),
            Failure::Expired(kind) => (deadline::expired(kind), kind == deadline::UPSTREAM_READ),
        })
    }
}

fn ours(error: BError) -> Failed {
    (error, false)
}
