//! Content codings through a whole proxy: who sees a body coded, who sees it plain, and what clients get.

#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

mod bodies;
mod browser;
mod clients;
mod filters;
mod requests;

use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::modules::http::compression::ResponseCompressionBuilder;
use pingora::prelude::*;
use pingora::protocols::http::compression::{Algorithm, CompressionSettings};
use pingora_tests::Origin;
use std::net::SocketAddr;

/// Compresses what passes, as its settings say.
struct Compressing {
    upstream: SocketAddr,
    settings: CompressionSettings,
}

#[async_trait]
impl ProxyHttp for Compressing {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(ResponseCompressionBuilder::with(self.settings.clone()));
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

/// Long enough to be worth it.
fn plain_text() -> String {
    "all work and no play makes Jack a dull boy\n".repeat(200)
}

/// What `algorithm` makes of `plain`, in one piece.
fn coded(algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
    let mut encoder = algorithm.compressor(5).unwrap();
    encoder.encode(plain, true).unwrap().to_vec()
}

fn decoded(algorithm: Algorithm, coded: &[u8]) -> Vec<u8> {
    let mut decoder = algorithm.decompressor(true).unwrap();
    decoder.encode(coded, true).unwrap().to_vec()
}

/// An origin that keeps its connections, and answers each request with this text and these fields.
async fn origin_of(fields: &str, body: Vec<u8>) -> Origin {
    let head = format!(
        "HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = [head.into_bytes(), body].concat();
    Origin::scripted(move |mut connection, _| {
        let answer = answer.clone();
        async move {
            while connection.request_head().await.is_some() {
                connection.send(&answer).await;
            }
        }
    })
    .await
}
