//! Runs the example `metrics`, alone and under a real Prometheus (Debian: prometheus).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

#[path = "../../examples/tests/running/mod.rs"]
mod running;

use http::{StatusCode, Version};
use pingora_core::metrics::{
    Format, Listener, RequestEnd, RequestMeter, finish, gather, write_families,
};
use running::{Asked, Running, until};
use serde_yaml::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

const DASHBOARD: &str = include_str!("../../docs/monitoring/dashboard.json");
const RULES: &str = "../docs/monitoring/alerts.yml";

/// The example, and where its metrics are.
fn start() -> (Running, SocketAddr) {
    let mut proxy = Running::start_without_address("metrics", &["--metrics", "127.0.0.1:0"]);
    let address = |line: String, before: &str, after: &str| -> SocketAddr {
        let rest = line.trim_start_matches(before).trim_end_matches(after);
        rest.parse().unwrap()
    };
    let line = proxy.wait_for_line("metrics on http://");
    let metrics = address(line, "metrics on http://", "/metrics");
    let line = proxy.wait_for_line("listening on ");
    proxy.address = address(line, "listening on ", "");
    (proxy, metrics)
}

/// A few requests of several kinds.
fn send(proxy: &Running) {
    for _ in 0..4 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    assert_eq!(proxy.get("/teapot").status(), 418);
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    let known = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    stream.write_all(known.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.next().unwrap().unwrap().contains(" 200 "));
    while lines.next().is_some() {}
}

fn scrape(metrics: SocketAddr) -> String {
    let answer = Asked::new(metrics, "/metrics", "").answer();
    assert_eq!(answer.status(), 200);
    let format = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(answer.field("content-type"), Some(format));
    answer.body().to_owned()
}

/// The sum of all series of which the line begins and goes on like this.
fn sum(text: &str, name: &str, with: &str) -> f64 {
    let lines = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(with));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

#[test]
fn what_happens_is_counted_and_a_stalled_scraper_harms_nobody() {
    let (proxy, metrics) = start();
    // It asks, and never reads.
    let mut stalled = TcpStream::connect(metrics).unwrap();
    for _ in 0..50 {
        let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
        stalled.write_all(request).unwrap();
    }
    send(&proxy);
    let text = until(|| {
        let text = scrape(metrics);
        (sum(&text, "pingora_requests_total", "service=\"shop\"") == 6.0).then_some(text)
    });
    let text = text.expect("six requests");
    let rows = [
        (
            "pingora_requests_total",
            "service=\"shop\",listener=\"127.0.0.1:",
            6.0,
        ),
        ("pingora_requests_active", "service=\"shop\"", 0.0),
        (
            "pingora_request_duration_seconds_count",
            "service=\"shop\"",
            6.0,
        ),
        (
            "pingora_request_first_byte_seconds_count",
            "service=\"shop\"",
            5.0,
        ),
        (
            "pingora_connections_accepted_total",
            "service=\"shop\"",
            6.0,
        ),
        ("pingora_upstream_tries_total", "service=\"shop\"", 5.0),
        (
            "pingora_backend_requests_total",
            "outcome=\"completed\"",
            5.0,
        ),
        ("shop_requests_total", "host=\"shop.example\"", 1.0),
        ("shop_requests_total", "host=\"other\"", 5.0),
        ("shop_teapots_total", "", 1.0),
    ];
    for (name, with, expected) in rows {
        let line = format!("{name}{{");
        let name = if with.is_empty() { name } else { &line };
        assert_eq!(sum(&text, name, with), expected, "{name}{with}\n{text}");
    }
    let good = text
        .lines()
        .filter(|line| line.contains("service=\"shop\""));
    let mut good = good.filter(|line| line.contains("protocol=\"http1\",status_class=\"2xx\"} 5"));
    assert!(good.next().is_some(), "{text}");
    assert!(sum(&text, "pingora_retries_total", "connecting") > 0.0);
    assert!(sum(&text, "pingora_runtime_workers", "runtime=\"shop\"") > 0.0);
    assert!(sum(&text, "process_resident_memory_bytes", "") > 1e6);
    let types = text.lines().filter(|line| line.starts_with("# TYPE "));
    let types: Vec<&str> = types.collect();
    let once: BTreeSet<&str> = types.iter().copied().collect();
    assert_eq!(types.len(), once.len(), "no family is there twice");
    drop(stalled);

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (Debian: prometheus)");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let said = promtool.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&said.stderr);
    assert!(
        said.status.success() && complaints.is_empty(),
        "{complaints}"
    );
    assert!(proxy.stop());
}

/// A real Prometheus that scrapes one target every second. Dropping it kills it.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = std::fs::canonicalize(RULES).unwrap();
        let conf = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{job_name: proxy, static_configs: [{{targets: ['{target}']}}]}}]\n",
            rules.display()
        );
        std::fs::write(folder.path().join("prometheus.yml"), conf).unwrap();
        let mut child = Command::new("prometheus")
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .args([
                "--web.listen-address=127.0.0.1:0",
                "--enable-feature=exemplar-storage",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus is installed (Debian: prometheus)");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("\"Listening on\" address=")?;
            address.trim().parse().ok()
        });
        // It must not stop because nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        Prometheus {
            child,
            address: address.expect("it says where it listens"),
            _folder: folder,
        }
    }

    fn ask(&self, path: &str) -> Value {
        // Of HTTP/1.0, so that the answer comes in one piece.
        let mut stream = TcpStream::connect(self.address).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let answer: Value = serde_yaml::from_str(body).unwrap_or_default();
        answer.get("data").cloned().unwrap_or_default()
    }

    /// How many series a query returns now; `None` if it can't be evaluated.
    fn query(&self, query: &str) -> Option<usize> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let data = self.ask(&format!("/api/v1/query?query={encoded}"));
        Some(data.get("result")?.as_sequence()?.len())
    }
}

/// Answers every question with the figures of this process in OpenMetrics. Ends with the process.
fn serve_own_figures() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
            while head
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let format = Format::OpenMetrics;
            let mut text = format!(
                "HTTP/1.0 200 OK\r\nContent-Type: {}\r\n\r\n",
                format.content_type()
            );
            write_families(&gather(), format, &mut text);
            finish(format, &mut text);
            let _ = stream.write_all(text.as_bytes());
        }
    });
    address
}

#[test]
fn prometheus_keeps_exemplars() {
    let mut meter = RequestMeter::begin(Listener::find("shop", "192.0.2.1:80"));
    meter.answered();
    let end = RequestEnd {
        version: Version::HTTP_11,
        status: Some(StatusCode::OK),
        received: 0,
        sent: 0,
    };
    meter.end(&end);
    meter.trace_kept(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    let prometheus = Prometheus::start(serve_own_figures());
    let query = "/api/v1/query_exemplars?query=pingora_request_duration_seconds_bucket&start=0&end=9999999999";
    let found = until(|| {
        let found = prometheus.ask(query);
        let first = found.as_sequence()?.first()?;
        let first = first["exemplars"].as_sequence()?.first()?.clone();
        Some(first)
    });
    let found = found.expect("an exemplar");
    let trace = &found["labels"]["trace_id"];
    assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The queries of the dashboard, as Grafana would send them.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_yaml::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_sequence().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel.get("targets")?.as_sequence());
    let queries = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap());
    let sent = |query: &str| {
        query
            .replace("$job", ".*")
            .replace("$__rate_interval", "1m")
    };
    queries.map(sent).collect()
}

/// The names of our families in a query, without the suffixes of their series.
fn families(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("pingora_") || word.starts_with("process_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word))
}

#[test]
fn prometheus_scrapes_it_and_the_dashboard_and_the_rules_have_data() {
    let (proxy, metrics) = start();
    let prometheus = Prometheus::start(metrics);
    send(&proxy);
    let exported = scrape(metrics);
    let is_exported = |family: &str| exported.contains(&format!("# TYPE {family} "));
    let queries = queries();
    assert!(queries.len() > 25, "{} queries", queries.len());
    for family in queries.iter().flat_map(|query| families(query)) {
        // What only TLS listeners have is not in this example.
        assert!(
            family.starts_with("pingora_tls_") || is_exported(family),
            "{family}"
        );
    }
    // Rates need two samples; those of what never happens are zero, which is data as well.
    let without = |query: &&String| {
        prometheus
            .query(query)
            .unwrap_or_else(|| panic!("it is no query: {query}"))
            == 0
    };
    let has_data = until(|| {
        send(&proxy);
        let mut empty: Vec<&String> = queries.iter().filter(without).collect();
        empty.retain(|query| !query.contains("pingora_tls_"));
        empty.is_empty().then_some(())
    });
    let empty: Vec<&String> = queries.iter().filter(without).collect();
    assert!(has_data.is_some(), "no data for {empty:#?}");

    // OpenMetrics was negotiated: Prometheus' own text knows no units.
    let family = "pingora_request_duration_seconds";
    let metadata = prometheus.ask(&format!("/api/v1/metadata?metric={family}"));
    assert_eq!(metadata[family][0]["unit"], "seconds", "{metadata:?}");
    assert_eq!(prometheus.query("shop_teapots_total"), Some(1));

    let rules = until(|| {
        let data = prometheus.ask("/api/v1/rules");
        let groups = data.get("groups")?.as_sequence()?.clone();
        let rules: Vec<Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_sequence().unwrap().clone())
            .collect();
        let is_known = |rule: &Value| rule["health"] != "unknown";
        (!rules.is_empty() && rules.iter().all(is_known)).then_some(rules)
    });
    let rules = rules.expect("the rules are evaluated");
    assert_eq!(rules.len(), 12);
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule:?}");
        let families = families(rule["query"].as_str().unwrap());
        for family in families.filter(|family| !family.ends_with('_')) {
            assert!(
                family.starts_with("pingora_tls_") || is_exported(family),
                "{family}"
            );
        }
    }
    let down = rules
        .iter()
        .find(|rule| rule["name"] == "BackendIsDown")
        .unwrap();
    assert_eq!(
        down["state"], "inactive",
        "nothing says that a backend is down"
    );
    assert!(proxy.stop());
}
