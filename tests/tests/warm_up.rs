//! Connections to upstreams that are opened before the first client is served.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on ends by panicking"
)]

use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora_tests::{FixedUpstream, Origin, Refusing, proxy_with};

#[tokio::test]
async fn the_first_requests_use_connections_that_were_opened_in_advance() {
    let origin = Origin::well_behaved().await;
    let address = origin.address();
    let proxy = proxy_with(ServerConf::default(), FixedUpstream(address), |service| {
        service.set_warm_up(move |proxy| async move {
            let peer = HttpPeer::new(address, false, String::new());
            proxy.connect_in_advance(&peer, 3).await
        });
    })
    .await;
    let mut client = proxy.connect().await;
    let answer = client.ask("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.text(), "/a");
    assert_eq!(origin.connections(), 3, "none was opened for the request");
}

#[tokio::test]
async fn a_proxy_that_cannot_warm_up_serves_nevertheless() {
    let origin = Origin::well_behaved().await;
    let refusing = Refusing::new();
    let nobody = refusing.address();
    let proxy = proxy_with(
        ServerConf::default(),
        FixedUpstream(origin.address()),
        |service| {
            service.set_warm_up(move |proxy| async move {
                let peer = HttpPeer::new(nobody, false, String::new());
                proxy.connect_in_advance(&peer, 1).await
            });
        },
    )
    .await;
    let mut client = proxy.connect().await;
    let answer = client.ask("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.text(), "/b");
}
