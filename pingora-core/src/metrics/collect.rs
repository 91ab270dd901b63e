//! The result of a reading.

use super::histogram::Histogram;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, Weak};

/// The value of all labels of what found no more room.
pub const OTHER: &str = "other";

/// The most series of one family that a reading returns. Further ones are added up in one whose labels are all
/// [`OTHER`].
pub const MOST_SERIES: usize = 1024;

/// The kind of count of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows, until the process ends.
    Counter,
    /// A number of things that are there at this moment.
    Gauge,
    /// Durations.
    Histogram,
}

/// The value of a series at this moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(Histogram),
}

/// A family with all of its series.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Family {
    /// Its name.
    pub name: Cow<'static, str>,
    /// One line.
    pub help: Cow<'static, str>,
    /// The kind of count.
    pub kind: Kind,
    /// In no particular order.
    pub series: Vec<Series>,
}

/// The names and values of labels.
pub type LabelPairs = Vec<(&'static str, String)>;

/// A series of a family.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Series {
    /// The labels that tell it from the others.
    pub labels: LabelPairs,
    /// The value.
    pub value: Value,
}

/// Something that has figures of its own, and is asked for them at each reading.
pub trait Collect: Send + Sync {
    /// Tells its figures. Must not block for long: a scraper waits.
    fn collect(&self, out: &mut Collected);
}

static COLLECTORS: Mutex<Vec<Weak<dyn Collect>>> = Mutex::new(Vec::new());

/// Asks this one at each reading from now on, for as long as it lives.
pub fn register(collector: Weak<dyn Collect>) {
    let mut all = COLLECTORS.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|one| one.strong_count() > 0);
    all.push(collector);
}

/// The figures of a reading. Those with the same name and labels are added up.
#[derive(Debug, Default)]
pub struct Collected {
    families: BTreeMap<Cow<'static, str>, Entered>,
}

#[derive(Debug)]
struct Entered {
    help: Cow<'static, str>,
    kind: Kind,
    series: BTreeMap<LabelPairs, Value>,
}

impl Collected {
    /// A number that only grows.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        let value = Value::Number(value as f64);
        self.enter(name, help, Kind::Counter, owned(labels), value);
    }

    /// The same with fractions, such as seconds.
    pub fn fractional_counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.enter(
            name,
            help,
            Kind::Counter,
            owned(labels),
            Value::Number(value),
        );
    }

    /// A number at this moment.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.enter(name, help, Kind::Gauge, owned(labels), Value::Number(value));
    }

    pub(super) fn enter(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: LabelPairs,
        value: Value,
    ) {
        let family = self.families.entry(name.into()).or_insert_with(|| Entered {
            help: help.into(),
            kind,
            series: BTreeMap::new(),
        });
        if family.kind != kind {
            // Two pieces of code disagree; both are of this program.
            return debug_assert!(false, "{name} is of two kinds");
        }
        let is_full = family.series.len() >= MOST_SERIES && !family.series.contains_key(&labels);
        let labels = if is_full { others(labels) } else { labels };
        match family.series.get_mut(&labels) {
            Some(sum) => add(sum, &value),
            None => _ = family.series.insert(labels, value),
        }
    }

    pub(super) fn into_families(self) -> Vec<Family> {
        let family = |(name, entered): (_, Entered)| Family {
            name,
            help: entered.help,
            kind: entered.kind,
            series: entered
                .series
                .into_iter()
                .map(|(labels, value)| Series { labels, value })
                .collect(),
        };
        self.families.into_iter().map(family).collect()
    }
}

fn owned(labels: &[(&'static str, &str)]) -> LabelPairs {
    let owned = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
    labels.iter().map(owned).collect()
}

fn others(labels: LabelPairs) -> LabelPairs {
    let other = |(name, _)| (name, OTHER.to_owned());
    labels.into_iter().map(other).collect()
}

fn add(sum: &mut Value, value: &Value) {
    match (sum, value) {
        (Value::Number(sum), Value::Number(value)) => *sum += value,
        (Value::Histogram(sum), Value::Histogram(value)) => sum.add(value),
        _ => {}
    }
}

/// Asks all who are registered.
pub(super) fn ask_all(out: &mut Collected) {
    let collectors: Vec<_> = COLLECTORS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .filter_map(Weak::upgrade)
        .collect();
    for collector in collectors {
        collector.collect(out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::gather;
    use super::*;
    use std::sync::Arc;

    struct Hosts(u32);

    impl Collect for Hosts {
        fn collect(&self, out: &mut Collected) {
            for host in 0..self.0 {
                let host = host.to_string();
                out.counter("test_hosts_total", "Hosts.", &[("host", &host)], 1);
            }
        }
    }

    fn hosts() -> Option<Family> {
        let mut families = gather().into_iter();
        families.find(|family| family.name == "test_hosts_total")
    }

    #[test]
    fn series_beyond_the_most_are_added_up_in_one() {
        let collectors: [Arc<dyn Collect>; 2] = [Arc::new(Hosts(5000)), Arc::new(Hosts(1))];
        collectors
            .iter()
            .for_each(|one| register(Arc::downgrade(one)));
        let family = hosts().unwrap();
        assert_eq!(family.series.len(), MOST_SERIES + 1);
        let value_of = |host: &str| {
            let mut series = family.series.iter();
            let found = series.find(|series| series.labels == [("host", host.to_owned())]);
            found.unwrap().value.clone()
        };
        let other = (5000 - MOST_SERIES) as f64;
        assert_eq!(value_of(OTHER), Value::Number(other));
        assert_eq!(value_of("0"), Value::Number(2.0), "both are added up");
        drop(collectors);
        assert!(hosts().is_none(), "who is gone is not asked");
    }
}
