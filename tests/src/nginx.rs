//! The real nginx, as an origin or as a proxy to compare with.

use crate::PATIENCE;
use crate::ports::free_port;
use crate::program::repeat;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// nginx in a directory and on a port of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct Nginx {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Nginx {
    /// Starts one that answers `GET /` and every other path with 200 and this body.
    pub fn answering(body: &str) -> Self {
        Self::with_server(&format!("location / {{ return 200 \"{body}\"; }}"))
    }

    /// Starts one with these directives in its `server` block, besides `listen`. `root` is an empty
    /// directory unless they say otherwise.
    ///
    /// # Panics
    /// When nginx isn't installed, or doesn't like the directives.
    pub fn with_server(directives: &str) -> Self {
        Self::listening("", directives)
    }

    /// Starts one that speaks TLS 1.2 and 1.3 with this certificate and key.
    pub fn with_tls(files: &(PathBuf, PathBuf), directives: &str) -> Self {
        let versions = "ssl_protocols TLSv1.2 TLSv1.3;";
        Self::with_tls_settings(
            files,
            &format!(
                "{versions}
        {directives}"
            ),
        )
    }

    /// The same, where the directives say which versions of TLS.
    pub fn with_tls_settings(files: &(PathBuf, PathBuf), directives: &str) -> Self {
        Self::listening(" ssl", &tls_directives(files, directives))
    }

    /// Starts one that speaks HTTP/2 in cleartext, and nothing else, with these directives.
    pub fn with_http2(directives: &str) -> Self {
        Self::listening(" http2", directives)
    }

    /// Starts one that speaks TLS with this certificate and key, and HTTP/2 by ALPN.
    pub fn with_tls_and_http2(files: &(PathBuf, PathBuf), directives: &str) -> Self {
        let versions = "ssl_protocols TLSv1.2 TLSv1.3;";
        let directives = format!("{versions}\n        {directives}");
        Self::listening(" ssl http2", &tls_directives(files, &directives))
    }

    /// Starts one that expects a header of the PROXY protocol at the beginning of each connection, with these
    /// directives.
    pub fn with_proxy_protocol(directives: &str) -> Self {
        Self::listening(" proxy_protocol", directives)
    }

    /// The same over TLS with this certificate and key, and HTTP/2 by ALPN. The header comes first.
    pub fn with_proxy_protocol_and_tls(files: &(PathBuf, PathBuf), directives: &str) -> Self {
        let directives = tls_directives(files, directives);
        Self::listening(" ssl http2 proxy_protocol", &directives)
    }

    fn listening(parameters: &str, directives: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let port = free_port();
        let config = config(dir.path(), &format!("{port}{parameters}"), directives);
        std::fs::write(dir.path().join("nginx.conf"), config).expect("the directory is writable");
        std::fs::create_dir(dir.path().join("html")).expect("the directory is writable");
        let mut nginx = Self {
            dir,
            port,
            child: None,
        };
        nginx.start();
        nginx
    }

    /// The directory of the files that it serves.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("html")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Stops it; the port is refused from then on.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process is ours");
            child.wait().expect("the process is ours");
        }
    }

    /// Starts it again on the same port. Does nothing while it runs.
    pub fn start(&mut self) {
        if self.child.is_some() {
            return;
        }
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(self.dir.path())
            .args(["-e", "stderr", "-c", "nginx.conf"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::piped()).spawn();
        let mut child = child.expect("nginx is installed (Debian: nginx-light)");
        repeat(child.stderr.take().expect("it is piped"));
        self.child = Some(child);
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address()).is_err() {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            assert!(
                ended.is_none(),
                "nginx ended at once; it says why on stderr"
            );
            assert!(Instant::now() < end, "nginx doesn't listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}

fn tls_directives(files: &(PathBuf, PathBuf), directives: &str) -> String {
    let (certificate, key) = (files.0.display(), files.1.display());
    format!("ssl_certificate {certificate}; ssl_certificate_key {key};\n        {directives}")
}

/// One process, so that it can be stopped by its id; nothing outside of its directory is touched.
fn config(dir: &std::path::Path, listen: &str, directives: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_requests 1000000;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{listen};
        root {dir}/html;
        {directives}
    }}
}}
"
    )
}
