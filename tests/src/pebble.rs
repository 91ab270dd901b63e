//! The real Pebble: an authority that issues certificates by ACME, for tests.

use crate::PATIENCE;
use crate::authority::Authority;
use crate::curl::{curl, try_curl};
use crate::ports::free_port;
use crate::program::Program;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Pebble with a DNS server of its own, in which all names lead to 127.0.0.1; both end when this is dropped.
///
/// It looks for answers at [`http_port`](Self::http_port) and [`tls_port`](Self::tls_port), refuses one in twenty
/// nonces, and reuses no authorization.
#[derive(Debug)]
pub struct Pebble {
    program: Program,
    dns: Program,
    authority: Authority,
    ports: Ports,
    dir: TempDir,
    root: OnceLock<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    acme: u16,
    management: u16,
    dns: u16,
    dns_management: u16,
    http: u16,
    tls: u16,
}

impl Pebble {
    /// Starts one.
    ///
    /// # Panics
    /// When it isn't installed (Debian: pebble).
    pub fn start() -> Self {
        Self::configured("\"externalAccountBindingRequired\": false")
    }

    /// Starts one that gives accounts only to those who have one already: with this id of a key, and this key.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn with_external_accounts(id: &str, key: &str) -> Self {
        Self::configured(&format!(
            "\"externalAccountBindingRequired\": true, \"externalAccountMACKeys\": {{\"{id}\": \"{key}\"}}"
        ))
    }

    fn configured(rest: &str) -> Self {
        let ports = Ports {
            acme: free_port(),
            management: free_port(),
            dns: free_port(),
            dns_management: free_port(),
            http: free_port(),
            tls: free_port(),
        };
        let authority = Authority::named("pebble's own");
        let (certificate, key) = authority.issue(&["localhost", "127.0.0.1"]);
        let dir = tempfile::tempdir().expect("a directory can be made");
        let config = format!(
            r#"{{"pebble": {{
    "listenAddress": "127.0.0.1:{}", "managementListenAddress": "127.0.0.1:{}",
    "certificate": {certificate:?}, "privateKey": {key:?},
    "httpPort": {}, "tlsPort": {}, "ocspResponderURL": "", {rest}
}}}}"#,
            ports.acme, ports.management, ports.http, ports.tls
        );
        let path = dir.path().join("pebble.json");
        std::fs::write(&path, config).expect("the directory is writable");
        let mut pebble = Self {
            dns: Program::start(&mut dns(ports)),
            program: Program::start(&mut pebble(ports, &path)),
            authority,
            ports,
            dir,
            root: OnceLock::new(),
        };
        pebble.wait();
        pebble
    }

    fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        for port in [
            self.ports.acme,
            self.ports.management,
            self.ports.dns_management,
        ] {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                let ended = self.program.has_ended() || self.dns.has_ended();
                assert!(
                    !ended && Instant::now() < end,
                    "it doesn't listen: {:?} {:?}",
                    self.program.lines(),
                    self.dns.lines()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.ports.acme)
    }

    /// The PEM file of whom to trust to speak with it.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.file()
    }

    /// Where it looks for answers over HTTP.
    pub fn http_port(&self) -> u16 {
        self.ports.http
    }

    /// Where it looks for answers over TLS.
    pub fn tls_port(&self) -> u16 {
        self.ports.tls
    }

    /// Its output until now.
    pub fn lines(&self) -> Vec<String> {
        self.program.lines()
    }

    /// The PEM file of whom to trust to believe in what it issues.
    ///
    /// # Panics
    /// When it doesn't say.
    pub fn root_file(&self) -> PathBuf {
        // Several threads may ask at once.
        self.root
            .get_or_init(|| {
                let url = format!("https://localhost:{}/roots/0", self.ports.management);
                let ca = self.ca_file();
                let root = curl(&["--cacert", &ca.display().to_string(), &url]);
                let path = self.dir.path().join("root.pem");
                std::fs::write(&path, root).expect("the directory is writable");
                path
            })
            .clone()
    }

    /// Where its DNS server is told of records: `/set-txt` and `/clear-txt` take `{"host": "NAME.", "value": "..."}`.
    pub fn dns_management(&self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::LOCALHOST, self.ports.dns_management)
    }

    /// Asks with curl for `/` of the server at [`tls_port`](Self::tls_port), see [`ask_at`](Self::ask_at).
    pub fn ask(&self, name: &str) -> Option<String> {
        self.ask_at(self.ports.tls, name)
    }

    /// Asks with curl for `/` of the server at this port by this name; what it writes, where its certificate is one
    /// of this authority's for the name.
    ///
    /// # Panics
    /// When curl isn't installed.
    pub fn ask_at(&self, port: u16, name: &str) -> Option<String> {
        let output = try_curl(&[
            "--cacert",
            &self.root_file().display().to_string(),
            "--resolve",
            &format!("{name}:{port}:127.0.0.1"),
            &format!("https://{name}:{port}/"),
        ]);
        let text = String::from_utf8(output.stdout).expect("it is text");
        output.status.success().then_some(text)
    }
}

fn dns(ports: Ports) -> Command {
    let mut command = Command::new("pebble-challtestsrv");
    let at = |port: u16| format!("127.0.0.1:{port}");
    command.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
    command.args([
        "-dns01",
        &at(ports.dns),
        "-management",
        &at(ports.dns_management),
    ]);
    command.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
    command
}

fn pebble(ports: Ports, config: &std::path::Path) -> Command {
    let mut command = Command::new("pebble");
    command.arg("-config").arg(config);
    command.args(["-strict", "-dnsserver", &format!("127.0.0.1:{}", ports.dns)]);
    command.envs([
        ("PEBBLE_VA_NOSLEEP", "1"),
        ("PEBBLE_WFE_NONCEREJECT", "5"),
        ("PEBBLE_AUTHZREUSE", "0"),
    ]);
    command
}
