//! Connections between two exchanges.

use super::Session;
use super::SessionV1;
use crate::protocols::Stream;
use crate::protocols::http::custom::SessionCustom;
use bytes::BytesMut;
use pingora_error::Result;

/// A connection whose last exchange is complete and that may carry another one.
#[derive(Debug)]
pub struct ReusableHttpStream {
    next: Next,
}

#[derive(Debug)]
enum Next {
    Http1(SessionV1),
    Custom(Box<dyn SessionCustom>),
}

impl ReusableHttpStream {
    pub(crate) fn from_session(session: SessionV1) -> Self {
        let next = Next::Http1(session);
        ReusableHttpStream { next }
    }

    pub(crate) fn from_custom(session: Box<dyn SessionCustom>) -> Self {
        let next = Next::Custom(session);
        ReusableHttpStream { next }
    }

    /// The connection, and the bytes read ahead of the next request. A custom session without a
    /// connection of its own yields a closed one.
    pub fn into_parts(self) -> (Stream, Option<BytesMut>) {
        match self.next {
            Next::Http1(session) => {
                let (stream, ahead) = session.into_parts();
                let ahead = (!ahead.is_empty()).then(|| BytesMut::from(&ahead[..]));
                (stream, ahead)
            }
            Next::Custom(session) => {
                let closed = || Box::new(tokio::io::duplex(1).0) as Stream;
                (session.into_stream().unwrap_or_else(closed), None)
            }
        }
    }

    /// A session for the next request, which keeps the state of the connection.
    pub fn into_session(self) -> Session {
        match self.next {
            Next::Http1(session) => Session::H1(session),
            Next::Custom(session) => Session::Custom(session),
        }
    }
}

impl SessionV1 {
    /// Ends the current request. Returns the connection if it may carry another one: the response
    /// is complete, the request was read to its end (the rest of it is drained, within limits) and
    /// both sides agree. Otherwise the connection is closed in an orderly way.
    pub async fn reuse(self) -> Result<Option<ReusableHttpStream>> {
        let next = self.into_next().await?;
        Ok(next.map(ReusableHttpStream::from_session))
    }
}
