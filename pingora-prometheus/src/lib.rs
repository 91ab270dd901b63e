//! Metrics for Prometheus over HTTP: those of the framework, and a program's own.
//!
//! The framework counts of its own accord (see [`pingora_core::metrics`]). A program registers its metrics with the
//! default registry of the crate [`prometheus`], which is re-exported so that both use the same one.
//! [`prometheus_http_service`] answers every request with all of them, compressed for clients that accept it. Where both
//! have a family of the same name, the program's is the one that is shown.
//!
//! The format is the text format of Prometheus, or OpenMetrics for clients that ask for it (`Accept:
//! application/openmetrics-text`). There, a counter of the program's own whose name does not end with `_total` is of the type
//! `unknown`, because OpenMetrics would rename it; bounds of histograms are floating numbers (`le="1.0"`). The answer is in
//! the text format all the same where OpenMetrics has no words for what the program has: names that it does not
//! allow, two families that are one in it (a counter `x_total` beside a gauge `x`), a histogram with bounds below zero.
//!
//! # Example
//! ```
//! use pingora_core::server::Server;
//! use pingora_prometheus::prometheus::{IntCounter, register_int_counter};
//! use pingora_prometheus::prometheus_http_service;
//! use std::sync::LazyLock;
//!
//! static REQUESTS: LazyLock<IntCounter> =
//!     LazyLock::new(|| register_int_counter!("requests", "requests seen").unwrap());
//!
//! let mut server = Server::new(None).unwrap();
//! let mut metrics = prometheus_http_service();
//! metrics.add_tcp("127.0.0.1:6192");
//! server.add_service(metrics);
//! REQUESTS.inc();
//! ```
//!
//! Pages in the repository: `docs/metrics.md`; `docs/migrating.md`, for differences from the crate of the same name.
#![forbid(unsafe_code)]

pub use prometheus;

mod open_metrics;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use open_metrics::Written;
use pingora_core::apps::http_app::{HttpServer, ServeHttp};
use pingora_core::metrics::{self, Format, write_families};
use pingora_core::modules::http::compression::ResponseCompressionBuilder;
use pingora_core::protocols::http::ServerSession;
use pingora_core::services::listening::Service;
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;
use std::collections::HashSet;

/// The level at which the metrics are compressed, from 1 to 9: they are much text of few words, so that more
/// would cost time and save little.
const COMPRESSION_LEVEL: u32 = 5;

/// Answers every request, with any method and target, with the metrics of the framework and of the default
/// registry.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrometheusHttpApp;

/// A server of metrics, to be put into a service.
pub type PrometheusServer = HttpServer<PrometheusHttpApp>;

/// A server of metrics, which compresses them.
pub fn new_prometheus_server() -> PrometheusServer {
    let mut server = HttpServer::new_app(PrometheusHttpApp);
    server.add_module(ResponseCompressionBuilder::enable(COMPRESSION_LEVEL));
    server
}

/// A service of metrics. Endpoints have to be added; they should not be reachable for everybody.
pub fn prometheus_http_service() -> Service<PrometheusServer> {
    Service::new("Prometheus metric HTTP".into(), new_prometheus_server())
}

#[async_trait]
impl ServeHttp for PrometheusHttpApp {
    async fn response(&self, http_session: &mut ServerSession) -> Response<Vec<u8>> {
        let accept = http_session.get_header_bytes("accept");
        let accepted = Format::accepted(&String::from_utf8_lossy(accept));
        match exposition(accepted, &prometheus::gather()) {
            Ok((format, text)) => plain(StatusCode::OK, format, text),
            Err(error) => {
                // For instance a family of the program's own without a name.
                log::error!("metrics can't be written: {error}");
                plain(StatusCode::INTERNAL_SERVER_ERROR, accepted, String::new())
            }
        }
    }
}

/// All metrics: those of a program, and those of the framework.
fn exposition(
    accepted: Format,
    programs: &[MetricFamily],
) -> Result<(Format, String), prometheus::Error> {
    let mut own = metrics::gather();
    if accepted == Format::OpenMetrics
        && let Some(mut written) = Written::of(programs)
    {
        own.retain(|family| written.leaves_room_for(family));
        write_families(&own, accepted, &mut written.text);
        metrics::finish(accepted, &mut written.text);
        return Ok((accepted, written.text));
    }
    let mut text = TextEncoder::new().encode_to_string(programs)?;
    let taken: HashSet<&str> = programs.iter().map(MetricFamily::name).collect();
    own.retain(|family| !taken.contains(&*family.name));
    write_families(&own, Format::Prometheus, &mut text);
    metrics::finish(Format::Prometheus, &mut text);
    Ok((Format::Prometheus, text))
}

fn plain(status: StatusCode, format: Format, body: String) -> Response<Vec<u8>> {
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(format.content_type());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{IntCounter, IntGauge, Registry};

    #[test]
    fn what_a_program_has_is_not_there_twice() {
        let registry = Registry::new();
        let fds = IntGauge::new("process_open_fds", "The program's own.").unwrap();
        let things = IntCounter::new("things", "Things.").unwrap();
        let panics = IntCounter::new("pingora_panics_total", "Its panics.").unwrap();
        registry.register(Box::new(fds)).unwrap();
        registry.register(Box::new(things)).unwrap();
        registry.register(Box::new(panics)).unwrap();
        for (format, counter) in [
            (Format::OpenMetrics, "# TYPE pingora_reloads counter"),
            (Format::Prometheus, "# TYPE pingora_reloads_total counter"),
        ] {
            let (written, text) = exposition(format, &registry.gather()).unwrap();
            assert_eq!(written, format);
            let count = |line: &str| text.lines().filter(|found| *found == line).count();
            assert_eq!(count("# TYPE process_open_fds gauge"), 1);
            assert_eq!(count("process_open_fds 0"), 1, "{text}");
            assert_eq!(count("pingora_panics_total 0"), 1, "{text}");
            assert!(!text.contains("pingora_panics_total{"), "{text}");
            assert_eq!(count("things 0"), 1);
            assert_eq!(count(counter), 1);
            assert_eq!(text.ends_with("\n# EOF\n"), format == Format::OpenMetrics);
            assert!(count("# EOF") <= 1);
        }
    }

    #[test]
    fn what_openmetrics_has_no_words_for_is_in_the_other_format() {
        let registry = Registry::new();
        let gauge = IntGauge::new("things", "Things that are there.").unwrap();
        let counter = IntCounter::new("things_total", "Things that ever were.").unwrap();
        registry.register(Box::new(gauge)).unwrap();
        registry.register(Box::new(counter)).unwrap();
        let (format, text) = exposition(Format::OpenMetrics, &registry.gather()).unwrap();
        assert_eq!(format, Format::Prometheus);
        assert!(text.contains("\nthings 0\n") && text.contains("\nthings_total 0\n"));
    }
}
