//! The options that sessions of every protocol share: limits of time, rates, switches, and the copy
//! of a request's body that another try needs.

use super::body_buffer::{FixedBuffer, RETRY_BUFFER_SIZE};
use bytes::Bytes;
use std::time::Duration;

/// Time between two reads of a request's body: the default of every session's `set_read_timeout`.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Time in which the client has to take something of the response: the default of every session's
/// `set_write_timeout`.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The default time in which an unwanted request body has to arrive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How a server's session treats its client.
///
/// A session over a protocol of one's own holds one and obeys what applies to it; the engine reads
/// the time-outs from here.
#[derive(Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Time between two reads of the request's body. 60 s by default; `None`: no limit.
    pub read_timeout: Option<Duration>,
    /// Time in which the client has to take something of the response. 60 s by default; `None`: no
    /// limit.
    pub write_timeout: Option<Duration>,
    /// Time in which an unwanted request body has to arrive. 5 s by default; `None`: no limit.
    pub total_drain_timeout: Option<Duration>,
    /// The rate at which the client has to take the response, in bytes per second; takes the place of
    /// the write time-out. None by default, and 0 is none.
    pub min_send_rate: Option<usize>,
    /// Whether informational responses are dropped instead of passed on. Off by default.
    pub ignore_info_resp: bool,
    /// Whether a client that closes its side gives its request up. On by default.
    pub abort_on_close: bool,
    /// Whether pieces of a response may be queued. On by default.
    pub proxy_tasks: bool,
    /// How long the connection may be idle after this exchange, in seconds: `Some(0)`: without limit;
    /// `None`: it closes. 60 by default.
    pub keepalive: Option<u64>,
    /// How many more exchanges the connection may carry after this one; `None` (the default): any
    /// number.
    pub reuses_remaining: Option<u32>,
    copy: Option<FixedBuffer>,
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

/// The time in which a client has to take something of what is queued for it: what the minimum rate
/// allows for so many bytes, a second at least, or the write time-out where there is no such rate.
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
    /// The time in which the client has to take something, with so many bytes queued.
    pub fn write_limit(&self, queued: usize) -> Option<Duration> {
        write_limit(self.write_timeout, self.min_send_rate, queued)
    }

    /// Whether the connection may carry another exchange, as far as these options say.
    pub fn may_keep_alive(&self) -> bool {
        self.keepalive.is_some() && self.reuses_remaining != Some(0)
    }

    /// The connection goes on with another exchange: one less is left, and no copy is kept.
    pub(crate) fn begin_next(&mut self) {
        self.copy = None;
        self.reuses_remaining = self.reuses_remaining.map(|n| n.saturating_sub(1));
    }

    /// Keeps a copy of the request's body as it is read, up to 64 KiB, to send it again.
    pub(crate) fn keep_copy(&mut self) {
        self.copy
            .get_or_insert_with(|| FixedBuffer::new(RETRY_BUFFER_SIZE));
    }

    /// Adds a piece of the body to the copy, where one is kept.
    pub(crate) fn copy(&mut self, piece: &Bytes) {
        if let Some(copy) = &mut self.copy {
            copy.write_to_buffer(piece);
        }
    }

    /// Whether the body was longer than the copy may be.
    pub(crate) fn copy_is_truncated(&self) -> bool {
        self.copy.as_ref().is_some_and(FixedBuffer::is_truncated)
    }

    /// The copy so far; `None` where there is none or it is not whole.
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
        options.copy(&Bytes::from(vec![0; RETRY_BUFFER_SIZE]));
        assert!(options.copy_is_truncated() && options.copied().is_none());
    }
}
