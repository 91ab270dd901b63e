//! Counts by a label whose values come from clients.

use super::block::Block;
use super::collect::{Kind, OTHER};
use super::shape::{Shape, Spec};

/// Counts by a label whose values come from clients, such as a host or a path: values on a list have a series each, all
/// others share the series `other`. However many values clients think of, memory does not grow.
///
/// ```
/// use pingora_core::metrics::CounterByLabel;
///
/// // Once, when the program starts.
/// let requests = CounterByLabel::new(
///     "shop_requests_total",
///     "Requests by host.",
///     "host",
///     &["shop.example", "api.example"],
/// );
/// // In a phase.
/// requests.add("shop.example", 1);
/// requests.add("whatever a client sends", 1);
/// ```
///
/// It lives as long as the process: make one for each name, not one for each request. The lists of one name must not
/// differ.
#[derive(Clone, Debug)]
pub struct CounterByLabel {
    /// In order; their positions are those of the cells.
    allowed: &'static [&'static str],
    block: Block,
}

/// The most values on a list.
const MOST_VALUES: usize = 1024;

impl CounterByLabel {
    /// A counter. `name` ends with `_total`; `help` is one line. Of `allowed`, 1024 values are heeded.
    pub fn new(name: &str, help: &str, label: &str, allowed: &[&str]) -> Self {
        let mut values: Vec<&'static str> = allowed.iter().take(MOST_VALUES).map(leak).collect();
        values.sort_unstable();
        values.dedup();
        values.retain(|value| *value != OTHER);
        let allowed: &'static [&'static str] = values.leak();
        let other = std::iter::once(&OTHER);
        let series: Vec<&'static [&'static str]> = allowed
            .iter()
            .chain(other)
            .map(|value| &*vec![*value].leak())
            .collect();
        let spec = Spec {
            name: leak(&name),
            help: leak(&help),
            kind: Kind::Counter,
            labels: vec![leak(&label)].leak(),
            series: series.leak(),
        };
        let shape: &'static Shape = Box::leak(Box::new(Shape {
            specs: vec![spec].leak(),
            most: 1,
        }));
        CounterByLabel {
            allowed,
            block: Block::only(shape),
        }
    }

    /// Adds to the series of this value, or to `other`. Looks the value up among those on the list.
    pub fn add(&self, value: &str, n: u64) {
        let found = self.allowed.binary_search(&value);
        let place = found.unwrap_or(self.allowed.len());
        self.block.here().add(place, n);
    }
}

/// For as long as the process lives.
fn leak(text: &&str) -> &'static str {
    (*text).to_owned().leak()
}

#[cfg(test)]
mod tests {
    use super::super::{Value, gather};
    use super::*;

    #[test]
    fn a_million_values_are_one_series() {
        let list = ["b.example", "a.example", "other", "b.example"];
        let counter = CounterByLabel::new("test_hosts_seen_total", "Hosts.", "host", &list);
        for n in 0..1_000_000 {
            counter.add(&format!("{n}.example"), 1);
        }
        counter.add("a.example", 2);
        counter.add("b.example", 3);
        let families = gather();
        let mut found = families.iter();
        let family = found.find(|f| f.name == "test_hosts_seen_total").unwrap();
        let series = family.series.iter();
        let series: Vec<_> = series
            .map(|one| (one.labels[0].1.as_str(), one.value.clone()))
            .collect();
        let expected = [
            ("a.example", Value::Number(2.0)),
            ("b.example", Value::Number(3.0)),
            ("other", Value::Number(1e6)),
        ];
        assert_eq!(series, expected);
    }
}
