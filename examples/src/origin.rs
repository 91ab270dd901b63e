use async_trait::async_trait;
use http::Response;
use http::header::CONTENT_TYPE;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::protocols::http::ServerSession;
use pingora::services::listening::Service;

/// A small HTTP server to proxy to: names itself and shows the request as it arrived.
#[derive(Debug)]
pub struct Origin {
    name: &'static str,
}

/// An [`Origin`] as a service with one thread, on a port chosen by the system.
/// [`bound_addresses`](Service::bound_addresses) returns it.
pub fn origin(name: &'static str) -> Service<HttpServer<Origin>> {
    let mut service = Service::new(name.into(), HttpServer::new_app(Origin { name }));
    service.add_tcp("127.0.0.1:0");
    service.threads = Some(1);
    service
}

#[async_trait]
impl ServeHttp for Origin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let mut text = format!("Hello from {}! It got:\n\n", self.name);
        text.push_str(&format!("{} {}\n", request.method, request.uri));
        for (name, value) in &request.headers {
            text.push_str(&format!(
                "{name}: {}\n",
                String::from_utf8_lossy(value.as_bytes())
            ));
        }
        let mut response = Response::new(text.into_bytes());
        let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        response
    }
}
