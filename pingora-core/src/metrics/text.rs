//! Writing metrics out: the text format of Prometheus, and OpenMetrics.

use super::collect::{Family, Kind, Series, Value};
use super::histogram::Exemplar;
use std::fmt::Write;
use std::time::UNIX_EPOCH;

/// How metrics are written out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of it.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format for a client that sends this `Accept`: OpenMetrics only where it is named and not refused.
    pub fn accepted(accept: &str) -> Self {
        let named = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            is_it && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        };
        if accept.split(',').any(named) {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        }
    }
}

/// Writes families out. What OpenMetrics ends with is written by [`finish`], so that others can be written before.
///
/// No content of a label or a text can be taken for a line or a label of its own: line ends, quotes and
/// backslashes are escaped, other control characters replaced. Characters that names can't have become `_`.
pub fn write_families(families: &[Family], format: Format, out: &mut String) {
    for family in families {
        let name = name_of(&family.name);
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // OpenMetrics gives the suffix to the samples, not to their family.
        let bare = match (format, family.kind) {
            (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(&name),
            _ => &name,
        };
        let _ = write!(out, "# HELP {bare} ");
        escape(&family.help, format == Format::OpenMetrics, out);
        let _ = writeln!(out, "\n# TYPE {bare} {kind}");
        if let (Format::OpenMetrics, Some(unit)) = (format, unit_of(bare)) {
            let _ = writeln!(out, "# UNIT {bare} {unit}");
        }
        for series in &family.series {
            write_series(&name, series, format, out);
        }
    }
}

/// Ends what was written in this format.
pub fn finish(format: Format, out: &mut String) {
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
}

/// The unit at the end of a family's name (in OpenMetrics without `_total`), if it is one of those that Prometheus' conventions
/// name.
pub fn unit_of(name: &str) -> Option<&'static str> {
    let units = [
        "seconds", "bytes", "ratio", "celsius", "meters", "grams", "joules", "volts", "amperes",
    ];
    let is_suffix = |unit: &&'static str| {
        let before = name.strip_suffix(*unit);
        before.is_some_and(|before| before.ends_with('_'))
    };
    units.into_iter().find(is_suffix)
}

fn write_series(name: &str, series: &Series, format: Format, out: &mut String) {
    match &series.value {
        Value::Number(value) => {
            out.push_str(name);
            write_labels(series, None, out);
            write_number(*value, out);
        }
        Value::Histogram(histogram) => {
            let count = histogram.count();
            let last = std::iter::once((f64::INFINITY, count));
            let examples = histogram.exemplars().iter().copied();
            let mut examples = examples.take_while(|_| format == Format::OpenMetrics);
            for (bound, below) in histogram.buckets().chain(last) {
                let _ = write!(out, "{name}_bucket");
                write_labels(series, Some(bound), out);
                let _ = write!(out, " {}", below as f64);
                if let Some(example) = examples.next().flatten() {
                    write_exemplar(&example, out);
                }
                out.push('\n');
            }
            let _ = write!(out, "{name}_sum");
            write_labels(series, None, out);
            write_number(histogram.sum(), out);
            let _ = write!(out, "{name}_count");
            write_labels(series, None, out);
            write_number(count as f64, out);
        }
    }
}

/// Only OpenMetrics has them.
fn write_exemplar(exemplar: &Exemplar, out: &mut String) {
    let at = exemplar.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let _ = write!(
        out,
        " # {{trace_id=\"{:032x}\"}} {} {:.3}",
        exemplar.trace_id,
        exemplar.seconds,
        at.as_secs_f64()
    );
}

fn write_labels(series: &Series, bound: Option<f64>, out: &mut String) {
    if series.labels.is_empty() && bound.is_none() {
        return;
    }
    let mut separator = '{';
    for (label, value) in &series.labels {
        out.push(separator);
        separator = ',';
        out.push_str(&name_of(label));
        out.push_str("=\"");
        escape(value, true, out);
        out.push('"');
    }
    if let Some(bound) = bound {
        let _ = write!(out, "{separator}le=\"");
        if bound.is_infinite() {
            out.push_str("+Inf");
        } else {
            // OpenMetrics wants whole numbers to be floating, and Prometheus reads both.
            let _ = write!(out, "{bound:?}");
        }
        out.push('"');
    }
    out.push('}');
}

fn write_number(value: f64, out: &mut String) {
    let _ = writeln!(out, " {value}");
}

fn escape(text: &str, quotes: bool, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other if other.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            other => out.push(other),
        }
    }
}

/// The name as it may be written: letters, digits and `_`, no digit in front.
fn name_of(name: &str) -> String {
    let first_digit = name.starts_with(|first: char| first.is_ascii_digit());
    let allowed = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => c,
        _ => '_',
    };
    let prefix = first_digit.then_some('_');
    prefix
        .into_iter()
        .chain(name.chars().map(allowed))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Histogram;
    use super::*;
    use std::time::Duration;

    fn family(name: &'static str, kind: Kind, series: Vec<Series>) -> Family {
        Family {
            name: name.into(),
            help: "A \"help\"\nin two lines \\.".into(),
            kind,
            series,
        }
    }

    fn one(labels: &[(&'static str, &str)], value: Value) -> Series {
        let labels = labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        Series { labels, value }
    }

    fn written(families: &[Family], format: Format) -> String {
        let mut out = String::new();
        write_families(families, format, &mut out);
        finish(format, &mut out);
        out
    }

    #[test]
    fn each_format_has_its_heads() {
        let counter = family(
            "things_total",
            Kind::Counter,
            vec![one(&[("colour", "red")], Value::Number(3.0))],
        );
        assert_eq!(
            written(std::slice::from_ref(&counter), Format::Prometheus),
            "# HELP things_total A \"help\"\\nin two lines \\\\.\n# TYPE things_total counter\n\
             things_total{colour=\"red\"} 3\n"
        );
        assert_eq!(
            written(&[counter], Format::OpenMetrics),
            "# HELP things A \\\"help\\\"\\nin two lines \\\\.\n# TYPE things counter\n\
             things_total{colour=\"red\"} 3\n# EOF\n"
        );
        let bytes = family(
            "held_bytes",
            Kind::Gauge,
            vec![one(&[], Value::Number(0.5))],
        );
        let text = written(&[bytes], Format::OpenMetrics);
        assert!(
            text.contains("# UNIT held_bytes bytes\nheld_bytes 0.5\n"),
            "{text}"
        );
    }

    #[test]
    fn nothing_in_a_label_breaks_out_of_it() {
        let rows = [
            ("a\"} 1\nevil_total 2", "a\\\"} 1\\nevil_total 2"),
            ("back\\", "back\\\\"),
            (
                "\r\u{0}\u{1b}[31m\u{7f}\u{85}",
                "\u{fffd}\u{fffd}\u{fffd}[31m\u{fffd}\u{fffd}",
            ),
            ("", ""),
            ("ä€𝄞", "ä€𝄞"),
        ];
        for (value, expected) in rows {
            let series = vec![one(&[("bad-name", value)], Value::Number(1.0))];
            let text = written(&[family("9x-y", Kind::Gauge, series)], Format::Prometheus);
            let line = text.lines().nth(2).unwrap();
            assert_eq!(line, format!("_9x_y{{bad_name=\"{expected}\"}} 1"));
            assert_eq!(text.lines().count(), 3);
        }
    }

    #[test]
    fn a_histogram_has_cumulative_buckets_a_sum_and_a_count() {
        let histogram = Value::Histogram(Histogram::new(&[2, 1]));
        let series = vec![one(&[("phase", "connect")], histogram)];
        let text = written(
            &[family("wait_seconds", Kind::Histogram, series)],
            Format::Prometheus,
        );
        for line in [
            "wait_seconds_bucket{phase=\"connect\",le=\"0.0001220703125\"} 3",
            "wait_seconds_bucket{phase=\"connect\",le=\"64.0\"} 3",
            "wait_seconds_bucket{phase=\"connect\",le=\"+Inf\"} 3",
            "wait_seconds_sum{phase=\"connect\"} 0",
            "wait_seconds_count{phase=\"connect\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn exemplars_are_for_openmetrics_only() {
        let mut examples = [None; 21];
        for (bucket, seconds) in [(0, 0.0001), (20, 90.5)] {
            examples[bucket] = Some(Exemplar {
                trace_id: 0x4bf9_2f35_77b3_4da6,
                seconds,
                at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
            });
        }
        let histogram = Histogram::new(&[2, 1]).with_exemplars(Some(&examples));
        let series = vec![one(&[], Value::Histogram(histogram))];
        let family = family("wait_seconds", Kind::Histogram, series);
        let text = written(std::slice::from_ref(&family), Format::OpenMetrics);
        let trace = "# {trace_id=\"00000000000000004bf92f3577b34da6\"}";
        for line in [
            format!(
                "wait_seconds_bucket{{le=\"0.0001220703125\"}} 3 {trace} 0.0001 1700000000.250"
            ),
            "wait_seconds_bucket{le=\"0.000244140625\"} 3".to_owned(),
            format!("wait_seconds_bucket{{le=\"+Inf\"}} 3 {trace} 90.5 1700000000.250"),
            "wait_seconds_count 3".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!written(&[family], Format::Prometheus).contains("trace_id"));
    }

    #[test]
    fn the_format_is_what_the_client_accepts() {
        let rows = [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            (
                "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
                Format::OpenMetrics,
            ),
            (
                "text/plain, Application/OpenMetrics-Text; q=0.3",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;q=0", Format::Prometheus),
        ];
        for (accept, format) in rows {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
