//! Pieces of a response between two sessions of any protocol.

use bytes::Bytes;
use http::HeaderMap;
use pingora_error::BError;
use pingora_http::ResponseHeader;

/// One piece of a response on its way from the upstream to the downstream.
#[derive(Debug)]
pub enum HttpTask {
    /// The head; `true` if nothing follows.
    Header(Box<ResponseHeader>, bool),
    /// A piece of the body; `true` if it is the last.
    Body(Option<Bytes>, bool),
    /// A piece of a tunnel's data; `true` if it is the last.
    UpgradedBody(Option<Bytes>, bool),
    /// The trailers, which end the response.
    Trailer(Option<Box<HeaderMap>>),
    /// The end of the response, if no other piece was marked as the end.
    Done,
    /// The response ends here, incomplete.
    Failed(BError),
}

impl HttpTask {
    /// Whether nothing follows this piece.
    pub fn is_end(&self) -> bool {
        match self {
            HttpTask::Header(_, end) => *end,
            HttpTask::Body(_, end) | HttpTask::UpgradedBody(_, end) => *end,
            HttpTask::Trailer(_) | HttpTask::Done | HttpTask::Failed(_) => true,
        }
    }

    /// The kind of piece, for logs.
    pub fn type_str(&self) -> &'static str {
        match self {
            HttpTask::Header(..) => "Header",
            HttpTask::Body(..) => "Body",
            HttpTask::UpgradedBody(..) => "UpgradedBody",
            HttpTask::Trailer(_) => "Trailer",
            HttpTask::Done => "Done",
            HttpTask::Failed(_) => "Failed",
        }
    }
}
