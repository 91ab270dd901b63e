//! An origin that answers in gzip regardless of what the client accepts.

use async_trait::async_trait;
use http::{HeaderValue, Response, StatusCode};
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::compression::Algorithm;
use pingora::services::listening::Service;

/// The address that the origin believes it has: useless to clients.
pub(super) const OWN_NAME: &str = "http://origin.internal:8080";

struct Site;

/// A site with a page of many links, and three documents.
pub(super) fn site() -> Service<HttpServer<impl ServeHttp + Send + Sync + 'static>> {
    let mut service = Service::new("a site".into(), HttpServer::new_app(Site));
    service.add_tcp("127.0.0.1:0");
    service.threads = Some(1);
    service
}

fn page(links: usize) -> String {
    let link = |n| format!("<li><a href=\"{OWN_NAME}/page/{n}\">page {n}</a></li>\n");
    let links: String = (1..=links).map(link).collect();
    format!("<!doctype html>\n<ul>\n{links}</ul>\n")
}

#[async_trait]
impl ServeHttp for Site {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let (kind, text) = match session.req_header().uri.path() {
            "/" => ("text/html; charset=utf-8", page(3)),
            "/long" => ("text/html; charset=utf-8", page(5000)),
            "/status.json" => ("application/json", "{\"state\":\"well\"}".to_string()),
            "/large.json" => ("application/json", format!("[{}0]", "0,".repeat(100_000))),
            "/robots.txt" => ("text/plain", format!("Sitemap: {OWN_NAME}/sitemap.xml\n")),
            _ => {
                let mut response = Response::new(b"not here\n".to_vec());
                *response.status_mut() = StatusCode::NOT_FOUND;
                return response;
            }
        };
        let gzip = Algorithm::Gzip.compressor(6);
        let body = gzip.and_then(|mut gzip| gzip.encode(text.as_bytes(), true).ok());
        let mut response = Response::new(body.unwrap_or_default().to_vec());
        let fields = response.headers_mut();
        fields.insert("content-type", HeaderValue::from_static(kind));
        fields.insert("content-encoding", HeaderValue::from_static("gzip"));
        response
    }
}
