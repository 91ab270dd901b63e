//! Ready-made modules in front of an origin: client identity, access rules, request identifiers, pages of other
//! origins, passwords, security headers, redirects, rewrites; early hints and error pages.
//!
//! ```sh
//! cargo run --example ready_modules
//! ```

use async_trait::async_trait;
use clap::Parser;
use pingora::http::StatusCode;
use pingora::listeners::BoundAddresses;
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::protocols::l4::Networks;
use pingora::proxy::modules::{
    Authenticated, BasicAuth, ClientCert, Cors, CorsCheck, EarlyHints, ErrorPages, Forwarded,
    ForwardedFields, IpRules, NamedRequest, Redirects, RequestId, Rewrites, SecurityHeaders,
};
use pingora::proxy::{FailToProxy, http_proxy_service_with_name};
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin, say};
use std::process::ExitCode;

/// A proxy that consists of ready-made modules
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6190")]
    listen: String,

    /// The networks of trusted proxies in front
    #[arg(long, value_name = "NETWORKS", default_value = "")]
    trust: String,

    /// The networks whose clients are refused
    #[arg(long, value_name = "NETWORKS", default_value = "192.0.2.0/24")]
    deny: String,

    #[command(flatten)]
    server: Opt,
}

struct Proxy {
    origin: BoundAddresses,
    forwarded: ForwardedFields,
    denied: Networks,
    cors: Cors,
    auth: BasicAuth,
    pages: ErrorPages,
    hints: EarlyHints,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    /// They run in an order of their own, which the documentation of `modules` states.
    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let rules = IpRules::new().deny(self.denied.clone());
        modules.add_module(Box::new(rules.behind(self.forwarded.clone())));
        modules.add_module(Box::new(self.forwarded.clone()));
        modules.add_module(Box::new(RequestId::new()));
        modules.add_module(Box::new(self.cors.clone()));
        modules.add_module(Box::new(self.auth.clone()));
        modules.add_module(Box::new(SecurityHeaders::new()));
        let redirects = Redirects::new().below("/old", "/new", StatusCode::PERMANENT_REDIRECT);
        modules.add_module(Box::new(redirects));
        // There is no TLS here: it only removes what clients send under the field's name.
        modules.add_module(Box::new(ClientCert::new()));
    }

    /// The upstream has another name for a path, which clients don't see.
    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(Rewrites::new().below("/api/v1", "/v1")));
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        let check = session.downstream_modules_ctx.get_mut::<CorsCheck>();
        if let Some(answer) = check.and_then(CorsCheck::preflight) {
            session.write_response_header(answer, true).await?;
            return Ok(true);
        }
        self.hints.send(session).await?;
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let addresses = self.origin.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, _ctx: &mut ()) -> FailToProxy {
        self.pages.fail(session, e).await
    }

    /// The results of the modules, in an access log.
    async fn logging(&self, session: &mut Session, _error: Option<&Error>, _ctx: &mut ()) {
        let modules = &session.downstream_modules_ctx;
        let client = modules.get::<Forwarded>().and_then(Forwarded::client);
        let client = client.and_then(|client| client.address());
        let client = client.map_or("-".to_string(), |address| address.to_string());
        let user = modules.get::<Authenticated>().and_then(Authenticated::user);
        let id = modules.get::<NamedRequest>().map_or("-", NamedRequest::id);
        let status = session.response_written().map_or(0, |r| r.status.as_u16());
        let path = session.req_header().uri.path();
        say(format_args!(
            "{client} {} {status} {path} {id}",
            user.unwrap_or("-")
        ));
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
    let cors = Cors::of(&["https://app.example"])?.headers("Authorization")?;
    let proxy = Proxy {
        origin: origin.bound_addresses(),
        forwarded: ForwardedFields::trusting(cli.trust.parse()?).with_via("example"),
        denied: cli.deny.parse()?,
        cors: cors.credentials(),
        // A real program reads this from its store of secrets.
        auth: BasicAuth::new("example")?
            .user("ada", "lovelace")?
            .admit_preflight(),
        pages: ErrorPages::new()
            .with_footer("The example `ready_modules`")
            .with_proxy_status("example"),
        hints: EarlyHints::new()
            .below("/", "</style.css>; rel=preload; as=style")?
            .over_http1(),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Try, and see what the origin is told:\n\n    \
             curl -i -u ada:lovelace http://{address}/ -H 'X-Forwarded-For: 8.8.8.8'\n    \
             curl -i http://{address}/\n\nCtrl-C stops it. Here is the access log:"
        )
    });
    server.add_service(origin);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
