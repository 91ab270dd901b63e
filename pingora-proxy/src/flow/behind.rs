//! A client that reads more slowly than its response arrives, while others read what is stored of it: it reads behind
//! the store, like the others, so that its speed is its own business.

use super::forward::Forward;
use super::hit::Part;
use super::stored::Stored;
use crate::ProxyHttp;
use crate::engine::Pace;
use bytes::Bytes;
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::exchange::UpstreamHalf;
use pingora_error::Result;
use std::task::{Context, Poll};

/// The way of a stored body to the client that it was fetched for.
///
/// ```text
///            falls_behind                    the reader is at the end
/// beside the store ─────▶ behind the store ──────────────────────────▶ done
///          ▲                      │ the store is given up
///          └──────────────────────┘ once the reader has read what the store got
/// ```
#[derive(Debug, Default)]
pub(super) struct Behind {
    reader: Option<Box<Stored>>,
    /// The last task that was read and not yet passed on.
    read: Option<Result<HttpTask>>,
    /// The first piece that the store did not get, and whether it was the last.
    missed: Option<(Option<Bytes>, bool)>,
    /// The store has all.
    has_all: bool,
}

impl Behind {
    pub(super) fn is_on(&self) -> bool {
        self.reader.is_some()
    }

    pub(super) fn has_all(&self) -> bool {
        self.has_all
    }

    /// The client reads no more. Whether the upstream has nothing more to give, either.
    pub(super) fn stop(&mut self) -> bool {
        self.reader = None;
        self.read = None;
        self.has_all
    }
}

impl<SV, C> Forward<'_, '_, SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    /// From here on the response is read as fast as the store takes it, if that can be read meanwhile.
    pub(super) fn let_store_set_pace(&mut self) {
        let is_storing = self.filling.as_ref().is_some_and(|it| it.is_storing);
        if is_storing && self.session.cache.support_streaming_partial_write() == Some(true) {
            self.flow.turn.set_pace(Pace::OfStore);
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.filling.as_ref().is_some_and(|it| it.behind.is_on())
    }

    /// Lets a client that has no room for what has arrived read behind the store.
    pub(super) async fn falls_behind(&mut self) -> bool {
        let down = &*self.session.downstream_session;
        let is_full = self.flow.exchange.serves_client() && !self.flow.turn.has_room(down);
        let Some(filling) = &mut self.filling else {
            return false;
        };
        if !is_full || !filling.is_storing || filling.is_served || filling.behind.is_on() {
            return false;
        }
        let Ok(Some(reader)) = self.session.cache.follow_fill().await else {
            self.flow.turn.set_pace(Pace::OfClient);
            return false;
        };
        let mut stored = Stored::new(Part::One(filling.passed..usize::MAX));
        if stored.open(Some(reader)).is_err() {
            return false;
        }
        filling.behind.reader = Some(Box::new(stored));
        true
    }

    /// The reader will come to what was received, unless the store did not get it.
    pub(super) fn left_to_reader(&mut self, data: Option<Bytes>, end: bool) {
        let is_kept = self.session.cache.enabled();
        let Some(filling) = &mut self.filling else {
            return;
        };
        if !is_kept {
            filling.behind.missed = Some((data, end));
            self.flow.turn.set_pace(Pace::Paused);
        } else if end {
            filling.behind.has_all = true;
            self.flow.turn.set_pace(Pace::Paused);
        }
    }

    #[cold]
    pub(super) fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let down = &*self.session.downstream_session;
        if !self.flow.turn.has_room(down) {
            return Poll::Pending;
        }
        let Some(behind) = self.filling.as_mut().map(|it| &mut it.behind) else {
            return Poll::Pending;
        };
        match &mut behind.reader {
            Some(reader) => reader.poll_task(cx).map(|read| behind.read = Some(read)),
            None => Poll::Pending,
        }
    }

    pub(super) fn take_read_behind(&mut self) -> Option<Result<HttpTask>> {
        self.filling.as_mut()?.behind.read.take()
    }

    pub(super) async fn on_read_behind(&mut self, read: Result<HttpTask>) -> Result<()> {
        let error = match read {
            Ok(HttpTask::Body(data, false)) => return self.pass_on(data, false).await,
            Ok(_) => None,
            Err(error) => Some(error),
        };
        let Some(filling) = &mut self.filling else {
            return Ok(());
        };
        filling.behind.reader = None;
        let (data, end) = match (filling.behind.missed.take(), error) {
            // The stored part has been read; the rest comes from the upstream.
            (Some(missed), _) => missed,
            (None, Some(error)) => return Err(error),
            (None, None) => (None, true),
        };
        self.flow.turn.set_pace(Pace::OfClient);
        self.pass_on(data, end).await?;
        if end {
            self.flow.exchange.response_ended();
        }
        Ok(())
    }
}
