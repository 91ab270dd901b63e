//! A proxy whose upstream is chosen by the first part of the path.

use super::certificates::Signed;
use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::ProxyServiceBuilder;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::Peer;
use pingora_tests::{Message, TestServer, keep_log, log_lines, logged};
use std::collections::HashMap;
use std::sync::Arc;

/// Peers by the first part of the path, without slashes.
#[derive(Clone, Default)]
pub struct Routes(pub HashMap<String, HttpPeer>);

impl Routes {
    pub fn add(&mut self, name: &str, peer: HttpPeer) {
        assert!(self.0.insert(name.to_string(), peer).is_none(), "{name}");
    }

    /// Starts the proxy.
    pub async fn start(self) -> TestServer {
        keep_log();
        let conf = ServerConf {
            threads: 1,
            ..ServerConf::default()
        };
        let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
        server.bootstrap();
        let mut builder = ProxyServiceBuilder::new(&server.configuration, self);
        if let Some(backend) = crate::backend() {
            builder = builder.tls_backend(backend);
        }
        let mut service = builder.build();
        service.add_tcp("127.0.0.1:0");
        let bound = service.bound_addresses();
        server.add_service(service);
        TestServer::start(server, bound).await
    }
}

#[async_trait]
impl ProxyHttp for Routes {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let path = session.req_header().uri.path();
        let name = path.split('/').nth(1).unwrap_or_default();
        Ok(Box::new(self.0[name].clone()))
    }
}

/// Has this peer trust this authority and nobody else.
pub fn trusting(mut peer: HttpPeer, root: &Signed) -> HttpPeer {
    if let Some(options) = peer.get_mut_peer_options() {
        options.ca = Some(Arc::new(vec![root.certificate.clone()].into_boxed_slice()));
    }
    peer
}

/// One request for a path.
pub async fn get(server: &TestServer, path: &str) -> Message {
    let mut client = server.connect().await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n");
    client.ask(request).await
}

/// Asks for a path, which has to be answered with 502, and returns the line about it in the log.
pub async fn refused(server: &TestServer, path: &str) -> String {
    let answer = get(server, path).await;
    assert_eq!(answer.status(), 502, "{path}: {:?}", log_lines(path));
    // The reason is for the log, and for nobody outside.
    let text = String::from_utf8_lossy(&answer.body).to_lowercase();
    assert!(
        !text.contains("certificate") && !text.contains("tls"),
        "{text}"
    );
    logged(path).await
}
