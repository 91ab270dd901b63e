//! Requests whose body was buffered: it is sent from the buffer, at each try anew.

use super::forward::Forward;
use crate::ProxyHttp;
use crate::engine::{Failure, Handler, RequestFlow};
use bytes::Bytes;
use pingora_core::connectors::http::custom::Connector as CustomConnector;
use pingora_core::protocols::http::exchange::UpstreamHalf;
use pingora_core::protocols::http::spool::SpoolReader;
use pingora_error::{ErrorSource, ErrorType, OrErr, Result};
use std::io;
use std::task::{Context, Poll, ready};

/// The upstream's queue is filled up to this mark, in bytes.
const FULL: usize = 64 * 1024;

/// The way of a buffered body to the upstream.
///
/// ```text
/// is polled   poll_replay  ready with a piece, while the upstream has room
/// goes out    on_replayed  passes the piece on, as if the client had just sent it
/// ```
///
/// To the engine the request has ended: nothing is read from the client meanwhile, except to see it leave.
pub(super) struct Replay {
    reader: SpoolReader,
    /// The piece that was read and is not passed on yet.
    read: Option<io::Result<Bytes>>,
}

impl<SV, C> Forward<'_, '_, SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: CustomConnector,
{
    /// Begins to send the buffered body; a short one leaves together with the head.
    pub(super) async fn begin_replay(&mut self) -> Result<()> {
        let Some(body) = self.session.buffered.clone() else {
            return Ok(());
        };
        if body.is_in_memory() && body.len() <= FULL as u64 {
            let whole = body.in_memory().clone();
            let piece = (!whole.is_empty()).then_some(whole);
            return self.pass_body(piece, true).await;
        }
        let reader = body.reader();
        self.replay = Some(Box::new(Replay { reader, read: None }));
        self.flow.exchange.request_ended();
        Ok(())
    }

    #[cold]
    pub(super) fn poll_replay(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let refused = self.flow.exchange.request == RequestFlow::Refused;
        if refused || self.upstream.queued() >= FULL || self.upstream.is_stalled() {
            return Poll::Pending;
        }
        let Some(replay) = &mut self.replay else {
            return Poll::Pending;
        };
        replay.read = ready!(replay.reader.poll_next(cx));
        Poll::Ready(())
    }

    pub(super) async fn on_replayed(&mut self) -> Result<()> {
        let Some(replay) = &mut self.replay else {
            return Ok(());
        };
        let piece = replay.read.take().transpose();
        let piece = piece.or_err(ErrorType::FileReadError, "the buffered body can't be read")?;
        let end = replay.reader.is_at_end();
        if end {
            self.replay = None;
        }
        self.flow.turn.restart_upstream_read();
        match self.pass_body(piece, end).await {
            // Its answer may be on the way: as with a piece that can't be written.
            Err(error) if *error.esource() == ErrorSource::Upstream => {
                self.replay = None;
                self.on_failure(Failure::UpstreamUnwritable(error))
            }
            passed => passed,
        }
    }
}
