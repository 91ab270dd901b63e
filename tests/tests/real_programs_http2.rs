//! HTTP/2 with curl, nghttp and h2load in front, and nginx behind: the programs that a user would
//! use.
//!
//! nginx is that of Debian 12, 1.22, where HTTP/2 is a parameter of `listen`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::server::configuration::ServerConf;
use pingora_tests::{
    Authority, Nginx, Origin, Program, TestServer, Version, VersionedUpstream, curl, curl_text,
    h2c_proxy, pattern, proxy_with, speak_h2c,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

const VERSIONS: [Version; 2] = [Version::H1, Version::H2];
/// Makes curl write the version and the status after the body.
const SAY: [&str; 2] = ["-w", " %{http_version} %{http_code}"];

async fn before(address: SocketAddr, version: Version) -> TestServer {
    h2c_proxy(VersionedUpstream { address, version }).await
}

fn url(server: &TestServer, path: &str) -> String {
    format!("http://{}{path}", server.address())
}

/// Runs curl as a client of HTTP/2 with prior knowledge.
fn curl2(arguments: &[&str]) -> Vec<u8> {
    curl(&[&["--http2-prior-knowledge"], arguments].concat())
}

/// A file with this many bytes, and its directory.
fn file(count: usize) -> (TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let bytes = pattern(count);
    std::fs::write(&path, &bytes).unwrap();
    (dir, path, bytes)
}

/// Runs a program that has to succeed, and returns its output.
fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("{command:?} (Debian: nghttp2-client): {e}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complaint}");
    said
}

async fn origin(version: Version) -> Origin {
    match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_and_sends_over_http_2() {
    for version in VERSIONS {
        let origin = origin(version).await;
        let server = before(origin.address(), version).await;
        for path in ["/length/1000000", "/chunked/1000000", "/close/1000000"] {
            assert!(
                curl2(&[&url(&server, path)]) == pattern(1_000_000),
                "{path}"
            );
        }
        let said = curl2(&[&SAY[..], &[&url(&server, "/x")]].concat());
        assert_eq!(String::from_utf8(said).unwrap(), "/x 2 200");
        let head = String::from_utf8(curl2(&["-I", &url(&server, "/length/5")])).unwrap();
        assert!(head.starts_with("HTTP/2 200 "), "{head}");
        assert!(head.contains("content-length: 5\r\n"), "{head}");
        let hinted = String::from_utf8(curl2(&["-i", &url(&server, "/hints")])).unwrap();
        assert!(hinted.starts_with("HTTP/2 103 "), "{hinted}");
        assert!(hinted.ends_with("hinted"), "{hinted}");

        let (_dir, path, body) = file(2_000_000);
        let path = path.to_str().unwrap();
        let (data, echo) = (format!("@{path}"), url(&server, "/echo"));
        assert!(curl2(&["--data-binary", &data, &echo]) == body);
        assert_eq!(
            origin.last_request().header("content-length"),
            Some("2000000")
        );
        assert!(curl2(&["-T", path, &echo]) == body);
        assert_eq!(origin.last_request().method(), "PUT");
        let expecting = ["-H", "Expect: 100-continue", "--data-binary", &data];
        let target = url(&server, "/continue");
        assert!(curl2(&[&expecting[..], &[&target]].concat()) == body);
        let command = format!(
            "cat '{path}' | curl -q -sS --max-time 20 --http2-prior-knowledge -T - '{echo}'"
        );
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(output.stdout == body);
        assert_eq!(origin.last_request().header("content-length"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_speaks_both_versions() {
    let origin = Origin::well_behaved().await;
    let server = before(origin.address(), Version::H1).await;
    let page = url(&server, "/x");
    for (flag, version) in [
        ("--http2-prior-knowledge", "2"),
        ("--http1.1", "1.1"),
        ("--http1.0", "1.1"),
        // An offer to upgrade to h2c, which a server may ignore.
        ("--http2", "1.1"),
    ] {
        let said = curl_text(&[&[flag][..], &SAY, &[&page]].concat());
        assert_eq!(said, format!("/x {version} 200"), "{flag}");
    }
    let silent = proxy_with(
        ServerConf::default(),
        VersionedUpstream {
            address: origin.address(),
            version: Version::H1,
        },
        |_| {},
    )
    .await;
    let refused = pingora_tests::try_curl(&["--http2-prior-knowledge", &url(&silent, "/x")]);
    assert!(!refused.status.success(), "h2c is off by default");
}

async fn with_tls(upstream: VersionedUpstream, authority: &Authority) -> TestServer {
    let files = authority.issue(&["front.example"]);
    let text = |path: &Path| path.to_str().unwrap().to_string();
    let mut settings = TlsSettings::intermediate(&text(&files.0), &text(&files.1)).unwrap();
    settings.enable_h2();
    proxy_with(ServerConf::default(), upstream, |service| {
        service.add_tls_with_settings("127.0.0.1:0", None, settings);
        speak_h2c(service);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_chooses_the_version_by_alpn() {
    for version in VERSIONS {
        let origin = origin(version).await;
        let authority = Authority::new();
        let upstream = VersionedUpstream {
            address: origin.address(),
            version,
        };
        let server = with_tls(upstream, &authority).await;
        let port = server.addresses()[1].port();
        let ca = authority.file();
        let resolve = format!("front.example:{port}:127.0.0.1");
        let trust = ["--cacert", ca.to_str().unwrap(), "--resolve", &resolve];
        let at = |path: &str| format!("https://front.example:{port}{path}");
        let run = |more: &[&str]| curl(&[&trust[..], more].concat());
        for (flags, spoken) in [
            (&["--http2"][..], "2"),
            (&["--http2", "--tls-max", "1.2"], "2"),
            (&["--http2-prior-knowledge"], "2"),
            (&["--http1.1"], "1.1"),
            (&["--no-alpn"], "1.1"),
        ] {
            let said = run(&[flags, &SAY, &[&at("/x")]].concat());
            assert_eq!(String::from_utf8(said).unwrap(), format!("/x {spoken} 200"));
        }
        // (With prior knowledge, this curl can't reuse a connection, with any server.)
        let urls: Vec<String> = (0..5).map(|n| at(&format!("/{n}"))).collect();
        let mut arguments = vec!["--http2", "-w", " %{num_connects}\n"];
        arguments.extend(urls.iter().map(String::as_str));
        let said = String::from_utf8(run(&arguments)).unwrap();
        assert_eq!(said, "/0 1\n/1 0\n/2 0\n/3 0\n/4 0\n");
        let mut arguments = vec!["--http2", "--parallel"];
        arguments.extend(urls.iter().map(String::as_str));
        assert_eq!(run(&arguments).len(), 10);
        assert!(run(&["--http2", &at("/length/1000000")]) == pattern(1_000_000));
        assert!(run(&["--http2", &at("/chunked/1000000")]) == pattern(1_000_000));
        let (_dir, path, body) = file(2_000_000);
        let data = format!("@{}", path.display());
        assert!(run(&["--http2", "--data-binary", &data, &at("/echo")]) == body);
        if version == Version::H2 {
            let seen = origin.last_request();
            let authority = format!("front.example:{port}");
            assert_eq!(seen.header(":authority"), Some(authority.as_str()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_is_an_origin_of_http_2_without_tls() {
    let nginx = Nginx::with_http2(
        "location = /said { return 200 \"$server_protocol $host $request_method $connection\"; }",
    );
    let body = pattern(1_000_000);
    std::fs::write(nginx.root().join("file"), &body).unwrap();
    let server = before(nginx.address(), Version::H2).await;
    let file = url(&server, "/file");
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        assert!(curl(&[flag, &file]) == body);
        assert!(curl(&[flag, "-r", "10-19", &file]) == body[10..20]);
        let head = curl_text(&[flag, "-I", &file]).to_lowercase();
        assert!(head.contains("content-length: 1000000\r\n"), "{head}");
        let status = [flag, "-o", "/dev/null", "-w", "%{http_code}"];
        let missing = curl_text(&[&status[..], &[&url(&server, "/missing")]].concat());
        assert_eq!(missing, "404");
        let etag = head.lines().find_map(|line| line.strip_prefix("etag: "));
        let condition = format!("If-None-Match: {}", etag.unwrap());
        let same = curl_text(&[&status[..], &["-H", &condition, &file]].concat());
        assert_eq!(same, "304");
        let denied = curl_text(&[&status[..], &["--data-binary", "x", &file]].concat());
        assert_eq!(denied, "405");
    }
    let said: Vec<String> = (0..3)
        .map(|_| curl_text(&["-H", "Host: named.example", &url(&server, "/said")]))
        .collect();
    assert!(
        said[0].starts_with("HTTP/2.0 named.example GET "),
        "{said:?}"
    );
    assert!(
        said.iter().all(|one| *one == said[0]),
        "one connection: {said:?}"
    );
}

/// Everything goes to one upstream over TLS, by ALPN.
struct Secure {
    upstream: SocketAddr,
    authority: Authority,
    alpn: ALPN,
}

#[async_trait]
impl ProxyHttp for Secure {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream, true, "back.example".to_string());
        let trusted = vec![self.authority.certificate()];
        peer.options.ca = Some(Arc::new(trusted.into_boxed_slice()));
        peer.options.alpn = self.alpn.clone();
        Ok(Box::new(peer))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_is_an_origin_of_http_2_over_tls() {
    for (alpn, spoken) in [
        (ALPN::H2, "HTTP/2.0"),
        (ALPN::H2H1, "HTTP/2.0"),
        (ALPN::H1, "HTTP/1.1"),
    ] {
        let authority = Authority::new();
        let files = authority.issue(&["back.example"]);
        let nginx = Nginx::with_tls_and_http2(
            &files,
            "location = /said { return 200 \"$server_protocol $scheme $ssl_alpn_protocol $connection\"; }",
        );
        let body = pattern(1_000_000);
        std::fs::write(nginx.root().join("file"), &body).unwrap();
        let proxy = Secure {
            upstream: nginx.address(),
            authority,
            alpn,
        };
        let server = h2c_proxy(proxy).await;
        assert!(curl2(&[&url(&server, "/file")]) == body);
        assert!(curl(&[&url(&server, "/file")]) == body);
        let said: Vec<String> = (0..3)
            .map(|_| curl_text(&[&url(&server, "/said")]))
            .collect();
        assert!(said[0].starts_with(&format!("{spoken} https ")), "{said:?}");
        assert!(
            said.iter().all(|one| *one == said[0]),
            "one connection: {said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nghttp_has_several_streams_at_a_time() {
    for version in VERSIONS {
        let origin = origin(version).await;
        let server = before(origin.address(), version).await;
        let (_dir, path, body) = file(100_000);
        let upload = path.to_str().unwrap();
        // With windows of 64 KiB, in frames with padding, and repeated.
        let said = run(Command::new("nghttp")
            .args(["-nv", "-m", "20", "-w", "16", "-b", "100"])
            .arg(url(&server, "/length/100000")));
        assert_eq!(said.matches(":status: 200").count(), 20, "{said}");
        assert!(!said.contains("RST_STREAM"), "{said}");
        let seen = origin.requests().len();
        let trailed = [
            "-v",
            "-d",
            upload,
            "--trailer",
            "x-sum: 7",
            "--no-content-length",
        ];
        let said = run(Command::new("nghttp")
            .args(trailed)
            .arg(url(&server, "/echo-trailers")));
        assert!(said.contains("x-sum: 7"), "{said}");
        assert_eq!(origin.requests().len(), seen + 1);
        let request = origin.last_request();
        assert!(request.body == body);
        assert_eq!(request.trailers.len(), 1, "{:?}", request.trailers);
        let echoed = Command::new("nghttp")
            .args(["-d", upload])
            .arg(url(&server, "/echo"))
            .output();
        assert!(echoed.unwrap().stdout == body);
        // A head in several frames, and no dependency tree.
        let split = ["-nv", "--continuation", "--no-dep", "-c", "0"];
        let said = run(Command::new("nghttp").args(split).arg(url(&server, "/x")));
        assert!(said.contains(":status: 200"), "{said}");
    }
}

/// The number in a line such as `requests: 10 total, 10 started, 10 done, 10 succeeded, 0 failed`.
fn counted(said: &str, name: &str) -> usize {
    let line = said
        .lines()
        .find(|line| line.starts_with("requests:"))
        .unwrap();
    let part = line
        .split([',', ':'])
        .find(|part| part.ends_with(name))
        .unwrap();
    part.trim().split(' ').next().unwrap().parse().unwrap()
}

/// Makes h2load send requests over this many connections with a hundred streams each; every request
/// has to be answered with a 2xx.
fn load(origin: &str, requests: usize, connections: usize) -> String {
    let said = run(Command::new("h2load")
        .args([
            "-n",
            &requests.to_string(),
            "-c",
            &connections.to_string(),
            "-m",
            "100",
            "-T",
            "30",
        ])
        .arg(format!("{origin}/hello")));
    for (name, wanted) in [
        ("succeeded", requests),
        ("failed", 0),
        ("errored", 0),
        ("timeout", 0),
    ] {
        assert_eq!(counted(&said, name), wanted, "{name}: {said}");
    }
    assert!(
        said.contains(&format!("status codes: {requests} 2xx")),
        "{said}"
    );
    said
}

/// A proxy in a separate process, and nginx behind it.
fn loaded(version: Version) -> (Nginx, Program, SocketAddr) {
    let answer = "location / { return 200 \"hello\"; }";
    let (nginx, more): (_, &[&str]) = match version {
        Version::H1 => (Nginx::with_server(answer), &[]),
        Version::H2 => (Nginx::with_http2(answer), &["--upstream-http2"]),
    };
    let upstream = nginx.address().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixed_proxy"));
    command.args(["--h2c", "--upstream", &upstream]).args(more);
    let mut program = Program::start(&mut command);
    let address = program.addresses()[0];
    (nginx, program, address)
}

#[test]
fn h2load_gets_every_answer() {
    for version in VERSIONS {
        let (_nginx, program, address) = loaded(version);
        load(&format!("http://{address}"), 5_000, 5);
        let lines = program.lines();
        assert_eq!(lines.len(), 1, "nothing to complain about: {lines:?}");
    }
}

#[test]
fn h2load_gets_every_answer_over_tls() {
    let (nginx, _program, _) = loaded(Version::H2);
    let authority = Authority::new();
    let files = authority.issue(&["front.example"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixed_proxy"));
    let upstream = nginx.address().to_string();
    command
        .args([
            "--upstream-http2",
            "--upstream",
            &upstream,
            "--listen-tls",
            "127.0.0.1:0",
        ])
        .arg("--certificate")
        .arg(&files.0)
        .arg("--key")
        .arg(&files.1);
    let mut program = Program::start(&mut command);
    let address = program.addresses()[1];
    let said = load(&format!("https://{address}"), 3_000, 5);
    assert!(said.contains("Application protocol: h2\n"), "{said}");
}

#[test]
#[ignore = "the long form: 100,000 requests over 100 connections with 100 streams each"]
fn h2load_gets_a_hundred_thousand_answers() {
    for version in VERSIONS {
        let (_nginx, program, address) = loaded(version);
        println!(
            "{version:?} behind: {}",
            load(&format!("http://{address}"), 100_000, 100)
        );
        let lines = program.lines();
        assert_eq!(lines.len(), 1, "nothing to complain about: {lines:?}");
        println!("{} MiB at the most", program.peak_memory() / 1024 / 1024);
    }
}
