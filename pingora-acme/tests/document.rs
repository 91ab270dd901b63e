//! The code of `docs/acme.md`.

#![allow(dead_code, reason = "what stands in the documents does not run")]

use async_trait::async_trait;
use pingora::listeners::tls::{CertificateStore, TlsSettings};
use pingora::prelude::*;
use pingora::proxy::HttpProxy;
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use pingora_acme::{Acme, AcmeBuilder, DiskStorage, Http01, Issuer, OnDemand, RevocationReason};
use std::sync::Arc;

fn serve(mut server: Server, mut proxy: Service<HttpProxy<Proxy>>) -> Result<()> {
    let store = CertificateStore::new();
    let acme = Acme::builder(store.clone(), DiskStorage::open("/var/lib/proxy/acme")?)
        .issuer(
            Issuer::lets_encrypt()
                .agree_to_terms()
                .contact("mailto:admin@one.example"),
        )
        .certificate(["one.example", "www.one.example"])
        .build()?;
    let mut tls = TlsSettings::with_store(store)?;
    tls.enable_h2();

    let mut challenges = Service::new("http-01".to_string(), acme.http01());
    challenges.add_tcp("0.0.0.0:80");
    let acme = server.add_service(background_service("acme", acme));
    proxy.add_tls_with_settings("0.0.0.0:443", None, tls);
    server.add_service(challenges);
    server.add_service(proxy).add_dependency(&acme);
    Ok(())
}

fn on_demand(mut acme: AcmeBuilder) -> AcmeBuilder {
    let rule = move |name: &str| name.ends_with(".tenants.example");
    acme = acme.on_demand(OnDemand::new(rule).most_names(100).orders_per_hour(10));
    acme
}

async fn revoke(acme: Arc<Acme>) -> Result<()> {
    acme.revoke("one.example", RevocationReason::KeyCompromise)
        .await?;
    Ok(())
}

struct Proxy {
    http01: Http01,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        self.http01.answer(session).await
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new("10.0.0.1:80", false, String::new())))
    }
}
