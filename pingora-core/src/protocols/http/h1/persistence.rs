//! Whether a connection may be used for another message.

use http::{HeaderValue, Version};

use super::list_elements;

/// The requests of a message's `Connection` fields (RFC 9110 section 7.6.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

impl ConnectionOptions {
    /// Processes one `Connection` field. Options without relevance here are skipped.
    #[inline]
    pub(super) fn read(&mut self, value: &[u8]) {
        // Almost all values, in their usual spelling.
        match value {
            _ if value == b"keep-alive" => self.keep_alive = true,
            _ if value == b"close" => self.close = true,
            _ => self.read_list(value),
        }
    }

    fn read_list(&mut self, value: &[u8]) {
        for option in list_elements(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    #[inline]
    pub(super) fn persistent(self, version: Version) -> bool {
        match version {
            _ if self.close => false,
            Version::HTTP_09 => false,
            Version::HTTP_10 => self.keep_alive,
            _ => true,
        }
    }
}

/// Whether a message keeps its connection open for another (RFC 9112 section 9.3), according to its
/// version and its `Connection` fields. `close` takes precedence over `keep-alive`.
pub fn keep_alive<'a>(version: Version, connection: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut options = ConnectionOptions::default();
    connection.for_each(|value| options.read(value));
    options.persistent(version)
}

/// Whether these `Connection` fields name `close`.
pub fn names_close<'a>(connection: impl Iterator<Item = &'a HeaderValue>) -> bool {
    let mut options = ConnectionOptions::default();
    connection.for_each(|value| options.read(value.as_bytes()));
    options.close
}
