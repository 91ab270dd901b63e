//! Services with minimal applications.

use async_trait::async_trait;
use http::Response;
use pingora::apps::http_app::ServeHttp;
use pingora::prelude::*;
use pingora::protocols::TcpKeepalive;
use pingora::protocols::http::ServerSession;
use pingora::services::listening::Service;
use pingora_tests::{Ask, TestServer, Version};
use std::time::Duration;

struct Echo;

#[async_trait]
impl ServeHttp for Echo {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let path = session.req_header().uri.path().to_string();
        Response::builder().status(200).body(path.into()).unwrap()
    }
}

#[tokio::test]
async fn a_service_over_a_bare_serve_http() {
    let mut server = Server::new(None).unwrap();
    server.bootstrap();
    let mut service = Service::new("echo".to_string(), Echo);
    service.add_tcp("127.0.0.1:0");
    let bound = service.bound_addresses();
    server.add_service(service);
    let server = TestServer::start(server, bound).await;
    for path in ["/a", "/b"] {
        let answer = Ask::get(path)
            .answered_over(Version::H1, server.address())
            .await;
        assert_eq!(answer.body, path.as_bytes());
    }
}

#[test]
fn keep_alive_of_tcp_is_set_by_its_short_name() {
    let probes = TcpKeepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(5),
        count: 5,
        user_timeout: Duration::ZERO,
    };
    let mut peer = HttpPeer::new("127.0.0.1:1", false, String::new());
    peer.options.tcp_keepalive = Some(probes);
    assert!(peer.options.tcp_keepalive.is_some());
}
