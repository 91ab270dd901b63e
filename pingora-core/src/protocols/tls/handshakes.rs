//! Counters of clients' handshakes, by outcome.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The reason why a client's handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The client spoke HTTP without TLS.
    PlainHttp,
    /// The client's bytes were not TLS.
    NotTls,
    /// Both sides have no version, cipher suite, group, signature algorithm or protocol in common.
    NothingInCommon,
    /// There is no certificate for the name that the client asks for.
    NoCertificate,
    /// The client presented no certificate, or one that was not accepted.
    ClientCertificate,
    /// The client rejected the server's certificate.
    RefusedByClient,
    /// The client closed the connection.
    Closed,
    /// The client took too long.
    TimedOut,
    /// There were too many handshakes at once.
    TurnedAway,
    /// Something else.
    Other,
}

impl HandshakeFailure {
    /// All of them.
    pub const ALL: [HandshakeFailure; 10] = [
        HandshakeFailure::PlainHttp,
        HandshakeFailure::NotTls,
        HandshakeFailure::NothingInCommon,
        HandshakeFailure::NoCertificate,
        HandshakeFailure::ClientCertificate,
        HandshakeFailure::RefusedByClient,
        HandshakeFailure::Closed,
        HandshakeFailure::TimedOut,
        HandshakeFailure::TurnedAway,
        HandshakeFailure::Other,
    ];

    /// Its name in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            HandshakeFailure::PlainHttp => "plain_http",
            HandshakeFailure::NotTls => "not_tls",
            HandshakeFailure::NothingInCommon => "nothing_in_common",
            HandshakeFailure::NoCertificate => "no_certificate",
            HandshakeFailure::ClientCertificate => "client_certificate",
            HandshakeFailure::RefusedByClient => "refused_by_client",
            HandshakeFailure::Closed => "closed",
            HandshakeFailure::TimedOut => "timed_out",
            HandshakeFailure::TurnedAway => "turned_away",
            HandshakeFailure::Other => "other",
        }
    }

    fn place(self) -> usize {
        self as usize
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandshakeFailure::PlainHttp => "the client speaks HTTP without TLS",
            HandshakeFailure::NotTls => "the client speaks no TLS",
            HandshakeFailure::NothingInCommon => "nothing in common with the client",
            HandshakeFailure::NoCertificate => "no certificate for the client",
            HandshakeFailure::ClientCertificate => "the client's certificate",
            HandshakeFailure::RefusedByClient => "the client refused",
            HandshakeFailure::Closed => "the client closed the connection",
            HandshakeFailure::TimedOut => "the client took too long",
            HandshakeFailure::TurnedAway => "too many handshakes at once",
            HandshakeFailure::Other => "TLS handshake",
        })
    }
}

/// Counts the handshakes of a TLS listener, since it was made. From
/// [`TlsSettings::handshake_counters`](crate::listeners::tls::TlsSettings).
#[derive(Debug, Default)]
pub struct HandshakeCounters {
    full: AtomicU64,
    resumed: AtomicU64,
    waited: AtomicU64,
    under_way: AtomicU64,
    failed: [AtomicU64; HandshakeFailure::ALL.len()],
}

impl HandshakeCounters {
    /// Complete handshakes with all their cost.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Complete handshakes that resumed a session.
    pub fn resumed(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Handshakes that failed for this reason.
    pub fn failed(&self, failure: HandshakeFailure) -> u64 {
        let counter = self.failed.get(failure.place());
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Failed handshakes.
    pub fn all_failed(&self) -> u64 {
        let counters = self.failed.iter();
        counters
            .map(|counter| counter.load(Ordering::Relaxed))
            .sum()
    }

    /// Handshakes that had to wait because there were too many at once.
    pub fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// Handshakes at this moment, without those that wait to begin.
    pub fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }

    pub(crate) fn count_complete(&self, resumed: bool) {
        let counter = if resumed { &self.resumed } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failure(&self, failure: HandshakeFailure) {
        if let Some(counter) = self.failed.get(failure.place()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_wait(&self) {
        self.waited.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts as under way until it is dropped.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }
}

pub(crate) struct UnderWay<'a>(&'a HandshakeCounters);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let counters = HandshakeCounters::default();
        for (index, failure) in HandshakeFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure.place(), index);
            counters.count_failure(failure);
            assert_eq!(counters.failed(failure), 1);
        }
        assert_eq!(counters.all_failed(), 10);
        counters.count_complete(true);
        counters.count_complete(false);
        counters.count_complete(false);
        assert_eq!((counters.full(), counters.resumed()), (2, 1));
        let one = counters.begin();
        assert_eq!(counters.under_way(), 1);
        drop(one);
        assert_eq!(counters.under_way(), 0);
    }
}
