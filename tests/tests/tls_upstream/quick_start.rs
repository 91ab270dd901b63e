//! The program of the quick start against real TLS upstreams: nothing but the address, `true`, and the
//! name.

use super::certificates::{Shape, Signed, write};
use pingora_tests::{Connection, Nginx, Program};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const NAME: &str = "one.one.one.one";
const SAYS: &str = "location / { return 200 \"$ssl_server_name $http_host $connection\"; }";

/// Two upstreams, and the authority that vouches for them.
struct Upstreams {
    dir: TempDir,
    root: Signed,
    nginx: [Nginx; 2],
}

impl Upstreams {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Shape::authority("Test Root").root();
        write(dir.path(), "root", &[&root]);
        let start = |name: &str| {
            let files = write(dir.path(), name, &[&Shape::leaf(NAME).by(&root)]);
            Nginx::with_tls(&files, SAYS)
        };
        let nginx = [start("first"), start("second")];
        Upstreams { dir, root, nginx }
    }

    /// The program, where the system trusts this PEM file.
    fn balance(&self, trusted: &Path, arguments: &[&str]) -> (Program, SocketAddr) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tls_balancer"));
        command
            .args(arguments)
            .args(self.nginx.iter().map(|nginx| nginx.address().to_string()))
            .env("SSL_CERT_FILE", trusted)
            .env("SSL_CERT_DIR", self.dir.path().join("empty"))
            .env("SSLKEYLOGFILE", self.dir.path().join("keys"));
        let mut program = Program::start(&mut command);
        let line = program.wait_for_line("reached at ");
        let address = line.trim_start_matches("reached at ").parse().unwrap();
        (program, address)
    }

    /// A file with a configuration.
    fn configuration(&self, text: &str) -> String {
        let path = self.dir.path().join("conf.yaml");
        std::fs::write(&path, format!("---\nversion: 1\n{text}\n")).unwrap();
        path.to_str().unwrap().to_string()
    }
}

async fn get(address: SocketAddr) -> (u16, String) {
    let mut client = Connection::to(address).await;
    let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    (answer.status(), String::from_utf8(answer.body).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_that_the_system_trusts_are_reached() {
    let upstreams = Upstreams::start();
    let (program, address) = upstreams.balance(&upstreams.dir.path().join("root.pem"), &[]);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..8 {
        let (status, text) = get(address).await;
        assert_eq!(status, 200, "{:?}", program.lines());
        assert!(
            text.starts_with("one.one.one.one one.one.one.one "),
            "{text}"
        );
        seen.insert(text);
    }
    // Connections are kept: one to each upstream.
    assert!(seen.len() <= 2, "{seen:?}");
    assert!(
        !upstreams.dir.path().join("keys").exists(),
        "nobody asked for a key log"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_that_the_system_does_not_trust_are_refused() {
    let upstreams = Upstreams::start();
    let stranger = Shape::authority("Stranger").root();
    let (stranger, _) = write(upstreams.dir.path(), "stranger", &[&stranger]);
    let (mut program, address) = upstreams.balance(&stranger, &[]);
    assert_eq!(get(address).await.0, 502);
    let line = program.wait_for_line("InvalidCert");
    assert!(line.contains(NAME), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_names_another_authority_and_a_key_log() {
    let upstreams = Upstreams::start();
    let stranger = Shape::authority("Stranger").root();
    let (stranger, _) = write(upstreams.dir.path(), "stranger", &[&stranger]);
    let root = upstreams.dir.path().join("root.pem");
    let conf = upstreams.configuration(&format!(
        "ca_file: {}\nupstream_debug_ssl_keylog: true",
        root.display()
    ));
    let (program, address) = upstreams.balance(&stranger, &["-c", &conf]);
    assert_eq!(get(address).await.0, 200, "{:?}", program.lines());
    let keys = std::fs::read_to_string(upstreams.dir.path().join("keys")).unwrap();
    assert!(keys.contains("CLIENT_TRAFFIC_SECRET_0 "), "{keys}");
    // The file takes the place of what the system trusts.
    let conf = upstreams.configuration(&format!("ca_file: {}", stranger.display()));
    let (_program, address) = upstreams.balance(&root, &["-c", &conf]);
    assert_eq!(get(address).await.0, 502);
}

/// Revokes a certificate: the authority's list, as PEM.
fn revocation_list(upstreams: &Upstreams, revoked: &Path) -> Vec<u8> {
    let dir = upstreams.dir.path();
    let at = |name: &str| dir.join(name).to_str().unwrap().to_string();
    std::fs::write(dir.join("index"), "").unwrap();
    let conf = format!(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = {}\ndefault_md = sha256\ndefault_crl_days = 1\n",
        at("index")
    );
    std::fs::write(dir.join("ca.conf"), conf).unwrap();
    let run = |arguments: &[&str]| {
        let (conf, cert, key) = (at("ca.conf"), at("root.pem"), at("root.key"));
        let status = Command::new("openssl")
            .args(["ca", "-config", &conf, "-cert", &cert, "-keyfile", &key])
            .args(arguments)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&status.stderr).into_owned();
        assert!(status.status.success(), "{stderr}");
    };
    run(&["-revoke", revoked.to_str().unwrap()]);
    run(&["-gencrl", "-out", &at("crl.pem")]);
    std::fs::read(dir.join("crl.pem")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_list_beside_the_authorities_is_heeded() {
    let upstreams = Upstreams::start();
    let dir = upstreams.dir.path();
    let list = revocation_list(&upstreams, &dir.join("first.pem"));
    let root = upstreams.root.certificate.to_pem().unwrap();
    std::fs::write(dir.join("both.pem"), [root, list].concat()).unwrap();
    let both = dir.join("both.pem");
    let conf = upstreams.configuration(&format!("ca_file: {}", both.display()));
    let (mut program, address) = upstreams.balance(&dir.join("root.pem"), &["-c", &conf]);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(get(address).await.0);
    }
    statuses.sort_unstable();
    // One of the two upstreams is revoked, its twin is not.
    assert_eq!(statuses, [200, 200, 502, 502], "{:?}", program.lines());
    let line = program.wait_for_line("InvalidCert");
    assert!(line.contains("revoked"), "{line}");
}
