//! `pingora-prometheus`.

use pingora::server::Server;
use pingora::services::listening::Service;
use pingora_prometheus::prometheus::{IntCounter, register_int_counter};
use pingora_prometheus::{
    PrometheusHttpApp, PrometheusServer, new_prometheus_server, prometheus_http_service,
};
use pingora_tests::TestServer;
use std::sync::LazyLock;

static SEEN: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!("requests_seen", "how many were seen").unwrap());

#[tokio::test]
async fn metrics_are_served_and_compressed_for_those_who_want_it() {
    SEEN.inc_by(7);
    let mut service: Service<PrometheusServer> = prometheus_http_service();
    service.add_tcp("127.0.0.1:0");
    let bound = service.bound_addresses();
    let mut server = Server::new(None).unwrap();
    server.bootstrap();
    server.add_service(service);
    let server = TestServer::start(server, bound).await;

    let mut client = server.connect().await;
    let plain = client.ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(plain.status(), 200);
    assert!(
        plain
            .header("Content-Type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(
        plain
            .text()
            .contains("# TYPE requests_seen counter\nrequests_seen 7\n")
    );
    let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
    let packed = client.ask(request).await;
    assert_eq!(packed.header("Content-Encoding"), Some("gzip"));
}

#[test]
fn the_items_of_prometheus() {
    let server: PrometheusServer = new_prometheus_server();
    let _: Service<PrometheusServer> = Service::new("metrics".to_string(), server);
    let _ = PrometheusHttpApp;
}
