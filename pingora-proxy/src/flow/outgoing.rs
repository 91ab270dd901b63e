//! A response on its way into the client's queue: its head waits for the first piece of its body.

use crate::Session;
use crate::engine::Flow;
use bytes::Bytes;
use http::StatusCode;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::exchange::DownstreamHalf;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{ControlField, ResponseHeader};

/// Queues a response for the client.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// A head that leaves together with the first piece of its body, once the filters have passed that
    /// piece: until then a filter's error can become an error page.
    held_head: Option<Box<ResponseHeader>>,
}

impl Outgoing {
    /// Queues a head. `end`: no body follows.
    pub(super) fn queue_head(
        session: &mut Session,
        header: Box<ResponseHeader>,
        end: bool,
    ) -> Result<()> {
        let down = &mut *session.downstream_session;
        down.queue(HttpTask::Header(header, end))
    }

    /// Keeps a head until the first piece of its body is there.
    pub(super) fn hold(&mut self, flow: &mut Flow, header: Box<ResponseHeader>) {
        self.held_head = Some(header);
        flow.turn.hold_back();
    }

    /// Sends a head that waited for the first piece of its body.
    pub(super) fn release_head(&mut self, session: &mut Session, flow: &mut Flow) -> Result<()> {
        if let Some(header) = self.held_head.take() {
            Outgoing::queue_head(session, header, false)?;
            flow.exchange.head_passed_on(false);
        }
        Ok(())
    }

    /// Refuses a piece that can't follow the head which waits for it: so far, an error page can still take
    /// the place of both. `end`: nothing follows the piece.
    pub(super) fn check_first_piece(&self, length: usize, end: bool) -> Result<()> {
        let declared = self.held_head.as_deref().and_then(declared_length);
        let context = match declared {
            Some(declared) if declared < length as u64 => "longer",
            Some(declared) if end && declared > length as u64 => "shorter",
            _ => return Ok(()),
        };
        let context = format!("the filters made a body that is {context} than its Content-Length");
        Error::e_explain(ErrorType::InternalError, context)
    }

    /// Queues a piece of the body, behind a head that waited for it.
    pub(super) fn queue_body(
        &mut self,
        session: &mut Session,
        flow: &mut Flow,
        data: Option<Bytes>,
        end: bool,
    ) -> Result<()> {
        // A filter that buffers may have no output yet.
        let data = data.filter(|data| !data.is_empty());
        if data.is_none() && !end {
            if self.held_head.is_some() {
                flow.turn.hold_back();
            }
            return Ok(());
        }
        let length = data.as_ref().map_or(0, Bytes::len);
        self.check_first_piece(length, end)?;
        self.release_head(session, flow)?;
        flow.turn.count_bytes(length);
        let down = &mut *session.downstream_session;
        down.queue(HttpTask::Body(data, end))?;
        // If a minimum rate is set, the time depends on how much is queued.
        flow.turn
            .limit_downstream_write(session.get_write_timeout());
        Ok(())
    }
}

/// The length that a response's body has by its header; `None`: any, or none at all by its status.
pub(super) fn declared_length(header: &ResponseHeader) -> Option<u64> {
    if let StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED = header.line().status {
        return None;
    }
    let mut declared = None;
    header.for_each_control_field(|field, value| {
        if field == ControlField::ContentLength {
            declared = str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok());
        }
    });
    declared
}
