//! Families of counts that belong together: what they are called, and the places of their cells.

use super::collect::Kind;
use super::histogram;

/// One family of a [`Shape`].
#[derive(Debug)]
pub struct Spec {
    /// With unit and suffix as Prometheus wants them: `requests_total`, `duration_seconds`.
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    /// The kind of count.
    pub kind: Kind,
    /// The names of the labels that tell its series apart; those of the block come in addition.
    pub labels: &'static [&'static str],
    /// Their values, for each series; one series where there are no labels.
    pub series: &'static [&'static [&'static str]],
}

/// One series without labels of its own.
pub const ONE: &[&[&str]] = &[&[]];

impl Spec {
    pub(super) const fn cells_each(&self) -> usize {
        match self.kind {
            Kind::Counter | Kind::Gauge => 1,
            Kind::Histogram => histogram::CELLS,
        }
    }
}

/// The metrics of each listener, for example: families, whose places are known when the program is compiled.
#[derive(Debug)]
pub struct Shape {
    /// The families, in the order of their places.
    pub specs: &'static [Spec],
    /// The most blocks of this shape; more are counted in one whose labels are all
    /// [`OTHER`](super::OTHER).
    pub most: usize,
}

impl Shape {
    /// The place of the first series of the family at this position.
    pub const fn place(specs: &[Spec], position: usize) -> usize {
        let (mut place, mut at) = (0, 0);
        while at < position {
            place += specs[at].series.len() * specs[at].cells_each();
            at += 1;
        }
        place
    }

    pub(super) const fn cells(&self) -> usize {
        Self::place(self.specs, self.specs.len())
    }
}
