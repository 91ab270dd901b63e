//! What is asked of every session and depends on a connection, which a sub-request has not.

use super::HttpSession;
use crate::protocols::http::exchange::{SpliceSink, SpliceSource};
use crate::protocols::http::h1::Fault;
use bytes::BytesMut;
use std::any::Any;

#[allow(clippy::unused_self, reason = "sessions are called alike")]
impl HttpSession {
    pub(crate) fn set_server_keepalive(&mut self, _seconds: Option<u64>) {}

    pub(crate) fn get_keepalive_timeout(&self) -> Option<u64> {
        None
    }

    pub(crate) fn set_keepalive_reuses_remaining(&mut self, _remaining: Option<u32>) {}

    pub(crate) fn get_keepalive_reuses_remaining(&self) -> Option<u32> {
        None
    }

    pub(crate) fn will_keepalive(&self) -> bool {
        false
    }

    pub(crate) fn set_connection_user_context(&mut self, _ctx: Option<Box<dyn Any + Send + Sync>>) {
    }

    pub(crate) fn take_connection_user_context(&mut self) -> Option<Box<dyn Any + Send + Sync>> {
        None
    }

    /// How fast a client reads is seen by the session that it is connected to.
    pub(crate) fn set_min_send_rate(&mut self, _rate: Option<usize>) {}

    pub(crate) fn set_close_on_response_before_downstream_finish(&mut self, _close: bool) {}

    pub(crate) fn pipelining_enabled(&self) -> bool {
        false
    }

    pub(crate) fn set_pipelining_enabled(&mut self, _enabled: bool) {}

    pub(crate) fn set_pipelined_prefix(&mut self, _prefix: BytesMut) {}

    /// What came over no wire breaks none of its rules.
    pub(crate) fn fault(&self) -> Option<Fault> {
        None
    }

    /// That a body is wanted is told by a channel.
    pub(crate) fn is_continue_owed(&self) -> bool {
        false
    }

    pub(crate) fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        None
    }

    pub(crate) fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        None
    }
}
