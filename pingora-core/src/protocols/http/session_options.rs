//! The options that sessions of every protocol hold: time limits, rates, switches, and the copy of a
//! request's body for retries. Each protocol adds what only it has.

use super::body_buffer::{FixedBuffer, RETRY_BUFFER_SIZE};
use bytes::Bytes;
use std::time::Duration;

/// The timeout between two reads of a request's body: the default of every session's
/// `set_read_timeout`.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The time within which the client has to accept some of the response: the default of every
/// session's `set_write_timeout`.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The default time within which an unwanted request body has to arrive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How a server's session treats its client.
///
/// Every session holds one of these, a custom one too, and follows the options that apply to it; the engine
/// reads the timeouts from here.
#[derive(Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// The timeout between two reads of the request's body. 60 s by default; `None`: no limit.
    pub read_timeout: Option<Duration>,
    /// The time within which the client has to accept some of the response. 60 s by default;
    /// `None`: no limit.
    pub write_timeout: Option<Duration>,
    /// The time within which an unwanted request body has to arrive. 5 s by default; `None`: no
    /// limit.
    pub total_drain_timeout: Option<Duration>,
    /// The minimum rate at which the client has to accept the response, in bytes per second; replaces
    /// the write timeout. None by default; 0 means none.
    pub min_send_rate: Option<usize>,
    /// Whether informational responses are dropped instead of forwarded. Off by default.
    pub ignore_info_resp: bool,
    /// Whether a request is aborted if the client closes its side. On by default.
    pub abort_on_close: bool,
    /// Whether pieces of a response may be queued. On by default.
    pub proxy_tasks: bool,
    /// The idle time that the connection is allowed after this exchange, in seconds: `Some(0)`:
    /// without limit; `None`: it closes. 60 by default.
    pub keepalive: Option<u64>,
    /// The number of further exchanges that the connection may carry; `None` (the default): any
    /// number.
    pub reuses_remaining: Option<u32>,
    pub(super) copy: Option<Box<FixedBuffer>>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            read_timeout: Some(BODY_READ_TIMEOUT),
            write_timeout: Some(WRITE_TIMEOUT),
            total_drain_timeout: Some(DRAIN_TIMEOUT),
            min_send_rate: None,
            ignore_info_resp: false,
            abort_on_close: true,
            proxy_tasks: true,
            keepalive: Some(60),
            reuses_remaining: None,
            copy: None,
        }
    }
}

/// The time within which a client has to accept some of the queued data: the time that the minimum
/// rate allows for this many bytes, at least a second; or the write timeout if there is no minimum
/// rate.
pub(crate) fn write_limit(
    write_timeout: Option<Duration>,
    min_send_rate: Option<usize>,
    queued: usize,
) -> Option<Duration> {
    match min_send_rate.filter(|rate| *rate > 0) {
        Some(rate) => {
            let seconds = queued as f64 / rate as f64;
            Some(Duration::from_secs_f64(seconds.max(1.0)))
        }
        None => write_timeout,
    }
}

impl SessionOptions {
    /// The time within which the client has to accept some data if this many bytes are queued.
    pub fn write_limit(&self, queued: usize) -> Option<Duration> {
        write_limit(self.write_timeout, self.min_send_rate, queued)
    }

    /// Whether the connection may carry another exchange, according to these options.
    pub fn may_keep_alive(&self) -> bool {
        self.keepalive.is_some() && self.reuses_remaining != Some(0)
    }

    /// The connection continues with another exchange: decrements the remaining number, and drops
    /// the copy.
    pub(crate) fn begin_next(&mut self) {
        self.copy = None;
        self.reuses_remaining = self.reuses_remaining.map(|n| n.saturating_sub(1));
    }

    /// Keeps a copy of the request's body while it is read, up to 64 KiB, for retries.
    pub(crate) fn keep_copy(&mut self) {
        self.copy
            .get_or_insert_with(|| Box::new(FixedBuffer::new(RETRY_BUFFER_SIZE)));
    }

    /// Drops the copy: the body will not be resent.
    pub(crate) fn drop_copy(&mut self) {
        self.copy = None;
    }

    /// Whether the body could still be resent from the copy.
    pub(crate) fn keeps_copy(&self) -> bool {
        self.copy.as_ref().is_some_and(|copy| !copy.is_truncated())
    }

    /// Adds a piece of the body to the copy, if one is kept.
    pub(crate) fn copy(&mut self, piece: &Bytes) {
        if let Some(copy) = &mut self.copy {
            copy.write_to_buffer(piece);
        }
    }

    /// Whether the body was longer than the copy may be.
    pub(crate) fn copy_is_truncated(&self) -> bool {
        self.copy.as_ref().is_some_and(|copy| copy.is_truncated())
    }

    /// The copy so far; `None` if there is none or it is incomplete.
    pub(crate) fn copied(&self) -> Option<Bytes> {
        self.copy.as_ref()?.get_buffer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimum_rate_takes_the_place_of_the_time_out() {
        let seconds = Duration::from_secs;
        let rows = [
            (None, 0, Some(seconds(60))),
            (Some(0), 1000, Some(seconds(60))),
            (Some(100), 1000, Some(seconds(10))),
            (Some(100), 1, Some(seconds(1))),
        ];
        for (min_send_rate, queued, expected) in rows {
            let options = SessionOptions {
                min_send_rate,
                ..SessionOptions::default()
            };
            assert_eq!(options.write_limit(queued), expected);
        }
    }

    #[test]
    fn a_copy_is_whole_or_none() {
        let mut options = SessionOptions::default();
        options.copy(&Bytes::from_static(b"not asked for"));
        assert_eq!(options.copied(), None);
        options.keep_copy();
        options.copy(&Bytes::from_static(b"a"));
        options.copy(&Bytes::from_static(b"b"));
        assert_eq!(options.copied(), Some(Bytes::from_static(b"ab")));
        assert!(options.keeps_copy());
        options.copy(&Bytes::from(vec![0; RETRY_BUFFER_SIZE]));
        assert!(options.copy_is_truncated() && options.copied().is_none());
        assert!(!options.keeps_copy());
        options.drop_copy();
        assert!(!options.copy_is_truncated());
    }
}
