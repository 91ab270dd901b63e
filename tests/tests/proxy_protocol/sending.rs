//! Upstreams that expect a header.

use super::together;
use async_trait::async_trait;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::protocols::proxy_protocol::{ProxyVersion, kind};
use pingora_tests::{Authority, Connection, Haproxy, Nginx, TestServer, proxy};
use std::net::SocketAddr;

/// A proxy that tells its upstream which client's connection it forwards.
#[derive(Clone)]
struct Introduce {
    upstream: SocketAddr,
    version: ProxyVersion,
    /// Whether to use TLS, and with which ALPN.
    tls: Option<ALPN>,
}

#[async_trait]
impl ProxyHttp for Introduce {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream, self.tls.is_some(), "back.example".into());
        peer.options.verify_cert = false;
        if let Some(alpn) = &self.tls {
            peer.options.alpn = alpn.clone();
        }
        let digest = session.digest().and_then(|d| d.socket_digest.as_ref());
        let header = digest.expect("there is a socket").to_proxy_header();
        let header = header.with_tlv(kind::AUTHORITY, b"a.example");
        let header = header.expect("it fits").with_checksum();
        peer.options.send_proxy_header(&header, self.version);
        Ok(Box::new(peer))
    }
}

async fn ask(server: &TestServer) -> (Connection, String) {
    let mut connection = server.connect().await;
    let text = ask_again(&mut connection).await;
    (connection, text)
}

async fn ask_again(connection: &mut Connection) -> String {
    let answer = connection.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.status(), 200);
    answer.text().to_string()
}

const VERSIONS: [ProxyVersion; 2] = [ProxyVersion::V1, ProxyVersion::V2];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_learns_who_the_client_is() {
    let authority = Authority::new();
    let certificate = together(&authority.issue(&["back.example"]));
    let format = "%[src]:%[src_port] %[dst]:%[dst_port] %[fc_pp_authority]";
    let plain = Haproxy::answering("accept-proxy", format);
    let tls = format!(
        "accept-proxy ssl alpn h2,http/1.1 crt {}",
        certificate.display()
    );
    let tls = Haproxy::answering(&tls, format);
    let rows = [
        (&plain, None),
        (&tls, Some(ALPN::H1)),
        (&tls, Some(ALPN::H2)),
    ];
    for version in VERSIONS {
        for (haproxy, tls) in &rows {
            let server = proxy(Introduce {
                upstream: haproxy.address(),
                version,
                tls: tls.clone(),
            })
            .await;
            let (client, text) = ask(&server).await;
            let expected = format!("{} {} ", client.local_address(), server.address());
            assert!(text.starts_with(&expected), "{version:?} {tls:?}: {text}");
            assert_eq!(
                text.ends_with("a.example"),
                version == ProxyVersion::V2,
                "{text}"
            );
        }
    }
}

const NAMED: &str =
    "location / { return 200 \"$proxy_protocol_addr:$proxy_protocol_port by $connection\"; }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_learns_who_the_client_is_and_no_connection_is_used_for_another() {
    let authority = Authority::new();
    let plain = Nginx::with_proxy_protocol(NAMED);
    let tls = Nginx::with_proxy_protocol_and_tls(&authority.issue(&["back.example"]), NAMED);
    let rows = [
        (&plain, None),
        (&tls, Some(ALPN::H1)),
        (&tls, Some(ALPN::H2)),
    ];
    for version in VERSIONS {
        for (nginx, tls) in &rows {
            let server = proxy(Introduce {
                upstream: nginx.address(),
                version,
                tls: tls.clone(),
            })
            .await;
            let (mut one, first) = ask(&server).await;
            let (other, second) = ask(&server).await;
            for (client, text) in [(&one, &first), (&other, &second)] {
                let expected = format!("{} by ", client.local_address());
                assert!(text.starts_with(&expected), "{version:?} {tls:?}: {text}");
            }
            // A client's connection is used for its next request, and for no other client's.
            assert_eq!(ask_again(&mut one).await, first, "{version:?} {tls:?}");
        }
    }
}
