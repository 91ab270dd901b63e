//! Metrics for Prometheus over HTTP.
//!
//! A program registers its metrics with the default registry of the crate [`prometheus`], which is re-exported so
//! that both use the same one. [`prometheus_http_service`] answers every request with all of them, compressed for
//! clients that accept it.
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
//! Page in the repository: `docs/migrating.md`, for differences from the crate of the same name.
#![forbid(unsafe_code)]

pub use prometheus;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora_core::apps::http_app::{HttpServer, ServeHttp};
use pingora_core::modules::http::compression::ResponseCompressionBuilder;
use pingora_core::protocols::http::ServerSession;
use pingora_core::services::listening::Service;
use prometheus::{Encoder, TextEncoder};

/// The level at which the metrics are compressed, from 1 to 9: they are much text of few words, so that more
/// would cost time and save little.
const COMPRESSION_LEVEL: u32 = 5;

/// Answers every request, whatever its method and target, with the metrics of the default registry in the
/// text format of Prometheus.
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
    async fn response(&self, _http_session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = Vec::new();
        let encoder = TextEncoder::new();
        let written = encoder.encode(&prometheus::gather(), &mut body);
        if let Err(error) = written {
            // For instance a registry of the program's own without a name.
            log::error!("metrics can't be written: {error}");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, Vec::new());
        }
        plain(StatusCode::OK, body)
    }
}

fn plain(status: StatusCode, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let format = header::HeaderValue::from_static(prometheus::TEXT_FORMAT);
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    response
}
