//! The answer to a CONNECT request.

use crate::protocols::http::h1::{HeadLimits, HeadScanner, ResponseContext, parse_response};
use bytes::{Bytes, BytesMut};
use pingora_http::ResponseHeader;

/// The maximum size of the answer, including what comes before it.
const LIMITS: HeadLimits = HeadLimits {
    head_bytes: 16 * 1024,
    fields: 64,
    target_bytes: 4 * 1024,
};
/// The maximum number of informational responses before the answer.
const MOST_INFORMATIONAL: usize = 8;

/// Finds the final answer in the bytes received from a proxy.
#[derive(Default)]
pub(super) struct AnswerReader {
    arrived: BytesMut,
    scanner: HeadScanner,
    informational: usize,
}

impl AnswerReader {
    /// The answer, and the bytes after it, which belong to the tunnel. `None` until it is complete.
    pub(super) fn read(
        &mut self,
        arrived: &[u8],
    ) -> Result<Option<(Box<ResponseHeader>, Bytes)>, &'static str> {
        self.arrived.extend_from_slice(arrived);
        let context = ResponseContext {
            connect_request: true,
            ..ResponseContext::default()
        };
        while let Some(end) = self
            .scanner
            .find_end(&self.arrived, &LIMITS)
            .map_err(|fault| fault.reason())?
        {
            let head = self.arrived.split_to(end).freeze();
            self.scanner = HeadScanner::default();
            let mut response = Box::<ResponseHeader>::default();
            let facts = parse_response(&head, &LIMITS, context, &mut response)
                .map_err(|fault| fault.reason())?;
            if !facts.informational {
                return Ok(Some((response, self.arrived.split().freeze())));
            }
            self.informational += 1;
            if self.informational > MOST_INFORMATIONAL {
                return Err("too many informational responses");
            }
        }
        Ok(None)
    }
}
