//! A server that answers each request with what it knows about its TLS session.

use async_trait::async_trait;
use http::Response;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::listeners::tls::{HandshakeCounters, HandshakeFailure, TlsSettings};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::protocols::tls::SslDigest;
use pingora::server::configuration::ServerConf;
use pingora::server::{ReloadHandle, RunArgs};
use pingora::services::listening::Service;
use pingora::utils::tls::get_common_name;
use pingora_tests::{TestServer, eventually, keep_log};
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) struct Reporter {
    server: TestServer,
    counters: Arc<HandshakeCounters>,
    reload: ReloadHandle,
}

impl Reporter {
    /// Tries to start one that does not start.
    pub(crate) fn refused(mut settings: TlsSettings) -> String {
        crate::choose_library(&mut settings);
        let mut server = Server::new_with_opt_and_conf(None::<Opt>, ServerConf::default());
        server.bootstrap();
        let mut service = Service::new("report".into(), HttpServer::new_app(Report));
        service.add_tls_with_settings("127.0.0.1:0", None, settings);
        server.add_service(service);
        let ended = server.try_run(RunArgs::default());
        ended.expect_err("it does not start").to_string()
    }

    /// Starts one.
    pub(crate) async fn start(mut settings: TlsSettings) -> Self {
        // Without a log, a reload that fails, as some should, is reported on standard error.
        keep_log();
        crate::choose_library(&mut settings);
        let conf = ServerConf {
            threads: 2,
            ..ServerConf::default()
        };
        let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
        server.bootstrap();
        let counters = settings.handshake_counters();
        let mut service = Service::new("report".into(), HttpServer::new_app(Report));
        service.add_tls_with_settings("127.0.0.1:0", None, settings);
        let bound = service.bound_addresses();
        server.add_service(service);
        let reload = server.reload_handle();
        let server = TestServer::start(server, bound).await;
        Reporter {
            server,
            counters,
            reload,
        }
    }

    /// Reloads, as SIGHUP does.
    pub(crate) async fn reload(&self) -> Result<()> {
        self.reload.reload().await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn counters(&self) -> &HandshakeCounters {
        &self.counters
    }

    /// Waits until so many handshakes have failed for this reason.
    pub(crate) async fn failed(&self, failure: HandshakeFailure, count: u64) {
        let what = format!("{count} x {failure:?}: {:?}", self.counters);
        eventually(&what, || self.counters.failed(failure) == count).await;
    }
}

struct Report;

#[async_trait]
impl ServeHttp for Report {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let digest = session.digest().unwrap();
        let tls = digest.ssl_digest.as_deref().unwrap();
        let waited = digest.timing_digest.iter().flatten();
        let waited = waited.filter_map(|layer| layer.offload_wait_duration);
        let offloaded = waited.count() > 0;
        let text = format!("{}offloaded={offloaded}\n", report(tls));
        Response::new(text.into_bytes())
    }
}

fn report(tls: &SslDigest) -> String {
    let chain: Vec<_> = tls.peer_chain().iter().map(get_common_name).collect();
    let mut text = format!(
        "version={}\ncipher={}\nname={:?}\nalpn={:?}\nresumed={}\nchain={chain:?}\nsubject={:?}\n\
         organisation={:?}\nserial={:?}\ndigest={}\nkept={:?}\n",
        tls.version,
        tls.cipher,
        tls.server_name(),
        tls.alpn(),
        tls.is_resumed(),
        tls.verified_subject(),
        tls.organization,
        tls.serial_number,
        tls.cert_digest.len(),
        tls.extension.get::<String>(),
    );
    if let Some(hello) = tls.client_hello() {
        text += &format!("ja4={}\n", crate::fingerprint::ja4(hello));
    }
    text
}
