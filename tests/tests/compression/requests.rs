//! Requests that are decompressed.

use crate::{coded, plain_text};
use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::modules::http::decompression::RequestDecompressionBuilder;
use pingora::prelude::*;
use pingora::protocols::http::compression::{Algorithm, DecompressionLimits};
use pingora_tests::{Ask, Origin, Version, VersionedUpstream, curl_text, h2c_proxy};

struct Decompressing(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Decompressing {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let limits = DecompressionLimits::new(1 << 20, 100);
        modules.add_module(RequestDecompressionBuilder::enable(limits));
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.peer()))
    }
}

async fn upload(
    version: Version,
    name: &str,
    body: &[u8],
    server: &pingora_tests::TestServer,
) -> (u16, Vec<u8>) {
    let ask = Ask::by("POST", "/echo")
        .with("content-encoding", name)
        .body(body);
    let answer = ask.answered_over(version, server.address()).await;
    (answer.status(), answer.body)
}

#[tokio::test]
async fn an_upstream_gets_the_body_plain() {
    let plain = plain_text().into_bytes();
    for up in [Version::H1, Version::H2] {
        let origin = match up {
            Version::H2 => Origin::http2().await,
            _ => Origin::well_behaved().await,
        };
        let server = h2c_proxy(Decompressing(VersionedUpstream {
            address: origin.address(),
            version: up,
        }))
        .await;
        for down in [Version::H1, Version::H2] {
            for (name, body) in [
                ("gzip", coded(Algorithm::Gzip, &plain)),
                ("x-gzip", coded(Algorithm::Gzip, &plain)),
                ("br", coded(Algorithm::Brotli, &plain)),
                ("zstd", coded(Algorithm::Zstd, &plain)),
                ("identity", plain.clone()),
            ] {
                let (status, echo) = upload(down, name, &body, &server).await;
                assert_eq!(status, 200, "{up:?} {down:?} {name}");
                assert!(echo == plain, "{up:?} {down:?} {name}");
                let seen = origin.last_request();
                assert!(seen.body == plain);
                let coding = seen.header("content-encoding");
                assert_eq!(coding, (name == "identity").then_some(name));
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_decompressed_is_refused() {
    let plain = plain_text().into_bytes();
    let gzip = coded(Algorithm::Gzip, &plain);
    let bomb = coded(Algorithm::Gzip, &vec![0; 10 << 20]);
    let zstd_bomb = coded(Algorithm::Zstd, &vec![0; 10 << 20]);
    let br_bomb = coded(Algorithm::Brotli, &vec![0; 10 << 20]);
    let origin = Origin::well_behaved().await;
    let server = h2c_proxy(Decompressing(VersionedUpstream {
        address: origin.address(),
        version: Version::H1,
    }))
    .await;
    for down in [Version::H1, Version::H2] {
        for (name, body, expected) in [
            ("gzip", &bomb[..], 413),
            ("zstd", &zstd_bomb, 413),
            ("br", &br_bomb, 413),
            ("gzip", b"this is not gzip", 400),
            ("gzip", &gzip[..gzip.len() - 1], 400),
            ("deflate", &gzip, 400),
            ("made-up", &gzip, 415),
            ("gzip, gzip", &gzip, 415),
        ] {
            let (status, _) = upload(down, name, body, &server).await;
            assert_eq!(status, expected, "{down:?} {name}");
        }
        let (status, echo) = upload(down, "gzip", &gzip, &server).await;
        assert!(status == 200 && echo == plain, "{down:?}");
    }
    assert!(origin.requests().iter().all(|request| {
        let whole = request.body == plain;
        whole || !request.is_complete()
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_uploads_what_it_compressed() {
    let origin = Origin::well_behaved().await;
    let server = h2c_proxy(Decompressing(VersionedUpstream {
        address: origin.address(),
        version: Version::H1,
    }))
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("body.gz");
    std::fs::write(&path, coded(Algorithm::Gzip, plain_text().as_bytes())).unwrap();
    let (data, field) = (format!("@{}", path.display()), "Content-Encoding: gzip");
    let address = format!("http://{}/echo", server.address());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let echo = curl_text(&[version, "-H", field, "--data-binary", &data, &address]);
        assert_eq!(echo, plain_text(), "{version}");
    }
}

/// Goes to an upstream that resets first, and then to one that answers.
struct Retrying([std::net::SocketAddr; 2]);

#[async_trait]
impl ProxyHttp for Retrying {
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        0
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        let limits = DecompressionLimits::default();
        modules.add_module(RequestDecompressionBuilder::enable(limits));
    }

    async fn upstream_peer(&self, _: &mut Session, tries: &mut usize) -> Result<Box<HttpPeer>> {
        let upstream = self.0[(*tries).min(1)];
        *tries += 1;
        Ok(Box::new(HttpPeer::new(upstream, false, String::new())))
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        _: &mut Session,
        mut error: Box<Error>,
        _: &mut usize,
        _: bool,
    ) -> Box<Error> {
        error.set_retry(true);
        error
    }
}

#[tokio::test]
async fn a_body_that_is_sent_again_is_decompressed_again() {
    let plain = plain_text().into_bytes();
    let first = Origin::scripted(|mut connection, _| async move {
        connection.request().await;
        connection.reset();
    })
    .await;
    let second = Origin::well_behaved().await;
    let server = h2c_proxy(Retrying([first.address(), second.address()])).await;
    for down in [Version::H1, Version::H2] {
        let body = coded(Algorithm::Gzip, &plain);
        let (status, echo) = upload(down, "gzip", &body, &server).await;
        assert_eq!(status, 200, "{down:?}");
        assert!(echo == plain, "{down:?}");
    }
    assert_eq!(first.connections(), 2);
}
