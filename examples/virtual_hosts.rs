//! Many sites behind one address: the requested host determines the upstream, and an unknown host gets 421.
//!
//! ```sh
//! cargo run --example virtual_hosts
//! ```

use async_trait::async_trait;
use clap::Parser;
use http::uri::Authority;
use pingora::listeners::BoundAddresses;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora_examples::{Announcement, exit_code, log_to_stderr, origin, say};
use std::collections::HashMap;
use std::process::ExitCode;

/// A proxy in front of several sites
#[derive(Parser)]
struct Cli {
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6188")]
    listen: String,

    #[command(flatten)]
    server: Opt,
}

/// The sites by name. A name `*.shop.test` stands for one label in place of the `*`.
struct Sites(HashMap<&'static str, BoundAddresses>);

impl Sites {
    fn find(&self, host: &str) -> Option<&BoundAddresses> {
        self.0.get(host).or_else(|| {
            let (label, parent) = host.split_once('.')?;
            let wildcard = format!("*.{parent}");
            self.0.get(wildcard.as_str()).filter(|_| !label.is_empty())
        })
    }
}

/// The requested host: lower-case, without port and trailing dot.
///
/// `Host` contains it in any kind of request: a target with a host replaces the client's own value (RFC 9112
/// section 3.2.2), and so does the `:authority` of HTTP/2.
fn requested_host(session: &Session) -> Option<String> {
    let host = session.get_header("Host")?.to_str().ok()?;
    let authority: Authority = host.parse().ok()?;
    let name = authority.host().to_ascii_lowercase();
    Some(name.strip_suffix('.').unwrap_or(&name).to_string())
}

struct Proxy {
    sites: Sites,
}

#[async_trait]
impl ProxyHttp for Proxy {
    /// The site's addresses, from the phase that looks them up to the one that needs them.
    type CTX = Option<BoundAddresses>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    /// Refuses hosts that have no site here. If they were sent to a default site, any domain could
    /// display it.
    async fn request_filter(&self, session: &mut Session, site: &mut Self::CTX) -> Result<bool> {
        let host = requested_host(session);
        *site = host.as_deref().and_then(|h| self.sites.find(h)).cloned();
        if site.is_none() {
            say(host.as_deref().unwrap_or("none"));
            // Misdirected Request (RFC 9110 section 15.5.20).
            session.respond_error(421).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        site: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let Some(site) = site else {
            return Error::e_explain(HTTPStatus(421), "no site has this name");
        };
        let addresses = site.wait().await?;
        Ok(Box::new(HttpPeer::new(&*addresses, false, String::new())))
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

    let mut sites = HashMap::new();
    for (name, site) in [
        ("shop.test", origin("the shop")),
        ("*.shop.test", origin("the shops of partners")),
        ("blog.test", origin("the blog")),
    ] {
        sites.insert(name, site.bound_addresses());
        server.add_service(site);
    }
    let proxy = Proxy {
        sites: Sites(sites),
    };
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_tcp(&cli.listen);
    let announcement = Announcement::new(proxy.bound_addresses(), |address| {
        format!(
            "Ask for one of three sites, and for one that is not here:\n\n    \
             curl -H 'Host: shop.test' http://{address}/\n    \
             curl -H 'Host: north.shop.test' http://{address}/\n    \
             curl -H 'Host: blog.test' http://{address}/\n    \
             curl -i http://{address}/\n\n\
             Ctrl-C stops it. Here is which hosts were refused:"
        )
    });

    server.add_service(proxy);
    server.add_service(background_service("announcement", announcement));
    server.try_run(RunArgs::default())
}
