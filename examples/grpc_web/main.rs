//! A gRPC service for browsers: the proxy translates gRPC-Web, which a page can speak, to gRPC.
//!
//! ```sh
//! cargo run --example grpc_web
//! ```
//!
//! Then open the printed address in a browser, or use curl.

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use http::Method;
use pingora::http::ResponseHeader;
use pingora::modules::http::HttpModules;
use pingora::modules::http::grpc_web::{GrpcWeb, GrpcWebBridge};
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora::upstreams::peer::ALPN;
use pingora_examples::grpc::Greeter;
use pingora_examples::{Announcement, exit_code, log_to_stderr};
use std::net::SocketAddr;
use std::process::ExitCode;

/// A page that calls the service.
const PAGE: &str = include_str!("page.html");

/// A proxy that lets browsers call a gRPC service
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

struct Proxy {
    greeter: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(GrpcWeb));
    }

    /// The module does nothing until it is enabled for a request.
    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<()> {
        let modules = &mut session.downstream_modules_ctx;
        if let Some(bridge) = modules.get_mut::<GrpcWebBridge>() {
            bridge.init();
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        let request = session.req_header();
        if request.uri.path() == "/" {
            let mut header = ResponseHeader::build(200, None)?;
            header.insert_header("Content-Type", "text/html; charset=utf-8")?;
            let page = Bytes::from_static(PAGE.as_bytes());
            session.write_response(Box::new(header), page).await?;
            return Ok(true);
        }
        if request.method != Method::OPTIONS {
            return Ok(false);
        }
        // A page of another origin sends a preflight request. The proxy decides who may call: here,
        // everyone.
        let mut header = ResponseHeader::build(204, None)?;
        allow_pages(&mut header)?;
        header.insert_header("Access-Control-Allow-Methods", "POST")?;
        header.insert_header(
            "Access-Control-Allow-Headers",
            "content-type, grpc-timeout, x-grpc-web, x-user-agent",
        )?;
        session
            .write_response_header(Box::new(header), true)
            .await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.greeter, false, String::new());
        // gRPC needs HTTP/2, whatever version the client speaks.
        peer.options.alpn = ALPN::H2;
        Ok(Box::new(peer))
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        allow_pages(response)
    }
}

/// Lets pages of any origin read the response and the status of the call.
fn allow_pages(header: &mut ResponseHeader) -> Result<()> {
    header.insert_header("Access-Control-Allow-Origin", "*")?;
    header.insert_header("Access-Control-Expose-Headers", "grpc-status, grpc-message")
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr("warn");
    exit_code(serve(cli))
}

fn serve(cli: Cli) -> Result<()> {
    let mut server = Server::new(cli.server)?;
    server.bootstrap();

    let greeter = Greeter::bind()?;
    let proxy = Proxy {
        greeter: greeter.address(),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Open http://{address}/ in a browser, or call by hand. The message \"world\" and its frame in \
             base64:\n\n    \
             curl -s http://{address}/greeter.Greeter/Hello -d AAAAAAV3b3JsZA== \\\n        \
             -H 'Content-Type: application/grpc-web-text'\n\n\
             Ctrl-C stops it."
        )
    });

    server.add_service(background_service("greeter", greeter));
    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
