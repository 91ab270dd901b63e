//! Counts of each endpoint: connections, handshakes, requests.

use super::block::{Block, Here};
use super::listener_families::{LISTENER, LISTENERS};
use super::shape::Shape;
use super::workers::{APART, add_own, own};
use super::{exemplars, histogram};
use http::{StatusCode, Version};
use std::time::Duration;

const PROTOCOLS: usize = 3;
/// With one for requests that were not answered.
const CLASSES: usize = 6;

const ACCEPTED: usize = Shape::place(LISTENER, 0);
const OPEN: usize = Shape::place(LISTENER, 1);
const REFUSED: usize = Shape::place(LISTENER, 2);
const ACTIVE: usize = Shape::place(LISTENER, 3);
const REQUESTS: usize = Shape::place(LISTENER, 4);
const DURATION: usize = Shape::place(LISTENER, 5);
const FIRST_BYTE: usize = Shape::place(LISTENER, 6);
const RECEIVED: usize = Shape::place(LISTENER, 7);
const SENT: usize = Shape::place(LISTENER, 8);
const FAILURES: usize = Shape::place(LISTENER, 9);
const TRIES: usize = Shape::place(LISTENER, 10);
const HANDSHAKE: usize = Shape::place(LISTENER, 11);
const TLS_VERSIONS: usize = Shape::place(LISTENER, 12);
const TLS_GROUPS: usize = Shape::place(LISTENER, 13);

const CELLS: usize = Shape::place(LISTENER, LISTENER.len());
/// With the margin.
const OWN: usize = APART + CELLS;

const _: () = assert!(LISTENER[4].series.len() == PROTOCOLS * CLASSES);

/// The side at fault for a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedSide {
    /// The client was gone, or took nothing.
    ClientLeft,
    /// The client broke a rule.
    Client,
    /// The upstream.
    Upstream,
    /// This process.
    Internal,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct RequestEnd {
    /// The version that the client spoke.
    pub version: Version,
    /// The status that was sent; `None`: nothing was.
    pub status: Option<StatusCode>,
    /// Bytes of the request's body that arrived.
    pub received: usize,
    /// Bytes of the response's body that were sent.
    pub sent: usize,
}

/// Why a connection was closed when it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedConnection {
    /// Memory was scarce.
    Memory,
    /// The endpoint takes connections of certain proxies only.
    UntrustedProxy,
    /// There were too many in all.
    Limit,
    /// Its client had too many.
    ClientLimit,
    /// Its endpoint had too many.
    ListenerLimit,
    /// Its client had too many at this endpoint.
    ListenerClientLimit,
    /// The program's filter said no.
    Filter,
}

/// The counts of one endpoint.
///
/// Two bytes, which each of its connections knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener(u16);

impl Default for Listener {
    /// None: what did not come over a listener.
    fn default() -> Self {
        Listener(0)
    }
}

impl Listener {
    /// The counts of the endpoint at this address, of this service. At most 64; the rest share one.
    pub fn find(service: &str, address: &str) -> Self {
        let labels = [("service", service), ("listener", address)];
        Listener(Block::find(&LISTENERS, &labels).number())
    }

    #[inline]
    fn here(self) -> Here {
        Block::of_cells(self.0, CELLS).here()
    }

    /// A connection was taken in.
    pub(crate) fn connection_begins(self) {
        let here = self.here();
        here.add(ACCEPTED, 1);
        here.add(OPEN, 1);
    }

    pub(crate) fn connection_ends(self) {
        self.here().sub(OPEN, 1);
    }

    /// A connection was closed when it was accepted.
    #[cold]
    pub(crate) fn connection_refused(self, why: RefusedConnection) {
        self.here().add(REFUSED + why as usize, 1);
    }

    pub(crate) fn handshake_ended(self, took: Duration) {
        self.here().observe(HANDSHAKE, took);
    }

    /// A client has a TLS session of this version, with keys exchanged in this group.
    pub(crate) fn speaks_tls(self, version: &str, group: Option<&str>) {
        let version = match version {
            "TLSv1.3" => 0,
            "TLSv1.2" => 1,
            _ => 2,
        };
        let group = match group {
            Some("X25519MLKEM768") => 0,
            Some("X25519") => 1,
            Some("P-256") => 2,
            Some("secp384r1") => 3,
            Some(_) => 4,
            None => 5,
        };
        let here = self.here();
        here.add(TLS_VERSIONS + version, 1);
        here.add(TLS_GROUPS + group, 1);
    }

    #[inline]
    pub(super) fn request_begins(self) {
        match own::<OWN>(usize::from(self.0)) {
            Some(own) => add_own(&own[APART + ACTIVE], 1),
            None => self.first_request_begins(),
        }
    }

    #[cold]
    fn first_request_begins(self) {
        self.here().add(ACTIVE, 1);
    }

    #[cold]
    pub(super) fn request_given_up(self) {
        self.here().sub(ACTIVE, 1);
    }

    #[cold]
    pub(super) fn request_failed(self, side: FailedSide) {
        self.here().add(FAILURES + side as usize, 1);
    }

    /// The trace of a request that has ended was kept. Times are in units of 2⁻²⁰ s.
    #[cold]
    pub(super) fn trace_kept(self, trace_id: u128, took: u64, first_byte: u32) {
        exemplars::keep(self.0, DURATION, took, trace_id);
        if first_byte > 0 {
            exemplars::keep(self.0, FIRST_BYTE, u64::from(first_byte), trace_id);
        }
    }

    /// Times are in units of 2⁻²⁰ s.
    #[inline]
    pub(super) fn request_ends(
        self,
        end: &RequestEnd,
        [fresh, reused]: [u8; 2],
        took: u64,
        first_byte: u32,
    ) {
        let protocol = match end.version {
            Version::HTTP_11 | Version::HTTP_10 | Version::HTTP_09 => 0,
            Version::HTTP_2 => 1,
            _ => 2,
        };
        let class = match end.status.map_or(0, |status| status.as_u16() / 100) {
            class @ 1..=5 => usize::from(class) - 1,
            _ => CLASSES - 1,
        };
        let ended = REQUESTS + protocol * CLASSES + class;
        let times = [(DURATION, took), (FIRST_BYTE, u64::from(first_byte))];
        let sums = [
            (RECEIVED, end.received as u64),
            (SENT, end.sent as u64),
            (TRIES, u64::from(fresh)),
            (TRIES + 1, u64::from(reused)),
        ];
        match own::<OWN>(usize::from(self.0)) {
            Some(own) => {
                add_own(&own[APART + ACTIVE], 1_u64.wrapping_neg());
                add_own(&own[APART + ended], 1);
                for (place, n) in sums {
                    if n > 0 {
                        add_own(&own[APART + place], n);
                    }
                }
                for (place, units) in times {
                    if units > 0 {
                        let (cell, (sum, units)) = histogram::place(units);
                        add_own(&own[APART + place + cell], 1);
                        add_own(&own[APART + place + sum], units);
                    }
                }
            }
            None => self.first_request_ends(ended, sums, times),
        }
    }

    #[cold]
    fn first_request_ends(self, ended: usize, sums: [(usize, u64); 4], times: [(usize, u64); 2]) {
        let here = self.here();
        here.sub(ACTIVE, 1);
        here.add(ended, 1);
        for (place, n) in sums {
            here.add(place, n);
        }
        for (place, units) in times.into_iter().filter(|(_, units)| *units > 0) {
            here.observe_units(place, units);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RequestMeter, Value, gather};
    use super::*;

    #[test]
    fn a_request_is_counted_where_it_came_in() {
        let listener = Listener::find("counted", "192.0.2.1:80");
        let mut meter = RequestMeter::begin(listener);
        meter.tried(true);
        meter.answered();
        let end = RequestEnd {
            version: Version::HTTP_2,
            status: Some(StatusCode::NOT_FOUND),
            received: 7,
            sent: 9,
        };
        assert_eq!(meter.end(&end), None);
        listener.speaks_tls("TLSv1.3", Some("X25519MLKEM768"));
        listener.speaks_tls("TLSv1.3", Some("X448"));
        listener.speaks_tls("TLSv1.2", None);
        let families = gather();
        let of = |name: &str, own: &[&str]| {
            let family = families.iter().find(|family| family.name == name).unwrap();
            let wanted = ["counted", "192.0.2.1:80"].iter().chain(own).copied();
            let wanted: Vec<_> = wanted.collect();
            let mut series = family.series.iter();
            let found = series.find(|series| {
                series
                    .labels
                    .iter()
                    .map(|(_, v)| v.as_str())
                    .eq(wanted.iter().copied())
            });
            found.unwrap().value.clone()
        };
        let one = Value::Number(1.0);
        assert_eq!(of("pingora_requests_total", &["http2", "4xx"]), one);
        assert_eq!(of("pingora_upstream_tries_total", &["reused"]), one);
        assert_eq!(of("pingora_requests_active", &[]), Value::Number(0.0));
        for group in ["X25519MLKEM768", "other", "none"] {
            assert_eq!(of("pingora_tls_groups_total", &[group]), one, "{group}");
        }
        assert_eq!(of("pingora_tls_connections_total", &["TLSv1.2"]), one);
        assert_eq!(
            of("pingora_response_body_sent_bytes_total", &[]),
            Value::Number(9.0)
        );
        for name in [
            "pingora_request_duration_seconds",
            "pingora_request_first_byte_seconds",
        ] {
            let Value::Histogram(histogram) = of(name, &[]) else {
                panic!("{name} is a histogram");
            };
            assert_eq!(histogram.count(), 1, "{name}");
        }
        let last = Shape::place(LISTENER, LISTENER.len()) - 1;
        assert_eq!(TLS_GROUPS + 5, last, "the places are those of the families");
    }
}
