//! Families of counts that belong together, and a place for each in the cells of the threads.

use super::collect::{Collected, Kind, OTHER, Value};
use super::exemplars;
use super::histogram;
use super::histogram::{Histogram, OfBuckets};
use super::listener_families::NO_LISTENER;
use super::shape::Shape;
use super::workers::{MOST_BLOCKS, Row, sums};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

type Labels = Vec<(&'static str, String)>;

struct Registered {
    shape: &'static Shape,
    labels: Labels,
}

/// Their positions are the numbers of the blocks.
static BLOCKS: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

fn blocks() -> std::sync::MutexGuard<'static, Vec<Registered>> {
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    if blocks.is_empty() {
        let (shape, labels) = NO_LISTENER;
        enter(&mut blocks, shape, &labels);
    }
    blocks
}

/// A place to count in, for as long as the process lives. Found when a listener, a group or a route is made, and then
/// free to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    number: u16,
    cells: u16,
}

impl Block {
    /// The block of this shape with these labels; the same one for the same labels. Takes a lock.
    pub fn find(shape: &'static Shape, labels: &[(&'static str, &str)]) -> Self {
        let mut blocks = blocks();
        let is_there = |blocks: &[Registered], labels: &[(&'static str, &str)]| {
            let same = |one: &Registered| {
                std::ptr::eq(one.shape, shape)
                    && one
                        .labels
                        .iter()
                        .map(|(name, value)| (*name, value.as_str()))
                        .eq(labels.iter().copied())
            };
            blocks.iter().position(same)
        };
        let others: Vec<_> = labels.iter().map(|(name, _)| (*name, OTHER)).collect();
        let number = is_there(&blocks, labels).or_else(|| {
            let of_shape = blocks.iter().filter(|one| std::ptr::eq(one.shape, shape));
            let is_full = of_shape.count() >= shape.most || blocks.len() >= MOST_BLOCKS;
            let labels = if is_full { &others } else { labels };
            is_there(&blocks, labels).or_else(|| enter(&mut blocks, shape, labels))
        });
        let number = number.and_then(|number| u16::try_from(number).ok());
        Block {
            number: number.unwrap_or(u16::MAX),
            cells: u16::try_from(shape.cells()).unwrap_or(u16::MAX),
        }
    }

    /// The block of this shape that needs no labels.
    pub fn only(shape: &'static Shape) -> Self {
        Self::find(shape, &[])
    }

    /// The cells of the calling thread. Not to be kept across an await.
    #[inline]
    pub fn here(self) -> Here {
        Here(Row::of(usize::from(self.number), usize::from(self.cells)))
    }

    /// The block of this number, which has so many cells.
    #[inline]
    pub(super) const fn of_cells(number: u16, cells: usize) -> Self {
        Block {
            number,
            cells: cells as u16,
        }
    }

    pub(super) const fn number(self) -> u16 {
        self.number
    }
}

fn enter(
    blocks: &mut Vec<Registered>,
    shape: &'static Shape,
    labels: &[(&'static str, &str)],
) -> Option<usize> {
    if blocks.len() >= MOST_BLOCKS {
        log::warn!("there are too many metrics: some are not counted");
        return None;
    }
    let labels = labels
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    blocks.push(Registered {
        shape,
        labels: labels.collect(),
    });
    Some(blocks.len() - 1)
}

/// The cells of a block that belong to one thread: adding takes a load and a store.
#[derive(Clone, Copy)]
pub struct Here(Row);

impl Here {
    /// Adds to a counter or a gauge.
    #[inline]
    pub fn add(self, place: usize, n: u64) {
        self.0.add(place, n);
    }

    /// Takes from a gauge, whichever thread has added to it.
    #[inline]
    pub fn sub(self, place: usize, n: u64) {
        self.0.add(place, n.wrapping_neg());
    }

    /// Counts a duration.
    #[inline]
    pub fn observe(self, place: usize, time: Duration) {
        self.observe_units(place, histogram::units(time));
    }

    /// The same in units of 2⁻²⁰ s.
    #[inline]
    pub(super) fn observe_units(self, place: usize, units: u64) {
        let (cell, (sum, units)) = histogram::place(units);
        self.0.add(place + cell, 1);
        self.0.add(place + sum, units);
    }
}

impl std::fmt::Debug for Here {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Here").finish_non_exhaustive()
    }
}

/// Reads all blocks.
pub(super) fn collect(out: &mut Collected) {
    let blocks: Vec<_> = blocks()
        .iter()
        .map(|one| (one.shape, one.labels.clone()))
        .collect();
    let exemplars = exemplars::all();
    for (number, (shape, labels)) in blocks.iter().enumerate() {
        let block = u16::try_from(number).unwrap_or(u16::MAX);
        let sums = sums(number, shape.cells());
        if number == 0 && sums.iter().all(|sum| *sum == 0) {
            // Most processes count nothing apart from their listeners.
            continue;
        }
        let mut place = 0;
        for spec in shape.specs {
            for values in spec.series {
                let cells = sums
                    .get(place..place + spec.cells_each())
                    .unwrap_or_default();
                let examples = exemplars.get(&(block, place));
                place += spec.cells_each();
                let own = spec.labels.iter().zip(*values);
                let own = own.map(|(name, value)| (*name, (*value).to_owned()));
                let labels = labels.iter().cloned().chain(own).collect();
                out.enter(
                    spec.name,
                    spec.help,
                    spec.kind,
                    labels,
                    read(spec.kind, cells, examples),
                );
            }
        }
    }
}

fn read(kind: Kind, cells: &[u64], examples: Option<&OfBuckets>) -> Value {
    let first = cells.first().copied().unwrap_or_default();
    match kind {
        Kind::Counter => Value::Number(first as f64),
        // Of something that is being moved from one thread to another, less than nothing may be seen.
        Kind::Gauge => Value::Number((first.cast_signed() as f64).max(0.0)),
        Kind::Histogram => Value::Histogram(Histogram::new(cells).with_exemplars(examples)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::{ONE, Spec};
    use super::*;

    const SPECS: &[Spec] = &[
        Spec {
            name: "test_things_total",
            help: "Things.",
            kind: Kind::Counter,
            labels: &["colour"],
            series: &[&["red"], &["blue"]],
        },
        Spec {
            name: "test_wait_seconds",
            help: "Waits.",
            kind: Kind::Histogram,
            labels: &[],
            series: ONE,
        },
        Spec {
            name: "test_open",
            help: "Open ones.",
            kind: Kind::Gauge,
            labels: &[],
            series: ONE,
        },
    ];
    static SHAPE: Shape = Shape {
        specs: SPECS,
        most: 3,
    };
    const WAIT: usize = Shape::place(SPECS, 1);
    const OPEN: usize = Shape::place(SPECS, 2);

    #[test]
    fn places_are_found_by_labels_and_overflow_visibly() {
        let block = |name: &str| Block::find(&SHAPE, &[("host", name)]);
        let (a, b) = (block("a"), block("b"));
        assert_eq!(a, block("a"));
        assert_ne!(a, b);
        let _c = block("c");
        for n in 0..10_000 {
            let one = block(&format!("host {n}"));
            assert_eq!(one, block("other"), "memory does not grow with names");
            one.here().add(0, 1);
        }
        a.here().add(1, 5);
        a.here().observe(WAIT, Duration::from_millis(3));
        a.here().add(OPEN, 2);
        std::thread::spawn(move || a.here().sub(OPEN, 1))
            .join()
            .unwrap();

        let families = super::super::gather();
        let of = |name: &str, wanted: &[&str]| {
            let family = families.iter().find(|family| family.name == name).unwrap();
            let has = |series: &&super::super::Series| {
                series
                    .labels
                    .iter()
                    .map(|(_, value)| value.as_str())
                    .eq(wanted.iter().copied())
            };
            family.series.iter().find(has).unwrap().value.clone()
        };
        assert_eq!(of("test_things_total", &["a", "blue"]), Value::Number(5.0));
        assert_eq!(
            of("test_things_total", &["other", "red"]),
            Value::Number(10_000.0)
        );
        assert_eq!(of("test_open", &["a"]), Value::Number(1.0));
        let Value::Histogram(waits) = of("test_wait_seconds", &["a"]) else {
            panic!("a histogram");
        };
        assert_eq!(waits.count(), 1);
    }
}
