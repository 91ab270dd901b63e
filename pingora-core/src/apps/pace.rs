//! Decides what to do with an HTTP/2 connection on which little happens. Pure: it is called with
//! its observations each time the idle time has passed.

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Wait,
    /// Check whether the peer is still there.
    Ping,
    /// Send GOAWAY.
    Close,
    /// Close without GOAWAY: the peer is gone.
    Abandon,
}

/// The observations so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Active streams.
    pub(super) open: usize,
    /// The number of streams so far.
    pub(super) accepted: u64,
    /// Bytes received so far.
    pub(super) received: u64,
    /// Payload written so far, in bytes.
    pub(super) written: u64,
    /// Whether the socket currently accepts nothing.
    pub(super) blocked: bool,
    /// Whether GOAWAY was sent.
    pub(super) draining: bool,
}

/// The observations of the previous call.
#[derive(Debug, Default)]
pub(super) struct Pace {
    busy: bool,
    accepted: u64,
    received: u64,
    written: u64,
    blocked: bool,
    pinged: bool,
}

/// A peer whose socket is full, and that has accepted fewer than this many bytes since the last call,
/// counts as accepting nothing: reading a byte now and then must not preserve the data that waits for
/// it.
const TAKEN: u64 = 4 * 1024;

impl Pace {
    /// The idle time has passed again.
    ///
    /// A connection is idle if no stream was open all the time: it is closed after one to two idle
    /// times. If streams are open and the peer was silent all the time, it is pinged, and abandoned
    /// if it stays silent once more. A peer that does not read is abandoned, whatever it sends.
    pub(super) fn tick(&mut self, seen: Seen) -> Step {
        let idle = !self.busy && seen.open == 0 && seen.accepted == self.accepted;
        let silent = seen.received == self.received;
        let taken = seen.written.saturating_sub(self.written);
        let deaf = self.blocked && seen.blocked && taken < TAKEN;
        let step = match seen.open {
            _ if deaf => Step::Abandon,
            0 if seen.draining => Step::Abandon,
            0 if idle => Step::Close,
            0 => Step::Wait,
            _ if silent && self.pinged => Step::Abandon,
            _ if silent => Step::Ping,
            _ => Step::Wait,
        };
        *self = Pace {
            busy: seen.open > 0,
            accepted: seen.accepted,
            received: seen.received,
            written: seen.written,
            blocked: seen.blocked,
            pinged: step == Step::Ping,
        };
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Open streams, streams so far, bytes so far, whether it is draining; and the resulting step.
    type Row = (usize, u64, u64, bool, Step);

    fn check(rows: &[Row]) {
        let mut pace = Pace::default();
        for (position, &(open, accepted, received, draining, expected)) in rows.iter().enumerate() {
            let seen = Seen {
                open,
                accepted,
                received,
                draining,
                written: 0,
                blocked: false,
            };
            assert_eq!(pace.tick(seen), expected, "tick {position} of {rows:?}");
        }
    }

    #[test]
    fn a_connection_without_streams_is_closed() {
        check(&[(0, 0, 50, false, Step::Close)]);
        check(&[
            (1, 1, 100, false, Step::Wait),
            (0, 1, 200, false, Step::Wait),
            (0, 1, 200, false, Step::Close),
        ]);
        // Streams came and went in between.
        check(&[
            (0, 3, 100, false, Step::Wait),
            (0, 5, 200, false, Step::Wait),
            (0, 5, 300, false, Step::Close),
        ]);
    }

    #[test]
    fn a_silent_peer_with_streams_is_pinged_and_then_given_up() {
        check(&[
            (1, 1, 100, false, Step::Wait),
            (1, 1, 100, false, Step::Ping),
            (1, 1, 117, false, Step::Wait),
            (1, 1, 117, false, Step::Ping),
            (1, 1, 117, false, Step::Abandon),
        ]);
    }

    /// A peer that sends PINGs and opens streams, but reads next to nothing.
    #[test]
    fn a_peer_that_does_not_read_is_given_up() {
        let mut pace = Pace::default();
        let mut received = 0;
        let mut tick = |written, blocked| {
            received += 100;
            let seen = Seen {
                open: 1,
                accepted: received,
                received,
                written,
                blocked,
                draining: false,
            };
            pace.tick(seen)
        };
        assert_eq!(tick(0, true), Step::Wait);
        assert_eq!(tick(TAKEN, true), Step::Wait, "slow is not deaf");
        assert_eq!(tick(TAKEN, false), Step::Wait, "nothing waits");
        assert_eq!(tick(TAKEN, true), Step::Wait);
        assert_eq!(tick(2 * TAKEN - 1, true), Step::Abandon);
    }

    #[test]
    fn a_connection_that_drains_is_left_once_its_streams_have_ended() {
        check(&[
            (2, 2, 100, true, Step::Wait),
            (1, 2, 150, true, Step::Wait),
            (0, 2, 150, true, Step::Abandon),
        ]);
    }
}
