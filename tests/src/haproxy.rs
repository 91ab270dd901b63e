//! The real HAProxy, in front of a proxy or behind it.

use crate::PATIENCE;
use crate::ports::free_port;
use crate::program::Program;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// HAProxy with a configuration and on a port of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct Haproxy {
    program: Program,
    port: u16,
    _dir: TempDir,
}

impl Haproxy {
    /// Starts one that passes TCP connections on to `server`, whose line in the configuration ends with these
    /// parameters, such as `send-proxy-v2`.
    ///
    /// # Panics
    /// When HAProxy isn't installed, or doesn't like the parameters.
    pub fn in_front_of(server: SocketAddr, parameters: &str) -> Self {
        let rest = format!("mode tcp\n    server one {server} {parameters}");
        Self::listening("", &rest)
    }

    /// Starts one that speaks HTTP, whose `bind` line ends with these parameters, such as `accept-proxy`, and
    /// that answers every request with 200 and the text that `format` makes (a log format).
    pub fn answering(parameters: &str, format: &str) -> Self {
        let rest = format!(
            "mode http\n    http-request return status 200 content-type text/plain lf-string \"{format}\""
        );
        Self::listening(parameters, &rest)
    }

    fn listening(parameters: &str, rest: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let port = free_port();
        let config = format!(
            "global
    maxconn 200
defaults
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen all
    bind 127.0.0.1:{port} {parameters}
    {rest}
"
        );
        let path = dir.path().join("haproxy.cfg");
        std::fs::write(&path, config).expect("the directory is writable");
        let mut command = Command::new("haproxy");
        // In the foreground, as one process.
        command.arg("-db").arg("-f").arg(&path);
        let mut haproxy = Haproxy {
            program: Program::start(&mut command),
            port,
            _dir: dir,
        };
        haproxy.wait();
        haproxy
    }

    fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address()).is_err() {
            let ended = self.program.has_ended() || Instant::now() > end;
            assert!(!ended, "it doesn't listen: {:?}", self.program.lines());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}
