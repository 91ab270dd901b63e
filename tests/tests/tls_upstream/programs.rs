//! Upstreams that are real programs: nginx, and `openssl s_server`.

use super::certificates::{Shape, Signed, write};
use super::routes::{Routes, get, refused, trusting};
use pingora::prelude::*;
use pingora::protocols::tls::TlsRef;
use pingora::utils::tls::CertKey;
use pingora_tests::{Nginx, Program, free_port, pattern};
use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

const NAME: &str = "one.example";

/// An authority, and a directory for what it issues.
struct House {
    dir: TempDir,
    root: Signed,
}

impl House {
    fn new() -> Self {
        House {
            dir: tempfile::tempdir().unwrap(),
            root: Shape::authority("Test Root").root(),
        }
    }

    /// The files of a certificate of this shape.
    fn issue(&self, shape: &Shape) -> (PathBuf, PathBuf) {
        write(self.dir.path(), shape.name, &[&shape.by(&self.root)])
    }

    /// The PEM file of the authority.
    fn file(&self) -> PathBuf {
        write(self.dir.path(), "root", &[&self.root]).0
    }

    fn peer(&self, address: SocketAddr) -> HttpPeer {
        trusting(HttpPeer::new(address, true, NAME.to_string()), &self.root)
    }

    /// A peer that is shown a certificate for a client, signed by `root`.
    fn peer_shown(&self, address: SocketAddr, root: &Signed) -> HttpPeer {
        let mut shape = Shape::leaf("client.example");
        shape.usage = |usage| {
            usage.client_auth();
        };
        let client = shape.by(root);
        let cert_key = CertKey::new(vec![client.certificate], client.key);
        let peer = HttpPeer::new_mtls(address, NAME.to_string(), Arc::new(cert_key));
        trusting(peer, &self.root)
    }
}

/// `openssl s_server`, which answers every request with a page about its session.
fn s_server(files: &(PathBuf, PathBuf), arguments: &[&str]) -> (Program, SocketAddr) {
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, free_port()).into();
    let mut command = Command::new("openssl");
    command
        .args(["s_server", "-www", "-accept", &address.to_string()])
        .arg("-cert")
        .arg(&files.0)
        .arg("-key")
        .arg(&files.1)
        .args(arguments);
    let mut program = Program::start(&mut command);
    program.wait_for_line("ACCEPT");
    (program, address)
}

/// The page of `openssl s_server` for a path.
async fn page(server: &pingora_tests::TestServer, path: &str) -> String {
    let answer = get(server, path).await;
    assert_eq!(answer.status(), 200, "{path}");
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_servers_of_every_version_and_cipher() {
    let house = House::new();
    let ecdsa = house.issue(&Shape::leaf(NAME));
    let rsa = house.issue(&Shape {
        rsa: true,
        name: "rsa.example",
        ..Shape::leaf(NAME)
    });
    let curve: &[&str] = &["-curves", "P-384"];
    /// The name, the certificate, how the server is started, and what its page says.
    type Kind<'a> = (&'a str, &'a (PathBuf, PathBuf), Vec<&'a str>, &'a str);
    let good: [Kind<'_>; 10] = [
        (
            "tls13-aes128",
            &ecdsa,
            vec!["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
            "TLS_AES_128_GCM_SHA256",
        ),
        (
            "tls13-aes256",
            &ecdsa,
            vec!["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
            "TLS_AES_256_GCM_SHA384",
        ),
        (
            "tls13-chacha",
            &rsa,
            vec!["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (
            "tls13-curve",
            &ecdsa,
            [&["-tls1_3"], curve].concat(),
            "TLSv1.3",
        ),
        (
            "tls12-aes128",
            &ecdsa,
            vec!["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        (
            "tls12-chacha",
            &ecdsa,
            vec!["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
        (
            "tls12-rsa",
            &rsa,
            vec!["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"],
            "ECDHE-RSA-AES256-GCM-SHA384",
        ),
        (
            "tls12-static-rsa",
            &rsa,
            vec!["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
            "AES128-GCM-SHA256",
        ),
        (
            "tls12-curve",
            &ecdsa,
            [&["-tls1_2"], curve].concat(),
            "TLSv1.2",
        ),
        ("either", &ecdsa, vec![], "TLSv1.3"),
    ];
    let bad: [(&str, Vec<&str>); 2] = [
        ("tls11", vec!["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]),
        ("tls10", vec!["-tls1", "-cipher", "ALL:@SECLEVEL=0"]),
    ];
    let (mut routes, mut running) = (Routes::default(), Vec::new());
    // What has no forward secrecy is not there in rustls.
    let known = |name: &str| !(crate::RUSTLS && name == "tls12-static-rsa");
    for (name, files, arguments, _) in good.iter().filter(|row| known(row.0)) {
        let (program, address) = s_server(files, arguments);
        routes.add(name, house.peer(address));
        running.push(program);
    }
    for (name, arguments) in &bad {
        let (program, address) = s_server(&rsa, arguments);
        routes.add(name, house.peer(address));
        running.push(program);
    }
    let server = routes.start().await;
    for (name, _, _, cipher) in good.iter().filter(|row| known(row.0)) {
        let text = page(&server, &format!("/{name}/")).await;
        assert!(text.contains(cipher), "{name}: {text}");
    }
    for (name, _) in &bad {
        let line = refused(&server, &format!("/{name}/old")).await;
        assert!(line.contains("TLSHandshakeFailure"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_servers_resume_sessions_by_ticket_and_by_id() {
    let house = House::new();
    let files = house.issue(&Shape::leaf(NAME));
    let kinds: [(&str, &[&str]); 4] = [
        ("tls13-ticket", &["-tls1_3"]),
        ("tls13-stateful", &["-tls1_3", "-no_ticket"]),
        ("tls12-ticket", &["-tls1_2"]),
        ("tls12-id", &["-tls1_2", "-no_ticket"]),
    ];
    let (mut routes, mut running) = (Routes::default(), Vec::new());
    for (name, arguments) in kinds {
        let (program, address) = s_server(&files, arguments);
        routes.add(name, house.peer(address));
        running.push(program);
    }
    let server = routes.start().await;
    for (name, _) in kinds {
        // The server closes each connection behind its page.
        let first = page(&server, &format!("/{name}/")).await;
        assert!(first.contains("\nNew, "), "{name}: {first}");
        for _ in 0..3 {
            let later = page(&server, &format!("/{name}/")).await;
            assert!(later.contains("\nReused, "), "{name}: {later}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_servers_that_demand_a_certificate() {
    let house = House::new();
    let files = house.issue(&Shape::leaf(NAME));
    let stranger = Shape::authority("Stranger").root();
    let authority = house.file();
    let authority = authority.to_str().unwrap();
    let (mut routes, mut running) = (Routes::default(), Vec::new());
    for version in ["-tls1_2", "-tls1_3"] {
        let demands = [
            "-Verify",
            "1",
            "-verify_return_error",
            "-CAfile",
            authority,
            version,
        ];
        let (program, address) = s_server(&files, &demands);
        routes.add(
            &format!("known{version}"),
            house.peer_shown(address, &house.root),
        );
        routes.add(
            &format!("stranger{version}"),
            house.peer_shown(address, &stranger),
        );
        routes.add(&format!("nobody{version}"), house.peer(address));
        running.push(program);
    }
    let server = routes.start().await;
    for version in ["-tls1_2", "-tls1_3"] {
        let text = page(&server, &format!("/known{version}/")).await;
        assert!(text.contains("client.example"), "{text}");
        for who in ["stranger", "nobody"] {
            // In TLS 1.3 the refusal comes behind the handshake, when the request was sent.
            let line = refused(&server, &format!("/{who}{version}/refused")).await;
            assert!(line.to_lowercase().contains("alert"), "{line}");
        }
    }
}

const SESSION: &str = "location / { return 200 \"$ssl_server_name $ssl_protocol $ssl_session_reused $ssl_client_verify $ssl_client_s_dn\"; }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_resumes_sessions() {
    let house = House::new();
    let files = house.issue(&Shape::leaf(NAME));
    let (mut routes, mut running) = (Routes::default(), Vec::new());
    let kinds = [
        ("tls13", "ssl_protocols TLSv1.3;"),
        ("tls12", "ssl_protocols TLSv1.2;"),
        (
            "tls12-id",
            "ssl_protocols TLSv1.2; ssl_session_tickets off; ssl_session_cache shared:s:1m;",
        ),
    ];
    for (name, settings) in kinds {
        let nginx = Nginx::with_tls_settings(
            &files,
            &format!("{settings} keepalive_timeout 0; {SESSION}"),
        );
        routes.add(name, house.peer(nginx.address()));
        running.push(nginx);
    }
    let server = routes.start().await;
    for (name, _) in kinds {
        for reused in [".", "r", "r", "r"] {
            let text = page(&server, &format!("/{name}/")).await;
            assert!(text.contains(&format!(" {reused} ")), "{name}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_demands_a_certificate() {
    let house = House::new();
    let files = house.issue(&Shape::leaf(NAME));
    let stranger = Shape::authority("Stranger").root();
    let demands = format!(
        "ssl_client_certificate {}; ssl_verify_client on; {SESSION}",
        house.file().display()
    );
    let nginx = Nginx::with_tls(&files, &demands);
    let mut routes = Routes::default();
    routes.add("known", house.peer_shown(nginx.address(), &house.root));
    routes.add("stranger", house.peer_shown(nginx.address(), &stranger));
    routes.add("nobody", house.peer(nginx.address()));
    let server = routes.start().await;
    for _ in 0..3 {
        let text = page(&server, "/known/").await;
        assert!(text.starts_with("one.example TLSv1.3 "), "{text}");
        assert!(text.ends_with(" SUCCESS CN=client.example"), "{text}");
    }
    // nginx lets the handshake pass and answers itself; never with what only clients of ours may see.
    for who in ["/stranger/", "/nobody/"] {
        let answer = get(&server, who).await;
        assert_eq!(answer.status(), 400, "{who}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_from_nginx_in_every_version() {
    let house = House::new();
    let files = house.issue(&Shape::leaf(NAME));
    let body = pattern(3_000_000);
    let (mut routes, mut running) = (Routes::default(), Vec::new());
    for (name, version) in [("tls13", "TLSv1.3"), ("tls12", "TLSv1.2")] {
        for (kind, sizes) in [
            ("large", "ssl_buffer_size 16k;"),
            ("small", "ssl_buffer_size 1k;"),
        ] {
            let name = format!("{name}-{kind}");
            let settings = format!("ssl_protocols {version}; {sizes}");
            let nginx = Nginx::with_tls_settings(&files, &settings);
            std::fs::create_dir(nginx.root().join(&name)).unwrap();
            std::fs::write(nginx.root().join(&name).join("file"), &body).unwrap();
            routes.add(&name, house.peer(nginx.address()));
            running.push(nginx);
        }
    }
    let names: Vec<String> = routes.0.keys().cloned().collect();
    let server = routes.start().await;
    for name in names {
        for _ in 0..2 {
            let answer = get(&server, &format!("/{name}/file")).await;
            assert!(answer.is_complete() && answer.body == body, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hook_sees_resumed_sessions_too() {
    if crate::RUSTLS {
        // It takes a session of OpenSSL.
        return;
    }
    let house = House::new();
    let files = house.issue(&Shape::leaf(NAME));
    let nginx = Nginx::with_tls_settings(&files, &format!("keepalive_timeout 0; {SESSION}"));
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut peer = house.peer(nginx.address());
    let notes = seen.clone();
    peer.options.upstream_tls_handshake_complete_hook = Some(Arc::new(move |ssl: &TlsRef| {
        let known = ssl.peer_certificate().is_some();
        notes.lock().unwrap().push((ssl.session_reused(), known));
        None::<Arc<dyn Any + Send + Sync>>
    }));
    let mut routes = Routes::default();
    routes.add("hook", peer);
    let server = routes.start().await;
    for _ in 0..3 {
        page(&server, "/hook/").await;
    }
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, [(false, true), (true, true), (true, true)]);
}
