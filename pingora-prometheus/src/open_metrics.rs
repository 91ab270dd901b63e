//! Metrics of a program in OpenMetrics 1.0, which the crate `prometheus` does not write. Pure.
//!
//! | in the crate `prometheus` | in OpenMetrics |
//! |---|---|
//! | counter `x_total` | counter `x`, sample `x_total` |
//! | counter `x` | unknown `x`: a counter's sample would have to be renamed, and queries would no longer find it |
//! | gauge, histogram, summary | the same |

use pingora_core::metrics::{Family, Kind, unit_of};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use std::collections::HashSet;
use std::fmt::Write;

/// The families of a program, and the names that they and their samples have.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) text: String,
    names: HashSet<String>,
}

impl Written {
    /// Writes the families. `None` where OpenMetrics has no words for them: names that it does not allow, two that
    /// are one in it (a counter `x_total` beside a gauge `x`), a histogram with bounds below zero, what has no type.
    pub(crate) fn of(families: &[MetricFamily]) -> Option<Self> {
        let mut written = Written::default();
        for family in families {
            written.add(family)?;
        }
        Some(written)
    }

    /// Whether a family of the framework has a name of its own beside these.
    pub(crate) fn leaves_room_for(&self, family: &Family) -> bool {
        let (bare, kind) = match family.kind {
            Kind::Counter => bare_counter(&family.name),
            Kind::Gauge => (&*family.name, GAUGE),
            Kind::Histogram => (&*family.name, HISTOGRAM),
        };
        names(bare, kind).all(|name| !self.names.contains(&name))
    }

    fn add(&mut self, family: &MetricFamily) -> Option<()> {
        let name = family.name();
        let (bare, kind) = match family.get_field_type() {
            MetricType::COUNTER => bare_counter(name),
            MetricType::GAUGE => (name, GAUGE),
            MetricType::SUMMARY => (name, SUMMARY),
            MetricType::HISTOGRAM => (name, HISTOGRAM),
            MetricType::UNTYPED => return None,
        };
        let is_new = names(bare, kind).all(|name| self.names.insert(name));
        if !is_new || !is_name(name, true) || family.get_metric().is_empty() {
            return None;
        }
        let out = &mut self.text;
        let _ = write!(out, "# HELP {bare} ");
        escape(family.help(), out);
        let _ = writeln!(out, "\n# TYPE {bare} {}", kind.name);
        if let Some(unit) = unit_of(bare) {
            let _ = writeln!(out, "# UNIT {bare} {unit}");
        }
        let mut metrics = family.get_metric().iter();
        metrics.try_for_each(|metric| write_metric(name, family.get_field_type(), metric, out))
    }
}

/// A type of OpenMetrics, and the suffixes of its samples.
#[derive(Clone, Copy)]
struct Type {
    name: &'static str,
    suffixes: &'static [&'static str],
}

const COUNTER: Type = Type {
    name: "counter",
    suffixes: &["_total", "_created"],
};
const GAUGE: Type = Type {
    name: "gauge",
    suffixes: &[],
};
const HISTOGRAM: Type = Type {
    name: "histogram",
    suffixes: &["_bucket", "_sum", "_count", "_created"],
};
const SUMMARY: Type = Type {
    name: "summary",
    suffixes: &["_sum", "_count", "_created"],
};
const UNKNOWN: Type = Type {
    name: "unknown",
    suffixes: &[],
};

/// The name of a counter's family, and its type.
fn bare_counter(name: &str) -> (&str, Type) {
    match name.strip_suffix("_total") {
        Some(bare) if !bare.is_empty() => (bare, COUNTER),
        _ => (name, UNKNOWN),
    }
}

/// All names that a family takes.
fn names(bare: &str, kind: Type) -> impl Iterator<Item = String> {
    let of_samples = kind.suffixes.iter().map(move |end| format!("{bare}{end}"));
    std::iter::once(bare.to_owned()).chain(of_samples)
}

/// Letters, digits and `_`, no digit in front; `:` in the names of metrics only.
fn is_name(name: &str, colons: bool) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(allowed)
}

fn write_metric(name: &str, kind: MetricType, metric: &Metric, out: &mut String) -> Option<()> {
    let labels = metric.get_label();
    if !labels.iter().all(|label| is_name(label.name(), false)) {
        return None;
    }
    let at = metric.timestamp_ms();
    let mut sample = |suffix: &str, extra: Option<(&str, f64)>, value: String| {
        let _ = write!(out, "{name}{suffix}");
        write_labels(labels, extra, out);
        let _ = write!(out, " {value}");
        if at != 0 {
            // In seconds here.
            let _ = write!(out, " {:.3}", at as f64 / 1000.0);
        }
        out.push('\n');
    };
    match kind {
        MetricType::COUNTER => sample("", None, number(metric.get_counter().get_value())),
        MetricType::GAUGE => sample("", None, number(metric.get_gauge().get_value())),
        MetricType::UNTYPED => return None,
        MetricType::SUMMARY => {
            let summary = metric.get_summary();
            for quantile in summary.get_quantile() {
                let share = Some(("quantile", quantile.quantile()));
                sample("", share, number(quantile.value()));
            }
            sample("_sum", None, number(summary.sample_sum()));
            sample("_count", None, summary.sample_count().to_string());
        }
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            let buckets = histogram.get_bucket();
            if buckets.iter().any(|bucket| bucket.upper_bound() < 0.0) {
                return None;
            }
            let finite = buckets.iter().filter(|one| one.upper_bound().is_finite());
            let finite = finite.map(|one| (one.upper_bound(), one.cumulative_count()));
            let last = std::iter::once((f64::INFINITY, histogram.get_sample_count()));
            for (bound, below) in finite.chain(last) {
                sample("_bucket", Some(("le", bound)), below.to_string());
            }
            sample("_sum", None, number(histogram.get_sample_sum()));
            sample("_count", None, histogram.get_sample_count().to_string());
        }
    }
    Some(())
}

fn write_labels(labels: &[LabelPair], extra: Option<(&str, f64)>, out: &mut String) {
    let mut separator = '{';
    for label in labels {
        let _ = write!(out, "{separator}{}=\"", label.name());
        separator = ',';
        escape(label.value(), out);
        out.push('"');
    }
    if let Some((name, value)) = extra {
        let value = if value.is_finite() {
            // Whole numbers are written as floating ones.
            format!("{value:?}")
        } else {
            number(value)
        };
        let _ = write!(out, "{separator}{name}=\"{value}\"");
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::core::Collector;
    use prometheus::{
        Counter, CounterVec, Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, proto,
    };

    fn written(collectors: &[&dyn Collector]) -> Option<String> {
        let families: Vec<_> = collectors.iter().flat_map(|one| one.collect()).collect();
        Written::of(&families).map(|written| written.text)
    }

    #[test]
    fn each_type_is_written_as_openmetrics_has_it() {
        let total = CounterVec::new(Opts::new("a:sent_bytes_total", "A \"help\"\n\\."), &["to"]);
        let total = total.unwrap();
        total.with_label_values(&["x\"y\\\nz"]).inc_by(2.5);
        let plain = IntCounter::new("things", "Things.").unwrap();
        plain.inc();
        let gauge = Gauge::new("heat_celsius", "Heat.").unwrap();
        gauge.set(f64::NEG_INFINITY);
        let wait = HistogramOpts::new("wait_seconds", "Waits.").buckets(vec![0.5, 1.0]);
        let wait = Histogram::with_opts(wait).unwrap();
        wait.observe(0.25);
        wait.observe(3.0);
        let text = written(&[&total, &plain, &gauge, &wait]).unwrap();
        assert_eq!(
            text,
            "# HELP a:sent_bytes A \\\"help\\\"\\n\\\\.\n# TYPE a:sent_bytes counter\n\
             # UNIT a:sent_bytes bytes\na:sent_bytes_total{to=\"x\\\"y\\\\\\nz\"} 2.5\n\
             # HELP things Things.\n# TYPE things unknown\nthings 1\n\
             # HELP heat_celsius Heat.\n# TYPE heat_celsius gauge\n# UNIT heat_celsius celsius\n\
             heat_celsius -Inf\n\
             # HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n\
             wait_seconds_bucket{le=\"0.5\"} 1\nwait_seconds_bucket{le=\"1.0\"} 1\n\
             wait_seconds_bucket{le=\"+Inf\"} 2\nwait_seconds_sum 3.25\nwait_seconds_count 2\n"
        );
    }

    #[test]
    fn a_summary_has_quantiles_and_times_are_in_seconds() {
        let mut quantile = proto::Quantile::default();
        quantile.set_quantile(1.0);
        quantile.set_value(0.25);
        let mut summary = proto::Summary::default();
        summary.set_quantile(vec![quantile]);
        summary.set_sample_count(3);
        summary.set_sample_sum(0.5);
        let mut metric = Metric::default();
        metric.set_summary(summary);
        metric.set_timestamp_ms(1500);
        let mut family = MetricFamily::default();
        family.set_name("size".to_owned());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(vec![metric]);
        let text = Written::of(&[family]).unwrap().text;
        let samples = text.split_once("# TYPE size summary\n").unwrap().1;
        assert_eq!(
            samples,
            "size{quantile=\"1.0\"} 0.25 1.500\nsize_sum 0.5 1.500\nsize_count 3 1.500\n"
        );
    }

    #[test]
    fn what_openmetrics_has_no_words_for_is_not_written() {
        let counter = Counter::new("x_total", "A counter.").unwrap();
        let same = IntGauge::new("x", "The family of the counter above.").unwrap();
        assert!(written(&[&counter]).is_some() && written(&[&same]).is_some());
        assert!(written(&[&counter, &same]).is_none());
        let below = HistogramOpts::new("cold", "Below zero.").buckets(vec![-1.0, 1.0]);
        assert!(written(&[&Histogram::with_opts(below).unwrap()]).is_none());
        for (name, label) in [
            ("1x", "a"),
            ("", "a"),
            ("x-y", "a"),
            ("x", "a:b"),
            ("x", ""),
        ] {
            let mut pair = LabelPair::default();
            pair.set_name(label.to_owned());
            let metric = Metric::from_label(vec![pair]);
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_field_type(MetricType::GAUGE);
            family.set_metric(vec![metric]);
            assert!(Written::of(&[family]).is_none(), "{name}{{{label}}}");
        }
    }
}
