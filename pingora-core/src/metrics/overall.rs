//! Counts of the process as a whole.

use super::block::Block;
use super::collect::Kind::{Counter, Histogram};
use super::shape::{ONE, Shape, Spec};
use std::sync::LazyLock;
use std::time::Duration;

pub(super) const PROCESS: &[Spec] = &[
    Spec {
        name: "pingora_panics_total",
        help: "Panics that were caught, by where.",
        kind: Counter,
        labels: &["in"],
        series: &[&["request"], &["service"], &["accepting"]],
    },
    Spec {
        name: "pingora_reloads_total",
        help: "Reloads of the configuration, by outcome.",
        kind: Counter,
        labels: &["outcome"],
        series: &[&["done"], &["failed"]],
    },
    Spec {
        name: "pingora_upgrades_total",
        help: "Upgrades that this process has begun: the sockets were handed over, or not.",
        kind: Counter,
        labels: &["outcome"],
        series: &[&["handed_over"], &["failed"]],
    },
    Spec {
        name: "pingora_memory_turned_away_total",
        help: "New work that was turned away because memory is scarce.",
        kind: Counter,
        labels: &["what"],
        series: &[&["connection"], &["request"], &["stream"]],
    },
    Spec {
        name: "pingora_http2_connections_total",
        help: "Connections of clients that speak HTTP/2.",
        kind: Counter,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_http2_streams_total",
        help: "Streams that clients have opened over HTTP/2.",
        kind: Counter,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_http2_connections_ended_total",
        help: "Connections of HTTP/2 that were ended because of what their clients did.",
        kind: Counter,
        labels: &["reason"],
        series: &[
            &["resets"],
            &["overhead"],
            &["header_block"],
            &["memory"],
            &["error"],
        ],
    },
    Spec {
        name: "pingora_limit_refused_total",
        help: "Requests that a limit refused, by the kind of limit.",
        kind: Counter,
        labels: &["limit"],
        series: &[&["rate"], &["concurrency"]],
    },
    Spec {
        name: "pingora_limit_queue_seconds",
        help: "Time that requests waited for a place among those under way.",
        kind: Histogram,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_blocked_total",
        help: "Times that a phase kept a worker from all other work for longer than the watchdog allows.",
        kind: Counter,
        labels: &[],
        series: ONE,
    },
    Spec {
        name: "pingora_slow_phases_total",
        help: "Phases that took longer than the watchdog allows.",
        kind: Counter,
        labels: &[],
        series: ONE,
    },
];

const PANICS: usize = Shape::place(PROCESS, 0);
const RELOADS: usize = Shape::place(PROCESS, 1);
const UPGRADES: usize = Shape::place(PROCESS, 2);
const TURNED_AWAY: usize = Shape::place(PROCESS, 3);
const HTTP2_CONNECTIONS: usize = Shape::place(PROCESS, 4);
const HTTP2_STREAMS: usize = Shape::place(PROCESS, 5);
const HTTP2_ENDED: usize = Shape::place(PROCESS, 6);
const LIMITED: usize = Shape::place(PROCESS, 7);
const QUEUED: usize = Shape::place(PROCESS, 8);
const BLOCKED: usize = Shape::place(PROCESS, 9);
const SLOW: usize = Shape::place(PROCESS, 10);

static PROCESSES: Shape = Shape {
    specs: PROCESS,
    most: 1,
};

static PROCESS_BLOCK: LazyLock<Block> = LazyLock::new(|| Block::only(&PROCESSES));

/// Where a panic was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Panicked {
    /// In a phase of a request.
    Request,
    /// In a service as a whole.
    Service,
    /// Where a connection was taken in.
    Accepting,
}

/// Counts of the process as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Process {
    fn count(place: usize) {
        PROCESS_BLOCK.here().add(place, 1);
    }

    /// A panic was caught.
    #[cold]
    pub fn panicked(place: Panicked) {
        Self::count(PANICS + place as usize);
    }

    /// A request was refused: its client has sent too many in a while.
    #[cold]
    pub fn refused_by_rate() {
        Self::count(LIMITED);
    }

    /// A request was refused: there were too many at once.
    #[cold]
    pub fn refused_by_concurrency() {
        Self::count(LIMITED + 1);
    }

    /// A request has waited for a place among those under way.
    pub fn queued(took: Duration) {
        PROCESS_BLOCK.here().observe(QUEUED, took);
    }

    /// A phase has kept a worker from all other work.
    #[cold]
    pub fn blocked() {
        Self::count(BLOCKED);
    }

    /// A phase has taken long.
    #[cold]
    pub fn slow_phase() {
        Self::count(SLOW);
    }

    pub(crate) fn reloaded(well: bool) {
        Self::count(RELOADS + usize::from(!well));
    }

    pub(crate) fn handed_over(well: bool) {
        Self::count(UPGRADES + usize::from(!well));
    }

    /// The positions are those of the series.
    #[cold]
    pub(crate) fn turned_away(what: usize) {
        Self::count(TURNED_AWAY + what.min(2));
    }

    pub(crate) fn http2_begins() {
        Self::count(HTTP2_CONNECTIONS);
    }

    pub(crate) fn http2_stream() {
        Self::count(HTTP2_STREAMS);
    }

    /// The positions are those of the series.
    #[cold]
    pub(crate) fn http2_ended(why: usize) {
        Self::count(HTTP2_ENDED + why.min(4));
    }

    /// Makes the series, so that they are there from the start with nothing in them.
    pub(super) fn enter() {
        LazyLock::force(&PROCESS_BLOCK);
    }
}
