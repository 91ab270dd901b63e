//! Retries a request at the next origin: if one is down, if one answers 503, but never so often that
//! retries become a load of their own.
//!
//! ```sh
//! cargo run --example retry_on_status
//! ```

use async_trait::async_trait;
use clap::Parser;
use http::Response;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::http::ResponseHeader;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{RetryBudget, RetryPolicy, http_proxy_service_with_name};
use pingora::server::RunArgs;
use pingora::services::listening::Service;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin, say};
use std::process::ExitCode;
use std::time::Duration;

/// A proxy that tries again
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

struct Proxy {
    /// In the order in which they are tried.
    origins: [BoundAddresses; 2],
    policy: RetryPolicy,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    /// Chooses a peer that has not failed this request yet.
    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let tried = session.failed_tries().len();
        match self.origins.get(tried) {
            Some(origin) => {
                let addresses = origin.wait().await?;
                Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
            }
            None => Error::e_explain(HTTPStatus(503), "all origins have failed"),
        }
    }

    fn retry_policy<'a>(&'a self, _session: &Session, _ctx: &()) -> Option<&'a RetryPolicy> {
        Some(&self.policy)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        let tries = session.failed_tries().len() + 1;
        response.insert_header("X-Tries", tries.to_string())
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut ()) {
        for failed in session.failed_tries() {
            let why = match failed.status {
                Some(status) => format!("answered {status}"),
                None => failed.error.as_str().to_string(),
            };
            say(format_args!("a try at {} failed: {why}", failed.address));
        }
        say(self.request_summary(session, ctx));
    }
}

/// An origin that is always too busy.
struct Busy;

#[async_trait]
impl ServeHttp for Busy {
    async fn response(&self, _session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut response = Response::new(b"too busy\n".to_vec());
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        response
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("error");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let mut server = Server::new(cli.server)?;
    server.bootstrap();

    let mut busy = Service::new("a busy origin".into(), HttpServer::new_app(Busy));
    busy.add_tcp("127.0.0.1:0");
    busy.threads = Some(1);
    let good = origin("the good origin");
    let proxy = Proxy {
        origins: [busy.bound_addresses(), good.bound_addresses()],
        policy: RetryPolicy::new(2)
            .on_status([502, 503])
            .per_try_timeout(Duration::from_secs(5))
            .budget(RetryBudget::new(0.2, 10)),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "The first of two origins answers 503 to everything. A GET is tried again at the second; a \
             POST is not,\nbecause an upstream might act on it twice:\n\n    \
             curl -i http://{address}/\n    \
             curl -i http://{address}/ -d text\n\n\
             Ctrl-C stops it. Here is what was tried:"
        )
    });

    server.add_service(busy);
    server.add_service(good);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
