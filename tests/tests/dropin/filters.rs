//! Connection filters.

use async_trait::async_trait;
use pingora::listeners::ConnectionFilter;
use pingora::server::configuration::ServerConf;
use pingora_tests::{Connection, FixedUpstream, Origin, proxy_with};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Never decides about the first connection, closes the second, admits the others.
#[derive(Debug, Default)]
struct Slow(AtomicUsize);

#[async_trait]
impl ConnectionFilter for Slow {
    async fn should_accept(&self, addr: Option<&SocketAddr>) -> bool {
        assert!(addr.is_some_and(|addr| addr.ip().is_loopback()));
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => std::future::pending().await,
            asked => {
                tokio::task::yield_now().await;
                asked > 1
            }
        }
    }
}

#[tokio::test]
async fn a_filter_that_waits_holds_up_nobody_else() {
    let origin = Origin::scripted(|mut connection: Connection, _| async move {
        while connection.request_head().await.is_some() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            connection.send(answer).await;
        }
    })
    .await;
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let filter = Arc::new(Slow::default());
    let asked = filter.clone();
    let upstream = FixedUpstream(origin.address());
    let server = proxy_with(conf, upstream, |service| {
        service.set_connection_filter(filter);
    })
    .await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut waiting = server.connect().await;
    waiting.send(request).await;
    pingora_tests::eventually("the filter is asked", || {
        asked.0.load(Ordering::Relaxed) == 1
    })
    .await;
    let mut refused = server.connect().await;
    // It may be closed before this is sent.
    let _ = refused.try_send(request).await;
    refused.closed().await;
    let mut served = server.connect().await;
    assert_eq!(served.ask(request).await.status(), 200);
}
