//! Compressed responses in the hands of real clients, and nginx's decisions beside ours.

use crate::{Compressing, coded, origin_of, plain_text};
use pingora::protocols::http::compression::{Algorithm, CompressionSettings};
use pingora_tests::{Ask, Nginx, TestServer, Version, curl, curl_text, h2c_proxy, proxy};

fn url(server: &TestServer) -> String {
    format!("http://{}/", server.address())
}

/// The coding that curl is told of.
fn coding(head: &str) -> Option<&str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut fields = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
    fields.next().map(|(_, value)| value.trim())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_reads_every_coding_that_it_knows() {
    let origin = origin_of("Content-Type: text/plain\r\n", plain_text().into()).await;
    let server = h2c_proxy(Compressing {
        upstream: origin.address(),
        settings: CompressionSettings::new(5),
    })
    .await;
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for (accepted, expected) in [
            ("gzip", "gzip"),
            ("deflate", "deflate"),
            ("br", "br"),
            ("zstd", "zstd"),
            // What it sends itself.
            ("", "zstd"),
        ] {
            let field = format!("Accept-Encoding: {accepted}");
            let own: &[&str] = match accepted {
                "" => &[],
                _ => &["-H", &field],
            };
            let address = url(&server);
            let common = [&["--compressed", version, &address][..], own].concat();
            assert_eq!(curl_text(&common), plain_text(), "{version} {accepted}");
            let head = [&common[..], &["-D", "-", "-o", "/dev/null"]].concat();
            let head = curl_text(&head);
            assert_eq!(
                coding(&head),
                Some(expected),
                "{version} {accepted}: {head}"
            );
            let raw = [&[version, &address][..], own].concat();
            if !own.is_empty() {
                assert!(curl(&raw).len() < 500, "{version} {accepted}");
            }
        }
        assert_eq!(curl_text(&[version, &url(&server)]), plain_text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_what_it_accepts_of_a_coded_response() {
    for (algorithm, name) in [
        (Algorithm::Gzip, "gzip"),
        (Algorithm::Brotli, "br"),
        (Algorithm::Zstd, "zstd"),
    ] {
        let fields = format!("Content-Type: text/plain\r\nContent-Encoding: {name}\r\n");
        let origin = origin_of(&fields, coded(algorithm, plain_text().as_bytes())).await;
        let server = proxy(Compressing {
            upstream: origin.address(),
            settings: CompressionSettings::new(5).decompression(true),
        })
        .await;
        for accepted in ["gzip", "br", "zstd", "deflate", "identity"] {
            let field = format!("Accept-Encoding: {accepted}");
            let address = url(&server);
            let common = ["--compressed", "-H", &field, &address];
            assert_eq!(curl_text(&common), plain_text(), "{name} {accepted}");
            let head = [&common[..], &["-D", "-", "-o", "/dev/null"]].concat();
            let expected = (accepted != "identity").then_some(accepted);
            assert_eq!(coding(&curl_text(&head)), expected, "{name} {accepted}");
        }
    }
}

/// What both decide alike; nginx reads nothing but `gzip` and its weight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_decides_alike() {
    let nginx = Nginx::with_server("gzip on; gzip_min_length 20; gzip_types text/plain;");
    let short = nginx.root().join("short");
    std::fs::write(nginx.root().join("page"), plain_text()).unwrap();
    std::fs::write(short, "x".repeat(19)).unwrap();
    let bare = Nginx::with_server("etag on;");
    for name in ["page", "short"] {
        std::fs::copy(nginx.root().join(name), bare.root().join(name)).unwrap();
    }
    let settings = CompressionSettings::new(0).level_of(Algorithm::Gzip, 5);
    let server = proxy(Compressing {
        upstream: bare.address(),
        settings,
    })
    .await;
    for (path, accepted, expected) in [
        ("/page", "gzip", true),
        ("/page", "GZip", true),
        ("/page", "deflate, gzip, br", true),
        ("/page", "br;q=1.0, gzip;q=0.8", true),
        ("/page", "gzip;q=0", false),
        ("/page", "gzip;q=0.000", false),
        ("/page", "gzip;q=0.001", true),
        ("/page", "gzip; q=0.5", true),
        ("/page", "gzip;q=1.001", false),
        ("/page", "br", false),
        ("/page", "identity", false),
        ("/page", "notgzip", false),
        ("/page", "", false),
        ("/short", "gzip", false),
        ("/missing", "gzip", true),
    ] {
        let mut seen = Vec::new();
        for address in [nginx.address(), server.address()] {
            let ask = Ask::get(path).with("accept-encoding", accepted);
            let answer = ask.answered_over(Version::H1, address).await;
            if let Some(tag) = answer.header("etag") {
                let weak = answer.header("content-encoding").is_some();
                assert_eq!(tag.starts_with("W/"), weak, "{path} {accepted}");
            }
            seen.push(answer.header("content-encoding") == Some("gzip"));
        }
        assert_eq!(seen, [expected, expected], "{path} {accepted}");
    }
}
