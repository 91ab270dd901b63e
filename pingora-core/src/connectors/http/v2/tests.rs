//! Sessions against servers of the `h2` crate and against raw ones, in memory.

mod exchange;
mod held;
mod malicious;
mod pool;
mod raw;

use super::*;
use bytes::Bytes;
use h2::Reason;
use h2::server::{self, SendResponse};
use http::{HeaderMap, Request, Response};
use pingora_http::RequestHeader;
use tokio::io::{DuplexStream, duplex};

const WIDE: usize = 1 << 20;

/// A server's connection, and ours to it.
async fn pair(max_streams: usize) -> (server::Connection<DuplexStream, Bytes>, ConnectionRef) {
    pair_with(&server::Builder::new(), max_streams).await
}

async fn pair_with(
    builder: &server::Builder,
    max_streams: usize,
) -> (server::Connection<DuplexStream, Bytes>, ConnectionRef) {
    let (server, client) = duplex(WIDE);
    let mut settings = H2HandshakeSettings::new();
    settings.max_streams = max_streams;
    let (server, client) = tokio::join!(
        builder.handshake(server),
        handshake(Box::new(client), settings)
    );
    (server.unwrap(), client.unwrap())
}

/// Serves every request of a connection in a task of its own.
fn serve<F>(
    mut connection: server::Connection<DuplexStream, Bytes>,
    serve: impl Fn(Request<h2::RecvStream>, SendResponse<Bytes>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(serve(request, respond));
        }
    });
}

fn request(method: &str, fields: &[(&'static str, &str)]) -> Box<RequestHeader> {
    let mut request = RequestHeader::build(method, b"/", None).unwrap();
    request.insert_header("Host", "a").unwrap();
    for (name, value) in fields {
        request.append_header(*name, *value).unwrap();
    }
    Box::new(request)
}

async fn session(conn: &ConnectionRef) -> Http2Session {
    conn.spawn_stream().await.unwrap().unwrap()
}

fn response(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

fn trailers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, http::HeaderValue::from_static(value));
    }
    map
}
