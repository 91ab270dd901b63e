//! Compression of a response that comes as tasks.

use super::ResponseCompressionCtx;
use crate::protocols::http::HttpTask;

impl ResponseCompressionCtx {
    /// Does to a piece of the response what the other filters do to its parts. A body that can't be
    /// decompressed becomes [`HttpTask::Failed`].
    ///
    /// Where the body's end is told by its trailers, the end of the compressed body takes their
    /// place: one piece can't be both. Where it is told by [`HttpTask::Done`], likewise.
    pub fn response_filter(&mut self, t: &mut HttpTask) {
        let changed = match t {
            HttpTask::Header(head, end) => {
                self.response_header_filter(head, *end);
                return;
            }
            HttpTask::Body(data, end) => {
                let end = *end;
                self.try_response_body_filter(data.as_ref(), end)
                    .map(|changed| changed.map(|data| (data, end)))
            }
            HttpTask::Trailer(_) | HttpTask::Done => self
                .try_response_body_filter(None, true)
                .map(|rest| rest.filter(|rest| !rest.is_empty()))
                .map(|rest| rest.map(|rest| (rest, true))),
            HttpTask::UpgradedBody(..) | HttpTask::Failed(_) => return,
        };
        match changed {
            Ok(None) => {}
            Ok(Some((data, end))) => {
                // An empty piece is none: in HTTP/1 an empty chunk would end the body.
                *t = HttpTask::Body(Some(data).filter(|data| !data.is_empty()), end);
            }
            Err(e) => *t = HttpTask::Failed(e),
        }
    }
}
