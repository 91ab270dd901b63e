//! A proxy with automatic certificates, from an authority that speaks ACME, such as Let's Encrypt.
//!
//! ```sh
//! # Certificates for two names, of an authority for trying things out. Port 80 and 443 of the names lead here.
//! cargo run --example acme -- --name one.example --name www.one.example --agree
//! # For any name below one of these, when a client asks for it.
//! cargo run --example acme -- --on-demand tenants.example --agree
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::connectors::ConnectorOptions;
use pingora::listeners::BoundAddresses;
use pingora::listeners::tls::{CertificateStore, TlsSettings};
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use pingora_acme::{Acme, DiskStorage, Issuer, OnDemand};
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin};
use std::process::ExitCode;

/// A proxy whose certificates come by themselves
#[derive(Parser)]
struct Cli {
    /// Answer HTTPS at this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:443")]
    listen: String,

    /// Answer the authority at this address, and send everybody else to HTTPS
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:80")]
    listen_http: String,

    /// A certificate for this name, any number of times
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,

    /// A certificate for each name below this one that a client asks for
    #[arg(long, value_name = "NAME")]
    on_demand: Vec<String>,

    /// The authority [default: Let's Encrypt for trying things out]
    #[arg(long, value_name = "URL")]
    directory: Option<String>,

    /// Whom to trust to be the authority, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,

    /// Agree to the authority's terms of service
    #[arg(long)]
    agree: bool,

    /// Where accounts, keys and certificates are kept
    #[arg(long, value_name = "DIRECTORY", default_value = "/tmp/pingora-acme")]
    storage: String,

    #[command(flatten)]
    server: Opt,
}

impl Cli {
    fn issuer(&self) -> Issuer {
        let issuer = match &self.directory {
            Some(directory) => Issuer::new(directory),
            None => Issuer::lets_encrypt_staging(),
        };
        let mut options = ConnectorOptions::new(8);
        options.ca_file.clone_from(&self.ca_file);
        let issuer = issuer.connector(options);
        if self.agree {
            issuer.agree_to_terms()
        } else {
            issuer
        }
    }

    fn acme(&self, store: CertificateStore) -> Result<Acme> {
        let mut acme =
            Acme::builder(store, DiskStorage::open(&self.storage)?).issuer(self.issuer());
        for name in &self.name {
            acme = acme.certificate([name]);
        }
        if !self.on_demand.is_empty() {
            let parents: Vec<String> = self
                .on_demand
                .iter()
                .map(|name| format!(".{name}"))
                .collect();
            let rule = move |name: &str| parents.iter().any(|parent| name.ends_with(parent));
            acme = acme.on_demand(OnDemand::new(rule).most_names(100).orders_per_hour(10));
        }
        acme.build()
    }
}

struct Proxy {
    origin: BoundAddresses,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("info");
    exit_code(serve(&cli))
}

fn serve(cli: &Cli) -> Result<()> {
    let mut server = Server::new(cli.server.clone())?;
    server.bootstrap();

    let store = CertificateStore::new();
    // A name that nobody has a certificate for is refused, instead of being shown another one's.
    store.refuse_unknown_names(true);
    let acme = cli.acme(store.clone())?;
    let mut tls = TlsSettings::with_store(store)?;
    tls.enable_h2();

    // On port 80: answers for the authority, the way to HTTPS for everybody else.
    let mut challenges = Service::new("http-01".to_string(), acme.http01());
    challenges.add_tcp(&cli.listen_http);
    let origin = origin("the origin");
    let proxy = Proxy {
        origin: origin.bound_addresses(),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tls_with_settings(&cli.listen, None, tls);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        let port = address.port();
        format!(
            "Try, once a certificate is in force:\n\n    curl https://NAME:{port}/\n\nCtrl-C stops it."
        )
    });

    server.add_service(challenges);
    server.add_service(origin);
    // What is kept is read before the proxy listens.
    let acme = server.add_service(background_service("acme", acme));
    server.add_service(proxy).add_dependency(&acme);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
