//! The state for the page, as JSON.

use crate::{Purger, UpstreamGroup};
use pingora_cache::inspect::Inspector;
use pingora_core::metrics::{
    Family, Histogram, Incident, Kind, LabelPairs, Series, Value as Figure,
};
use pingora_core::server::Health;
use pingora_load_balancing::circuit::CircuitState;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The approximate time that rates and percentiles cover.
const WINDOW: Duration = Duration::from_secs(10);
/// The least time between two samples.
const APART: Duration = Duration::from_secs(1);
/// How many samples are kept.
const KEPT: usize = 12;

/// The figures of the last seconds during which a page was open.
#[derive(Debug, Default)]
pub(crate) struct Samples(VecDeque<(Instant, Vec<Family>)>);

impl Samples {
    /// The figures as JSON, with rates since an earlier sample; and the time that the rates cover, in seconds.
    pub(crate) fn describe(&mut self, now: Instant, families: Vec<Family>) -> (Value, f64) {
        let age = |at: &Instant| now.saturating_duration_since(*at);
        // The youngest that is old enough, or else the oldest.
        let old_enough = self.0.iter().rev().find(|(at, _)| age(at) >= WINDOW);
        let earlier = old_enough.or(self.0.front());
        let seconds = earlier.map_or(0.0, |(at, _)| age(at).as_secs_f64());
        let known: HashMap<(&str, &LabelPairs), &Figure> = earlier
            .into_iter()
            .flat_map(|(_, families)| families)
            .flat_map(|family| {
                let series = family.series.iter();
                series.map(|one| ((&*family.name, &one.labels), &one.value))
            })
            .collect();
        let described = families.iter().map(|family| {
            let series = family.series.iter().map(|series| {
                let before = known.get(&(&*family.name, &series.labels)).copied();
                describe(family.kind, series, before, seconds)
            });
            json!({
                "name": family.name,
                "help": family.help,
                "kind": kind(family.kind),
                "series": series.collect::<Vec<_>>(),
            })
        });
        let described = described.collect();
        if self.0.back().is_none_or(|(at, _)| age(at) >= APART) {
            self.0.push_back((now, families));
            if self.0.len() > KEPT {
                self.0.pop_front();
            }
        }
        (described, seconds)
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn describe(kind: Kind, series: &Series, before: Option<&Figure>, seconds: f64) -> Value {
    let labels = series.labels.iter();
    let labels: Map<String, Value> = labels
        .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
        .collect();
    let rate = |n: f64| (seconds > 0.0).then(|| n / seconds);
    match (&series.value, before) {
        (Figure::Number(value), before) => {
            let before = match before {
                Some(Figure::Number(before)) => *before,
                _ => 0.0,
            };
            let rate = (kind == Kind::Counter)
                .then(|| rate(value - before))
                .flatten();
            json!({ "labels": labels, "value": value, "rate": rate })
        }
        (Figure::Histogram(all), before) => {
            let recent = match before {
                Some(Figure::Histogram(before)) => all.since(before),
                _ => all.clone(),
            };
            let quantile = |histogram: &Histogram, share| histogram.quantile(share);
            json!({
                "labels": labels,
                "count": all.count(),
                "sum": all.sum(),
                "rate": rate(recent.count() as f64),
                "p50": quantile(&recent, 0.5),
                "p90": quantile(&recent, 0.9),
                "p99": quantile(&recent, 0.99),
            })
        }
    }
}

/// The parts of a program that the page shows and acts on.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) groups: Vec<(String, Arc<dyn UpstreamGroup>)>,
    pub(crate) health: Option<Arc<Health>>,
    pub(crate) purger: Option<Arc<dyn Purger>>,
}

/// A group with its backends.
pub(crate) fn group(name: &str, group: &dyn UpstreamGroup) -> Value {
    let backends = group.backends();
    let backends = backends.iter().map(|backend| {
        json!({
            "address": backend.address,
            "weight": backend.weight,
            "healthy": backend.healthy,
            "enabled": backend.enabled,
            "ready": backend.ready,
            "circuit": match backend.circuit {
                CircuitState::Closed => "closed",
                CircuitState::Open => "open",
                _ => "half_open",
            },
            "in_progress": backend.in_progress,
        })
    });
    json!({ "name": name, "backends": backends.collect::<Vec<_>>() })
}

/// How much a cache holds, as far as its storage knows.
pub(crate) fn cache(name: &str, inspector: &Inspector) -> Value {
    let totals = inspector.totals();
    json!({
        "name": name,
        "entries": totals.map(|totals| totals.entries),
        "bytes": totals.map(|totals| totals.bytes),
    })
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn incident(incident: &Incident) -> Value {
    json!({
        "time": millis(incident.at),
        "kind": incident.kind.name(),
        "request": incident.request,
        "what": incident.what,
        "status": incident.status,
        "seconds": incident.took.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_core::metrics::{CounterByLabel, gather};

    fn own() -> Vec<Family> {
        let mut families = gather();
        families.retain(|family| family.name == "admin_test_total");
        families
    }

    #[test]
    fn rates_are_of_the_last_seconds() {
        let counter = CounterByLabel::new("admin_test_total", "Things.", "colour", &["red"]);
        let mut samples = Samples::default();
        let begin = Instant::now();
        let second = |n| begin + Duration::from_secs(n);
        counter.add("red", 3);
        let (figures, seconds) = samples.describe(begin, own());
        assert_eq!(seconds, 0.0);
        assert_eq!(figures[0]["series"][1]["labels"]["colour"], "red");
        assert_eq!(figures[0]["series"][1]["value"], 3.0);
        assert_eq!(figures[0]["series"][1]["rate"], Value::Null);
        counter.add("red", 10);
        let (figures, seconds) = samples.describe(second(5), own());
        assert_eq!(
            (seconds, &figures[0]["series"][1]["rate"]),
            (5.0, &json!(2.0))
        );
        for n in 6..100 {
            samples.describe(second(n), own());
        }
        assert_eq!(samples.0.len(), KEPT);
        let (figures, seconds) = samples.describe(second(100), own());
        assert_eq!(
            (seconds, &figures[0]["series"][1]["rate"]),
            (10.0, &json!(0.0))
        );
    }
}
