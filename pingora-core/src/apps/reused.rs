//! Connections between one request and the next.

use crate::protocols::Stream;
use crate::protocols::http::{ReusableHttpStream, ServerSession};
use bytes::BytesMut;
use std::any::Any;
use std::fmt;

/// The settings that an HTTP/1 connection carries from one request to the next.
pub struct HttpPersistentSettings {
    keepalive_timeout: Option<u64>,
    reuses_remaining: Option<u32>,
    user_context: Option<Box<dyn Any + Send + Sync>>,
    pipelined_prefix: Option<BytesMut>,
}

impl fmt::Debug for HttpPersistentSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPersistentSettings")
            .field("keepalive_timeout", &self.keepalive_timeout)
            .field("reuses_remaining", &self.reuses_remaining)
            .finish_non_exhaustive()
    }
}

impl HttpPersistentSettings {
    /// The settings that this session's connection carries over.
    pub fn for_session(session: &ServerSession) -> Self {
        HttpPersistentSettings {
            keepalive_timeout: session.get_keepalive(),
            reuses_remaining: session.get_keepalive_reuses_remaining(),
            user_context: None,
            pipelined_prefix: None,
        }
    }

    /// Stores a value for the connection's next request.
    pub fn set_user_context(&mut self, ctx: Box<dyn Any + Send + Sync>) {
        self.user_context = Some(ctx);
    }

    /// Takes the value that the previous request has stored.
    pub fn take_user_context(&mut self) -> Option<Box<dyn Any + Send + Sync>> {
        self.user_context.take()
    }

    /// Bytes that were read ahead of the next request.
    pub fn set_pipelined_prefix(&mut self, prefix: BytesMut) {
        self.pipelined_prefix = Some(prefix);
    }

    /// Applies everything to the session of the next request.
    pub fn apply_to_session(self, session: &mut ServerSession) {
        session.set_keepalive(self.keepalive_timeout);
        session.set_keepalive_reuses_remaining(self.reuses_remaining);
        if self.user_context.is_some() {
            session.set_connection_user_context(self.user_context);
        }
        if let Some(prefix) = self.pipelined_prefix {
            session.set_pipelined_prefix(prefix);
        }
    }
}

enum Kept {
    Stream(Stream),
    Session(ReusableHttpStream),
}

/// A connection that an application returns for the next request.
pub struct ReusedHttpStream {
    kept: Kept,
    settings: Option<HttpPersistentSettings>,
}

impl fmt::Debug for ReusedHttpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReusedHttpStream")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl ReusedHttpStream {
    /// A plain connection with these settings.
    pub fn new(stream: Stream, persistent_settings: Option<HttpPersistentSettings>) -> Self {
        ReusedHttpStream {
            kept: Kept::Stream(stream),
            settings: persistent_settings,
        }
    }

    /// From the result of [`ServerSession::finish`]: also keeps the bytes that were read ahead, and the
    /// session's memory.
    pub fn from_reusable_stream(
        reusable: ReusableHttpStream,
        persistent_settings: HttpPersistentSettings,
    ) -> Self {
        let kept = Kept::Session(reusable);
        ReusedHttpStream {
            kept,
            settings: Some(persistent_settings),
        }
    }

    /// The connection and its settings.
    pub fn consume(self) -> (Stream, Option<HttpPersistentSettings>) {
        match self.kept {
            Kept::Stream(stream) => (stream, self.settings),
            Kept::Session(reusable) => {
                let (stream, ahead) = reusable.into_parts();
                let mut settings = self.settings;
                if let (Some(ahead), Some(settings)) = (ahead, &mut settings) {
                    settings.set_pipelined_prefix(ahead);
                }
                (stream, settings)
            }
        }
    }

    pub(super) fn into_session(self) -> ServerSession {
        let mut session = match self.kept {
            Kept::Stream(stream) => ServerSession::new_http1(stream),
            Kept::Session(reusable) => reusable.into_session(),
        };
        if let Some(settings) = self.settings {
            // A kept session has counted this request already; the settings have not.
            let reuses = session
                .get_keepalive_reuses_remaining()
                .or(settings.reuses_remaining.map(|n| n.saturating_sub(1)));
            settings.apply_to_session(&mut session);
            session.set_keepalive_reuses_remaining(reuses);
        }
        session
    }
}
