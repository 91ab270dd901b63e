//! A load balancer whose clients stay with their first upstream, by means of a cookie that it signs.
//!
//! ```sh
//! cargo run --example sticky
//! cargo run --example sticky -- --upstream 127.0.0.1:8001 --upstream 127.0.0.1:8002 --key 'the new one ...' --key 'the old one ...'
//! ```
//!
//! Without `--upstream` it starts three small origins.

use async_trait::async_trait;
use clap::Parser;
use pingora::http::ResponseHeader;
use pingora::lb::discovery::Static;
use pingora::lb::selection::PeakEwma;
use pingora::lb::sticky::{Sticky, StickyCookie};
use pingora::lb::{Backends, Tries, Upstreams};
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, backends, exit_code, log_to_stderr, origin};
use std::process::ExitCode;
use std::time::Duration;

/// Keeps clients at their upstream
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    /// Balance over this upstream; may be given several times [default: three origins of its own]
    #[arg(long, value_name = "IP:PORT")]
    upstream: Vec<String>,

    /// A key of the cookies, at least 16 bytes; the first one signs, the others still verify
    #[arg(long, value_name = "TEXT", default_value = "replace this by a secret")]
    key: Vec<String>,

    #[command(flatten)]
    server: Opt,
}

impl Cli {
    fn sticky(&self) -> Result<Sticky> {
        let cookie = StickyCookie::new("backend", &self.key)?
            .max_age(Duration::from_secs(24 * 3600))
            // The example speaks plain HTTP; over TLS, leave this line out.
            .secure(false);
        Ok(Sticky::by_cookie(cookie))
    }
}

struct Balancer(Upstreams<PeakEwma>);

#[async_trait]
impl ProxyHttp for Balancer {
    /// The upstreams that a request has tried.
    type CTX = Tries;

    fn new_ctx(&self) -> Tries {
        Tries::default()
    }

    /// Reads the cookie.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>> {
        self.0.peer(session, b"", tries)
    }

    /// A client whose upstream can't be reached is sent to another one, and stays there.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        tries: &mut Tries,
        error: Box<Error>,
    ) -> Box<Error> {
        self.0.fail_to_connect(tries, error)
    }

    /// Writes the cookie, if the client needs a new one.
    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        tries: &mut Tries,
    ) -> Result<()> {
        self.0.stick(tries, response)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(&cli))
}

fn serve(cli: &Cli) -> Result<()> {
    let mut server = Server::new(cli.server.clone())?;
    server.bootstrap();

    let set = match cli.upstream.as_slice() {
        [] => origins(&mut server),
        given => {
            let found = Static::try_from_iter(given);
            Backends::new(found.or_err(ErrorType::ConnectNoRoute, "--upstream")?)
        }
    };
    // As a background service, it asks the set for its members.
    let balancer = background_service("upstreams", LoadBalancer::from_backends(set));
    let upstreams = Upstreams::new(balancer.task()).sticky(cli.sticky()?);
    let name = "sticky";
    let mut proxy = http_proxy_service_with_name(&server.configuration, Balancer(upstreams), name);
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Be one client, and then many:\n\n    \
             for i in 1 2 3 4; do curl -s -b jar -c jar http://{address}/; done\n    \
             for i in 1 2 3 4; do curl -s http://{address}/; done\n\nCtrl-C stops it."
        )
    });

    let balancer = server.add_service(balancer);
    let proxy = server.add_service(proxy);
    proxy.add_dependency(&balancer);
    let announcement = server.add_service(background_service("announcement", announcement));
    announcement.add_dependency(&proxy);
    server.try_run(RunArgs::default())
}

/// Starts three origins in the server.
fn origins(server: &mut Server) -> Backends {
    let names = ["the first origin", "the second origin", "the third origin"];
    let origins = names.map(origin);
    let addresses = origins.iter().map(|origin| origin.bound_addresses());
    let addresses = addresses.collect();
    for origin in origins {
        server.add_service(origin);
    }
    backends(addresses, &[])
}
