//! Two custom modules, which any proxy can use: one on the client side, one on the upstream side.
//!
//! ```sh
//! cargo run --example use_module
//! ```

mod access;
mod signature;

use access::AccessBuilder;
use async_trait::async_trait;
use clap::Parser;
use pingora::http::RequestHeader;
use pingora::listeners::BoundAddresses;
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin, say};
use signature::SignatureBuilder;
use std::process::ExitCode;

/// A proxy with modules
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

/// The context of a request, which modules and phases share: the caller.
#[derive(Default)]
struct Tenant(&'static str);

/// Keys, and their owners.
const KEYS: &[(&str, &str)] = &[("key-of-alice", "alice"), ("key-of-bob", "bob")];

/// The secret shared by the proxy and its upstreams.
const SECRET: &str = "change-me";

struct Proxy {
    origin: BoundAddresses,
    signature: SignatureBuilder,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Tenant;

    fn new_ctx(&self) -> Tenant {
        Tenant::default()
    }

    /// Called once, when the service is created.
    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(AccessBuilder { keys: KEYS }));
    }

    /// Called once, when the service is created.
    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(self.signature.clone()));
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _tenant: &mut Tenant,
    ) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    /// Runs before the module that signs, which therefore signs the path that is sent.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        _tenant: &mut Tenant,
    ) -> Result<()> {
        let path = session.req_header().uri.path_and_query();
        let path = format!("/v1{}", path.map_or("/", |path| path.as_str()));
        upstream_request.set_raw_path(path.as_bytes())
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, tenant: &mut Tenant) {
        let status = session.response_written().map_or(0, |r| r.status.as_u16());
        let name = Some(tenant.0).filter(|name| !name.is_empty());
        let path = session.req_header().uri.path();
        say(format_args!("{status} {} {path}", name.unwrap_or("nobody")));
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let mut server = Server::new(cli.server)?;
    server.bootstrap();

    let origin = origin("the origin");
    let proxy = Proxy {
        origin: origin.bound_addresses(),
        signature: SignatureBuilder::new(SECRET)?,
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "One module asks clients for a key, the other one signs what the origin gets:\n\n    \
             curl -i http://{address}/orders\n    \
             curl -i http://{address}/orders -H 'X-Api-Key: key-of-alice'\n\n\
             The signature that the origin shows is the one of\n\n    \
             printf 'GET /v1/orders alice' | openssl dgst -sha256 -hmac {SECRET}\n\n\
             Ctrl-C stops it. Here is who asks for what:"
        )
    });

    server.add_service(origin);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
