//! An authority that does not know its own nonces, as after a new start.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use http::{Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::connectors::ConnectorOptions;
use pingora::listeners::tls::{CertificateStore, TlsSettings};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::server::configuration::ServerConf;
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use pingora_acme::{Acme, DiskStorage, Issuer, RevocationReason, Storage};
use pingora_tests::{Authority, TestServer, eventually};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// More than the client's library takes by itself.
const REFUSALS: usize = 7;

/// Refuses the nonces of the first requests for each of its resources.
#[derive(Clone, Default)]
struct Forgetful {
    /// How often each was asked for, in a request with a nonce.
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl Forgetful {
    fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    /// The state of the order follows from what was asked for before.
    fn order(&self, path: &str, base: &str) -> Value {
        let status = match (self.asked("/challenge"), self.asked("/finalize")) {
            (..=REFUSALS, _) => "pending",
            (_, ..=REFUSALS) => "ready",
            _ if path == "/finalize" => "processing",
            _ => "valid",
        };
        json!({
            "status": status, "authorizations": [format!("{base}/authorization")],
            "finalize": format!("{base}/finalize"), "certificate": format!("{base}/certificate"),
        })
    }

    fn answer(&self, path: &str, base: &str) -> Value {
        let challenge = json!({"type": "http-01", "url": format!("{base}/challenge"), "token": "token", "status": "pending"});
        match path {
            "/dir" => json!({
                "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
                "newOrder": format!("{base}/order"), "revokeCert": format!("{base}/revoke"),
            }),
            "/account" => json!({"status": "valid"}),
            "/authorization" => json!({
                "status": "pending", "identifier": {"type": "dns", "value": "new.example"},
                "challenges": [challenge],
            }),
            "/challenge" => challenge,
            "/order" | "/order/1" | "/finalize" => self.order(path, base),
            // Not one that could be used: nothing is asked for after it.
            _ => json!({}),
        }
    }
}

#[async_trait]
impl ServeHttp for Forgetful {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        while let Ok(Some(_)) = session.read_request_body().await {}
        let request = session.req_header();
        let authority = request.uri.authority().map(ToString::to_string);
        let base = format!("https://{}", authority.unwrap_or_default());
        let path = request.uri.path().to_string();
        let refused = request.method == http::Method::POST && {
            let mut asked = self.asked.lock().unwrap();
            let times = asked.entry(path.clone()).or_default();
            *times += 1;
            *times <= REFUSALS
        };
        let (status, answer) = match (refused, path.as_str()) {
            (true, _) => (
                StatusCode::BAD_REQUEST,
                json!({"type": "urn:ietf:params:acme:error:badNonce", "detail": "never seen"}),
            ),
            (false, "/account" | "/order") => (StatusCode::CREATED, self.answer(&path, &base)),
            (false, _) => (StatusCode::OK, self.answer(&path, &base)),
        };
        Response::builder()
            .status(status)
            .header("Replay-Nonce", "bm9uY2U")
            .header("Location", format!("{base}{path}/1"))
            .body(serde_json::to_vec(&answer).unwrap())
            .unwrap()
    }
}

fn server() -> Server {
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    server
}

/// Keeps a certificate as if it had come from this authority.
async fn keep(storage: &DiskStorage, directory: &str, own: (&Path, &Path)) {
    let [chain, key] = [own.0, own.1].map(|file| std::fs::read_to_string(file).unwrap());
    let value = json!({
        "names": ["old.example"], "issuer": directory, "on_demand": false, "chain": chain, "key": key,
    });
    let value = serde_json::to_vec(&value).unwrap();
    storage
        .write("certificates/old.example", &value)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_nonces_are_not_the_end_of_an_order() {
    let own = Authority::named("its own");
    let (chain, key) = own.issue(&["localhost"]);
    let authority = Forgetful::default();
    let mut tls =
        TlsSettings::intermediate(chain.to_str().unwrap(), key.to_str().unwrap()).unwrap();
    tls.enable_h2();
    let mut service = Service::new("authority".to_string(), authority.clone());
    service.add_tls_with_settings("127.0.0.1:0", None, tls);
    let bound = service.bound_addresses();
    let mut running = server();
    running.add_service(service);
    let running = TestServer::start(running, bound).await;

    let directory = format!("https://localhost:{}/dir", running.address().port());
    let kept = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(kept.path()).unwrap();
    keep(&storage, &directory, (&chain, &key)).await;
    let mut options = ConnectorOptions::new(8);
    options.ca_file = Some(own.file().display().to_string());
    let acme = Acme::builder(CertificateStore::new(), storage)
        .issuer(Issuer::new(directory).agree_to_terms().connector(options))
        .certificate(["new.example"])
        .build()
        .unwrap();
    let acme = background_service("acme", acme);
    let task = acme.task();
    let mut ordering = server();
    let mut idle = Service::new("idle".to_string(), authority.clone());
    idle.add_tcp("127.0.0.1:0");
    let bound = idle.bound_addresses();
    ordering.add_service(idle);
    ordering.add_service(acme);
    let _ordering = TestServer::start(ordering, bound).await;

    // Each step, from the account on, is taken in the end.
    eventually("the certificate is sent", || {
        authority.asked("/certificate") > REFUSALS
    })
    .await;
    assert_eq!(authority.asked("/account"), REFUSALS + 1);
    assert_eq!(
        authority.asked("/order"),
        REFUSALS + 1,
        "one order is placed"
    );
    let revoked = task.revoke("old.example", RevocationReason::Superseded);
    revoked.await.unwrap();
    assert_eq!(authority.asked("/revoke"), REFUSALS + 1);
}
