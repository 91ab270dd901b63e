//! What Pebble does not know: an authority that says when to renew, and has profiles.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::connectors::ConnectorOptions;
use pingora::listeners::tls::{CertificateStore, TlsSettings};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::server::configuration::ServerConf;
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use pingora_acme::{Acme, DiskStorage, Issuer, Storage};
use pingora_tests::{Authority, TestServer, eventually};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer as Signer, KeyPair};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// Says of each certificate that it should have been renewed, and refuses the order.
#[derive(Clone, Default)]
struct Impatient {
    asked: Arc<Mutex<Vec<String>>>,
    orders: Arc<Mutex<Vec<Value>>>,
}

fn payload(body: &[u8]) -> Value {
    let message: Value = serde_json::from_slice(body).unwrap();
    let payload = message["payload"].as_str().unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[async_trait]
impl ServeHttp for Impatient {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = vec![];
        while let Ok(Some(part)) = session.read_request_body().await {
            body.extend_from_slice(&part);
        }
        let request = session.req_header();
        let authority = request.uri.authority().map(ToString::to_string);
        let host = authority.or_else(|| {
            let host = request.headers.get(http::header::HOST)?.to_str().ok()?;
            Some(host.to_string())
        });
        let base = format!("https://{}", host.unwrap_or_default());
        let (status, answer) = match request.uri.path() {
            "/dir" => (
                200,
                json!({
                    "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
                    "newOrder": format!("{base}/order"), "renewalInfo": format!("{base}/renewal"),
                    "meta": {"profiles": {"shortlived": "six days"}},
                }),
            ),
            "/account" => (201, json!({"status": "valid"})),
            "/order" => {
                let order = payload(&body);
                let (status, problem) = match order.get("replaces") {
                    Some(_) => (409, "urn:ietf:params:acme:error:alreadyReplaced"),
                    None => (429, "urn:ietf:params:acme:error:rateLimited"),
                };
                self.orders.lock().unwrap().push(order);
                (status, json!({"type": problem, "detail": "not today"}))
            }
            path => match path.strip_prefix("/renewal/") {
                Some(identifier) => {
                    self.asked.lock().unwrap().push(identifier.to_string());
                    let window =
                        json!({"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"});
                    (200, json!({"suggestedWindow": window}))
                }
                None => (200, json!({})),
            },
        };
        Response::builder()
            .status(StatusCode::from_u16(status).unwrap())
            .header("Replay-Nonce", "bm9uY2U")
            .header("Retry-After", "21600")
            .header("Location", format!("{base}/account/1"))
            .body(serde_json::to_vec(&answer).unwrap())
            .unwrap()
    }
}

/// A certificate that is valid for years, with its key.
fn certificate(name: &str) -> (String, String) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let signer = Signer::new(ca, ca_key);
    let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let made = params.signed_by(&key, &signer).unwrap();
    (made.pem(), key.serialize_pem())
}

fn server() -> Server {
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_when_the_authority_says_so() {
    let own = Authority::named("its own");
    let (chain, key) = own.issue(&["localhost"]);
    let authority = Impatient::default();
    let tls = TlsSettings::intermediate(chain.to_str().unwrap(), key.to_str().unwrap());
    let mut service = Service::new("authority".to_string(), authority.clone());
    service.add_tls_with_settings("127.0.0.1:0", None, tls.unwrap());
    let bound = service.bound_addresses();
    let mut running = server();
    running.add_service(service);
    let running = TestServer::start(running, bound).await;

    let directory = format!("https://localhost:{}/dir", running.address().port());
    let kept = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(kept.path()).unwrap();
    let (chain, key) = certificate("one.example");
    let value = json!({
        "names": ["one.example"], "issuer": directory, "on_demand": false, "chain": chain, "key": key,
    });
    let value = serde_json::to_vec(&value).unwrap();
    storage
        .write("certificates/one.example", &value)
        .await
        .unwrap();
    let mut options = ConnectorOptions::new(8);
    options.ca_file = Some(own.file().display().to_string());
    let issuer = Issuer::new(directory)
        .agree_to_terms()
        .profile("shortlived")
        .connector(options);
    let store = CertificateStore::new();
    let acme = Acme::builder(store.clone(), storage)
        .issuer(issuer)
        .certificate(["one.example"])
        .build()
        .unwrap();
    let mut looking = server();
    let mut idle = Service::new("idle".to_string(), authority.clone());
    idle.add_tcp("127.0.0.1:0");
    let bound = idle.bound_addresses();
    looking.add_service(idle);
    looking.add_service(background_service("acme", acme));
    let _looking = TestServer::start(looking, bound).await;

    eventually("an order is placed", || {
        authority.orders.lock().unwrap().len() == 2
    })
    .await;
    let asked = authority.asked.lock().unwrap().clone();
    let orders = authority.orders.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains('.'), "{asked:?}");
    assert_eq!(orders[0]["replaces"], json!(asked[0]));
    assert_eq!(orders[0]["profile"], json!("shortlived"));
    // Where the authority does not want one to replace the other, it is asked without that.
    assert_eq!(orders[1].get("replaces"), None);
    // The certificate is shown all the same.
    assert_eq!(store.certificates()[0].names, ["one.example"]);
}
