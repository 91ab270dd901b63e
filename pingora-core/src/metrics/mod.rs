//! The metrics that this process keeps without being asked, and how they are read.
//!
//! Counting is cheap enough to be always on: each thread adds to cells of its own (a load and a store, no locked
//! instruction), and labels are resolved when a listener is made, not when a request arrives. A reading adds up what
//! all threads have.
//!
//! ```
//! use pingora_core::metrics::{Format, finish, gather, write_families};
//!
//! let mut text = String::new();
//! write_families(&gather(), Format::Prometheus, &mut text);
//! finish(Format::Prometheus, &mut text);
//! assert!(text.contains("process_resident_memory_bytes"));
//! ```
//!
//! The crate `pingora-prometheus` serves them over HTTP. The page `docs/metrics.md` in the repository says what each
//! figure means.
//!
//! | in here | what |
//! |---|---|
//! | [`gather`], [`Family`] | reading |
//! | [`write_families`], [`Format`] | writing out, pure |
//! | [`register`], [`Collect`] | figures that are kept elsewhere already |
//! | [`CounterByLabel`] | counts of a program's own, by a label that clients choose |
//! | [`Shape`], [`Block`] | counts on hot paths |
//! | [`Listener`], [`Upstream`], [`Process`] | what the framework counts |
//!
//! # What is bounded
//! There are at most 512 blocks, 64 of them for listeners, and at most [`MOST_SERIES`] series for each family that is
//! collected. Counts that find no room go to series whose labels are all `other`. A block takes eight bytes per cell
//! and thread that has counted in it.

mod block;
mod by_label;
mod collect;
mod exemplars;
mod histogram;
mod listener;
mod listener_families;
mod overall;
mod process;
mod reading;
mod recent;
mod request;
mod resets;
mod shape;
mod text;
mod upstream;
mod workers;

pub use block::{Block, Here};
pub use by_label::CounterByLabel;
pub use collect::{
    Collect, Collected, Family, Kind, LabelPairs, MOST_SERIES, OTHER, Series, Value, register,
};
pub use histogram::{Exemplar, Histogram};
pub use listener::{FailedSide, Listener, RefusedConnection, RequestEnd};
pub use overall::{Panicked, Process};
#[cfg(test)]
pub(crate) use reading::counted_resets;
pub use reading::gather;
pub use recent::{
    Incident, IncidentKind, note_incident, recent_incidents, set_slow_after, slow_after,
};
pub use request::RequestMeter;
pub(crate) use resets::Http2Resets;
pub use shape::{ONE, Shape, Spec};
pub use text::{Format, finish, unit_of, write_families};
pub use upstream::{ConnectFailed, Upstream};
