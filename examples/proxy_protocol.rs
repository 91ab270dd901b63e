//! A proxy behind a proxy: both use the PROXY protocol to tell the next server which client's connection
//! they forward.
//!
//! ```sh
//! cargo run --example proxy_protocol
//! ```
//!
//! The balancer in front (here: curl) names the client to the proxy, and the proxy names it to the application.

use async_trait::async_trait;
use clap::Parser;
use http::Response;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::listeners::{BoundAddresses, ListenerConfig, ProxyProtocol};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::Networks;
use pingora::protocols::proxy_protocol::ProxyVersion;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora::services::listening::Service;
use pingora_examples::{Announcement, exit_code, log_to_stderr};
use std::process::ExitCode;

/// A proxy that learns by the PROXY protocol who its clients are, and passes that on
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6189")]
    listen: String,

    /// The networks of the balancers in front, which are believed
    #[arg(long, value_name = "NETWORKS", default_value = "127.0.0.0/8, ::1")]
    trust: String,

    /// Serve clients from elsewhere too, as who they are
    #[arg(long)]
    admit_others: bool,

    #[command(flatten)]
    server: Opt,
}

/// Tells each client its address.
struct Application;

#[async_trait]
impl ServeHttp for Application {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let socket = session
            .digest()
            .and_then(|digest| digest.socket_digest.as_ref());
        let client = socket.and_then(|socket| socket.peer_addr());
        let proxy = socket.and_then(|socket| socket.transport_peer_addr());
        let text = match (client, proxy) {
            (Some(client), Some(proxy)) => format!("You are {client}, through {proxy}.\n"),
            _ => "Who are you?\n".to_string(),
        };
        Response::new(text.into_bytes())
    }
}

struct Proxy {
    application: BoundAddresses,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let addresses = self.application.wait().await?;
        let mut peer = HttpPeer::new(&*addresses, false, String::new());
        // A connection with this header is kept for this client's next request, and for no other
        // client's.
        if let Some(socket) = session.digest().and_then(|d| d.socket_digest.as_ref()) {
            let header = socket.to_proxy_header().with_checksum();
            peer.options.send_proxy_header(&header, ProxyVersion::V2);
        }
        Ok(Box::new(peer))
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let balancers: Networks = cli.trust.parse()?;
    let mut server = Server::new(cli.server)?;
    server.bootstrap();

    let mut application = Service::new("application".into(), HttpServer::new_app(Application));
    // The proxy is on this machine; no one else may name the client.
    let from_proxy = ProxyProtocol::trusting("127.0.0.0/8".parse()?);
    application.add_listener(ListenerConfig::tcp("127.0.0.1:0").proxy_protocol(from_proxy));

    let proxy = Proxy {
        application: application.bound_addresses(),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    let mut expected = ProxyProtocol::trusting(balancers);
    if cli.admit_others {
        expected = expected.admit_others();
    }
    proxy.add_listener(ListenerConfig::tcp(&cli.listen).proxy_protocol(expected));
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Try, with curl in place of a balancer, which sends its own address as the client's:\n\n    \
             curl --haproxy-protocol http://{address}/\n    \
             curl http://{address}/  # closed: no header\n\nCtrl-C stops it."
        )
    });

    server.add_service(application);
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
