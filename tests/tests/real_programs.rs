//! curl in front, nginx and openssl behind: the programs that a user would use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::Peer;
use pingora_tests::{
    Authority, Connection, FixedUpstream, Nginx, Origin, Program, TestServer, curl, curl_text,
    free_port, keep_log, logged, pattern, proxy, proxy_with, try_curl,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

fn url(server: &TestServer, path: &str) -> String {
    format!("http://{}{path}", server.address())
}

/// A file with this many bytes, and its directory.
fn file(count: usize) -> (TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let bytes = pattern(count);
    std::fs::write(&path, &bytes).unwrap();
    (dir, path, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_files_from_nginx_in_every_way() {
    let nginx = Nginx::with_server("");
    let body = pattern(1_000_000);
    std::fs::write(nginx.root().join("file"), &body).unwrap();
    let server = proxy(FixedUpstream(nginx.address())).await;
    let file = url(&server, "/file");

    assert!(curl(&[&file]) == body);
    assert!(curl(&["--http1.0", &file]) == body);
    let head = curl_text(&["-I", &file]);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("Content-Length: 1000000\r\n"), "{head}");

    assert!(curl(&["-r", "10-19", &file]) == body[10..20]);
    assert!(curl(&["-r", "-5", &file]) == body[999_995..]);
    let partial = curl_text(&["-r", "0-1", "-o", "/dev/null", "-w", "%{http_code}", &file]);
    assert_eq!(partial, "206");
    let ranges = curl(&["-r", "0-99,500-599", &file]);
    assert!(ranges.windows(100).any(|window| window == &body[500..600]));
    let beyond = curl_text(&[
        "-r",
        "2000000-",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        &file,
    ]);
    assert_eq!(beyond, "416");

    let etag = head
        .lines()
        .find_map(|line| line.strip_prefix("ETag: "))
        .expect("nginx names a version");
    let condition = format!("If-None-Match: {etag}");
    let unchanged = curl_text(&["-H", &condition, "-w", "%{http_code}", &file]);
    assert_eq!(unchanged, "304", "and no body");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_uses_one_connection_for_several_urls() {
    let nginx = Nginx::answering("$request_uri by $connection\\n");
    let server = proxy(FixedUpstream(nginx.address())).await;
    let urls: Vec<String> = (0..5).map(|n| url(&server, &format!("/{n}"))).collect();
    let mut arguments = vec!["-w", "connects: %{num_connects}\n"];
    arguments.extend(urls.iter().map(String::as_str));
    let said = curl_text(&arguments);
    let connects: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("connects: "))
        .collect();
    assert_eq!(connects, ["1", "0", "0", "0", "0"], "{said}");
    let upstream: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split(" by ").nth(1))
        .collect();
    assert_eq!(upstream.len(), 5, "{said}");
    assert!(upstream.iter().all(|one| *one == upstream[0]), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_uploads_two_megabytes_in_every_way() {
    let origin = Origin::well_behaved().await;
    let server = proxy(FixedUpstream(origin.address())).await;
    let (_dir, path, body) = file(2_000_000);
    let path = path.to_str().unwrap();
    let data = format!("@{path}");

    // The 100 Continue comes from the origin, and at once: curl would wait for 15 s.
    let begun = Instant::now();
    let expecting = [
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        "15",
        "--data-binary",
        &data,
        &url(&server, "/continue"),
    ];
    assert!(curl(&expecting) == body);
    assert!(begun.elapsed().as_secs() < 10, "100 Continue doesn't pass");
    let seen = origin.last_request();
    assert_eq!(seen.header("Expect"), Some("100-continue"));
    assert_eq!(seen.header("Content-Length"), Some("2000000"));

    let echo = url(&server, "/echo");
    assert!(curl(&["-H", "Expect:", "--data-binary", &data, &echo]) == body);
    assert!(curl(&["--http1.0", "--data-binary", &data, &echo]) == body);
    assert!(curl(&["-H", "Expect:", "-T", path, &echo]) == body);
    assert_eq!(origin.last_request().method(), "PUT");

    // From a pipe, so curl doesn't know the length.
    let command = format!("cat '{path}' | curl -q -sS --max-time 20 -H 'Expect:' -T - '{echo}'");
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(output.stdout == body);
    let seen = origin.last_request();
    assert_eq!(seen.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(seen.header("Content-Length"), None);

    let form = curl(&["-F", &format!("file=@{path}"), &echo]);
    assert!(form.len() > body.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_sees_what_nginx_refuses_while_it_uploads() {
    let nginx = Nginx::with_server(
        "client_max_body_size 1k; location / { proxy_pass http://127.0.0.1:1; }",
    );
    let server = proxy(FixedUpstream(nginx.address())).await;
    let (_dir, path, _) = file(2_000_000);
    let (data, address) = (format!("@{}", path.display()), url(&server, "/"));
    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    for more in [&["-H", "Expect:"][..], &[]] {
        let arguments = [&status[..], more, &["--data-binary", &data, &address]].concat();
        assert_eq!(curl_text(&arguments), "413", "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nginx_compresses_and_assembles_arrives() {
    let nginx = Nginx::with_server(
        "gzip on; gzip_types *; gzip_min_length 1; ssi on; ssi_types *;
         location = /part { return 200 part; }",
    );
    let text = "<!--# include virtual=\"/part\" -->, ".repeat(20) + &"x".repeat(100_000);
    std::fs::write(nginx.root().join("page"), &text).unwrap();
    let server = proxy(FixedUpstream(nginx.address())).await;
    let page = url(&server, "/page");
    let wanted = "part, ".repeat(20) + &"x".repeat(100_000);
    assert!(curl_text(&[&page]) == wanted);
    assert!(curl_text(&["--compressed", &page]) == wanted);
    assert!(curl_text(&["--http1.0", &page]) == wanted);
    let head = curl_text(&["--compressed", "-D", "-", "-o", "/dev/null", &page]);
    assert!(head.contains("Content-Encoding: gzip"), "{head}");
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_with_nginx_on_both_sides_carries_everything() {
    let origin = Origin::well_behaved().await;
    let behind = Nginx::with_server(&format!(
        "client_max_body_size 0; location / {{ proxy_pass http://{}; }}",
        origin.address()
    ));
    let server = proxy(FixedUpstream(behind.address())).await;
    // nginx uses HTTP/1.0 with its upstreams unless it is configured otherwise.
    for version in ["1.0", "1.1"] {
        let front = Nginx::with_server(&format!(
            "client_max_body_size 0;
             location / {{
                 proxy_pass http://{};
                 proxy_http_version {version};
                 proxy_set_header Connection \"\";
             }}",
            server.address()
        ));
        let at = |path: &str| format!("http://{}{path}", front.address());
        let (_dir, path, body) = file(2_000_000);
        let data = format!("@{}", path.display());
        assert!(curl(&["--data-binary", &data, &at("/echo")]) == body);
        for path in ["/length/1000000", "/chunked/1000000", "/close/1000000"] {
            assert!(curl(&[&at(path)]) == pattern(1_000_000), "{version} {path}");
        }
        assert_eq!(curl_text(&[&at("/slow/20")]), ".".repeat(20));
        // A message that is cut short at the far end is cut short at the near one.
        for path in ["/cut/1000000", "/reset/1000000"] {
            let output = try_curl(&["-f", &at(path)]);
            assert!(!output.status.success(), "{version} {path}");
        }
    }
}

/// To a TLS upstream, with a custom authority and the name that the request asks for.
struct Secure {
    upstream: SocketAddr,
    authority: Option<Authority>,
}

#[async_trait]
impl ProxyHttp for Secure {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let name = String::from_utf8_lossy(session.get_header_bytes("X-Sni")).into_owned();
        let mut peer = HttpPeer::new(self.upstream, true, name);
        if let Some(options) = peer.get_mut_peer_options() {
            let ca = self.authority.as_ref();
            options.ca = ca.map(|ca| Arc::new(vec![ca.certificate()].into_boxed_slice()));
        }
        Ok(Box::new(peer))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_upstream_is_verified_and_a_wrong_name_is_a_502_with_its_reason() {
    keep_log();
    let authority = Authority::new();
    let files = authority.issue(&["one.example", "127.0.0.1"]);
    let nginx = Nginx::with_tls(
        &files,
        "location / { return 200 \"$ssl_server_name $ssl_protocol $connection\"; }
         location /file { }",
    );
    let body = pattern(1_000_000);
    std::fs::write(nginx.root().join("file"), &body).unwrap();
    let trusting = proxy(Secure {
        upstream: nginx.address(),
        authority: Some(authority),
    })
    .await;
    let named = ["-H", "X-Sni: one.example"];
    let answer = curl_text(&[&named[..], &[&url(&trusting, "/")]].concat());
    assert!(answer.starts_with("one.example TLSv1.3 "), "{answer}");
    let again = curl_text(&[&named[..], &[&url(&trusting, "/")]].concat());
    assert_eq!(answer, again, "the connection is kept");
    assert!(curl(&[&named[..], &[&url(&trusting, "/file")]].concat()) == body);
    // Without a name, the certificate has to be for the address, and here it is.
    let unnamed = curl_text(&[&url(&trusting, "/")]);
    assert!(unnamed.contains("TLSv1.3"), "{unnamed}");

    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    let wrong = ["-H", "X-Sni: two.example"];
    let answer = curl_text(&[&status[..], &wrong, &[&url(&trusting, "/wrong-name")]].concat());
    assert_eq!(answer, "502");
    let line = logged("/wrong-name").await;
    assert!(line.to_lowercase().contains("hostname mismatch"), "{line}");

    let distrusting = proxy(Secure {
        upstream: nginx.address(),
        authority: None,
    })
    .await;
    let answer = curl_text(
        &[
            &status[..],
            &named,
            &[&url(&distrusting, "/unknown-authority")],
        ]
        .concat(),
    );
    assert_eq!(answer, "502");
    let line = logged("/unknown-authority").await;
    assert!(line.contains("certificate"), "{line}");

    // TLS to a server without TLS.
    let plain = Nginx::answering("plain");
    let server = proxy(Secure {
        upstream: plain.address(),
        authority: None,
    })
    .await;
    let answer = curl_text(&[&status[..], &[&url(&server, "/no-tls-there")]].concat());
    assert_eq!(answer, "502");
    logged("/no-tls-there").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_openssl_server_is_an_upstream_too() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["one.example"]);
    let port = free_port();
    let server = Program::start(
        Command::new("openssl")
            .args(["s_server", "-www", "-quiet", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("-cert")
            .arg(&certificate)
            .arg("-key")
            .arg(&key),
    );
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    pingora_tests::eventually("openssl listens", || {
        std::net::TcpStream::connect(address).is_ok()
    })
    .await;
    let proxy = proxy(Secure {
        upstream: address,
        authority: Some(authority),
    })
    .await;
    // It uses HTTP/1.0 and ends its answers by closing.
    for _ in 0..3 {
        let page = curl_text(&["-H", "X-Sni: one.example", &url(&proxy, "/")]);
        let page = page.to_lowercase();
        assert!(
            page.contains("s_server") && page.contains("</body></html>"),
            "{page}"
        );
    }
    drop(server);
    let status = curl_text(&["-o", "/dev/null", "-w", "%{http_code}", &url(&proxy, "/")]);
    assert_eq!(status, "502");
}

async fn with_tls_listener(origin: SocketAddr, files: &(PathBuf, PathBuf)) -> TestServer {
    let text = |path: &Path| path.to_str().unwrap().to_string();
    let settings = TlsSettings::intermediate(&text(&files.0), &text(&files.1)).unwrap();
    proxy_with(ServerConf::default(), FixedUpstream(origin), |service| {
        service.add_tls_with_settings("127.0.0.1:0", None, settings);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_speaks_tls_to_a_listener() {
    let origin = Origin::well_behaved().await;
    let authority = Authority::new();
    let server = with_tls_listener(origin.address(), &authority.issue(&["front.example"])).await;
    let port = server.addresses()[1].port();
    let ca = authority.file();
    let resolve = format!("front.example:{port}:127.0.0.1");
    let common = ["--cacert", ca.to_str().unwrap(), "--resolve", &resolve];
    let at = |path: &str| format!("https://front.example:{port}{path}");
    let run = |more: &[&str]| curl(&[&common[..], more].concat());

    assert!(run(&[&at("/length/1000000")]) == pattern(1_000_000));
    assert!(run(&[&at("/chunked/1000000")]) == pattern(1_000_000));
    assert!(run(&["--http1.0", &at("/close/1000000")]) == pattern(1_000_000));
    let (_dir, path, body) = file(2_000_000);
    let data = format!("@{}", path.display());
    assert!(run(&["--data-binary", &data, &at("/continue")]) == body);
    let urls = [at("/a"), at("/b"), at("/c")];
    let connects = run(&["-w", " %{num_connects}\n", &urls[0], &urls[1], &urls[2]]);
    assert_eq!(String::from_utf8(connects).unwrap(), "/a 1\n/b 0\n/c 0\n");

    let version = [
        "-w",
        "%{ssl_verify_result} %{http_version}",
        "-o",
        "/dev/null",
    ];
    for tls in [&["--tls-max", "1.2"][..], &["--tlsv1.3"], &["--http2"]] {
        let said = run(&[&version[..], tls, &[&at("/")]].concat());
        assert_eq!(String::from_utf8(said).unwrap(), "0 1.1", "{tls:?}");
    }
    let old = try_curl(&[&common[..], &["--tls-max", "1.1", &at("/")]].concat());
    assert!(!old.status.success(), "TLS 1.1 is refused");

    // A client that trusts another authority can't connect, and neither that nor garbage harms
    // others.
    let stranger = try_curl(&["--resolve", &resolve, &at("/")]);
    assert_eq!(stranger.status.code(), Some(60), "{stranger:?}");
    let mut plain = Connection::to(server.addresses()[1]).await;
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    plain.rest().await;
    drop(Connection::to(server.addresses()[1]).await);
    let silent = Connection::to(server.addresses()[1]).await;
    assert!(run(&[&at("/after")]) == b"/after");
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_short_is_cut_short_over_tls_too() {
    let authority = Authority::new();
    let files = authority.issue(&["front.example"]);
    for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let origin = Origin::answering(format!(
            "HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\n12345\r\n"
        ));
        let origin = origin.await;
        let server = with_tls_listener(origin.address(), &files).await;
        let port = server.addresses()[1].port();
        let ca = authority.file();
        let resolve = format!("front.example:{port}:127.0.0.1");
        let address = format!("https://front.example:{port}/");
        // For HTTP/1.0, chunks become a body delimited by the end of the connection.
        for version in ["--http1.1", "--http1.0"] {
            let ca = ca.to_str().unwrap();
            let trust = ["--cacert", ca, "--resolve", &resolve];
            let output = try_curl(&[&trust[..], &["-f", version, &address]].concat());
            let code = output.status.code();
            let told = matches!(code, Some(18 | 52 | 56));
            assert!(told, "{version} {framing}: {code:?}");
        }
    }
}
