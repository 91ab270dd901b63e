//! The proxies that are compared.

use crate::Failure;
use crate::certificate::{CIPHER, Certificate, client};
use crate::environment;
use crate::process::Process;
use crate::proxy_config::{self, Setting};
use crate::rows::{Clients, Task};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long a program may take until it answers.
const START: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Kind {
    Floor,
    FloorSplice,
    Nginx,
    NginxLog,
    Haproxy,
    HaproxyLog,
    Varnish,
    Peer,
    /// Without metrics.
    Uncounted,
    Ours,
    OursLog,
    OursRustls,
    Tuned,
}

impl Kind {
    pub(crate) const ALL: [Self; 13] = [
        Self::Floor,
        Self::FloorSplice,
        Self::Nginx,
        Self::NginxLog,
        Self::Haproxy,
        Self::HaproxyLog,
        Self::Varnish,
        Self::Peer,
        Self::Uncounted,
        Self::Ours,
        Self::OursLog,
        Self::OursRustls,
        Self::Tuned,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::FloorSplice => "floor-splice",
            Self::Nginx => "nginx",
            Self::NginxLog => "nginx-log",
            Self::Haproxy => "haproxy",
            Self::HaproxyLog => "haproxy-log",
            Self::Varnish => "varnish",
            Self::Peer => "peer",
            Self::Uncounted => "uncounted",
            Self::Ours => "ours",
            Self::OursLog => "ours-log",
            Self::OursRustls => "ours-rustls",
            Self::Tuned => "tuned",
        }
    }

    /// Whether it is another contender with an access log in the combined format.
    pub(crate) fn logs(self) -> bool {
        matches!(self, Self::NginxLog | Self::HaproxyLog | Self::OursLog)
    }

    /// Why this contender can't take part, if it can't.
    pub(crate) fn missing(self) -> Option<String> {
        let program = self.program().map_err(|e| e.to_string());
        match program {
            Err(reason) => Some(reason),
            Ok(path) if path.is_absolute() => None,
            Ok(path) => match std::process::Command::new(&path).arg("-v").output() {
                Ok(_) => None,
                Err(e) => Some(format!("{}: {e}", path.display())),
            },
        }
    }

    fn program(self) -> Result<PathBuf, Failure> {
        match self {
            Self::Floor | Self::FloorSplice => environment::binary("floor"),
            Self::Nginx | Self::NginxLog => Ok("nginx".into()),
            Self::Haproxy | Self::HaproxyLog => Ok("haproxy".into()),
            Self::Varnish => Ok("varnishd".into()),
            Self::Peer => environment::peer_binary(),
            Self::Uncounted => environment::uncounted_binary(),
            Self::Ours => environment::binary("ours"),
            Self::OursLog => environment::binary("logged"),
            Self::OursRustls => environment::binary("ours-rustls"),
            Self::Tuned => environment::binary("tuned"),
        }
    }
}

/// How a contender is to run.
#[derive(Clone)]
pub(crate) struct Shape<'a> {
    pub(crate) dir: &'a Path,
    /// A directory in memory.
    pub(crate) memory: &'a Path,
    pub(crate) upstream_port: u16,
    pub(crate) workers: usize,
    pub(crate) cores: String,
    pub(crate) task: Task,
    /// The upstream is there from the beginning.
    pub(crate) upstream_answers: bool,
    pub(crate) clients: Clients,
    pub(crate) upstream_h2c: bool,
    pub(crate) deferred: bool,
    /// All contenders use the same cipher and versions of TLS.
    pub(crate) alike: bool,
    pub(crate) certificate: &'a Certificate,
}

/// A contender that answers.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

impl Running {
    pub(crate) fn start(kind: Kind, shape: &Shape<'_>) -> Result<Self, Failure> {
        let port = free_port()?;
        let name = kind.name();
        let log = shape.dir.join(format!("{name}.log"));
        let access_log = shape.dir.join(format!("{name}-access.log"));
        let logs = shape.task == Task::Realistic || kind.logs();
        let access_log = logs.then_some(access_log.as_path());
        let stdout = match (kind, access_log) {
            (Kind::Haproxy | Kind::HaproxyLog, Some(path)) => File::create(path)?.into(),
            _ => Stdio::null(),
        };
        let args = arguments(kind, shape, port, access_log)?;
        let program = match (kind, shape.task) {
            (Kind::Ours, Task::Cached | Task::CachedOnDisk) => environment::binary("cached")?,
            _ => kind.program()?,
        };
        let mut process = Process::start_with(&program, &args, &shape.cores, &log, stdout)?;
        let ready = match (shape.upstream_answers, shape.clients) {
            // No request of HTTP/1.1 would be understood.
            (false, _) | (_, Clients::Http2) => wait_until_listening(&mut process, port),
            (true, clients) => wait_until_answering(&mut process, port, clients, shape.alike),
        };
        ready.map_err(|e| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("{name}: {e}; it said: {}", said.trim())
        })?;
        Ok(Self { process, port })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

fn arguments(
    kind: Kind,
    shape: &Shape<'_>,
    port: u16,
    access_log: Option<&Path>,
) -> Result<Vec<String>, Failure> {
    let Shape {
        dir,
        memory,
        upstream_port,
        workers,
        clients,
        upstream_h2c,
        deferred,
        alike,
        task,
        certificate,
        ..
    } = *shape;
    let setting = Setting {
        name: kind.name(),
        dir,
        memory,
        port,
        upstream_port,
        workers,
        access_log,
        clients,
        upstream_h2c,
        deferred,
        alike,
        task,
        certificate,
    };
    let text = |path: &Path| path.display().to_string();
    let mut args = match kind {
        Kind::Nginx | Kind::NginxLog => {
            let config = dir.join(format!("{}.conf", kind.name()));
            std::fs::write(&config, proxy_config::nginx(&setting))?;
            return Ok(["-p", &text(dir), "-c", &text(&config)]
                .map(String::from)
                .into());
        }
        Kind::Haproxy | Kind::HaproxyLog => {
            let config = dir.join(format!("{}.cfg", kind.name()));
            std::fs::write(&config, proxy_config::haproxy(&setting))?;
            return Ok(["-db", "-f", &text(&config)].map(String::from).into());
        }
        Kind::Varnish => {
            let config = dir.join("varnish.vcl");
            std::fs::write(&config, proxy_config::varnish(&setting))?;
            let listen = format!("127.0.0.1:{port}");
            let work = text(&memory.join("varnish"));
            let args = [
                "-F",
                "-j",
                "none",
                "-a",
                &listen,
                "-f",
                &text(&config),
                "-n",
                &work,
            ];
            let store = ["-s", "malloc,256m"];
            return Ok(args.into_iter().chain(store).map(String::from).collect());
        }
        _ => vec![
            "--listen".to_string(),
            format!("127.0.0.1:{port}"),
            "--upstream".to_string(),
            format!("127.0.0.1:{upstream_port}"),
            "--workers".to_string(),
            workers.to_string(),
        ],
    };
    if kind == Kind::FloorSplice {
        args.push("--splice".to_string());
    }
    let mut add = |name: &str, value: String| args.extend([name.to_string(), value]);
    if clients.tls() {
        add("--certificate", text(&certificate.chain));
        add("--key", text(&certificate.key));
        if alike {
            add("--cipher", CIPHER.to_string());
        }
    }
    if clients == Clients::Http2 {
        add("--client-h2c", "yes".to_string());
    }
    if upstream_h2c {
        add("--upstream-h2c", "yes".to_string());
    }
    match task {
        Task::Edits => add("--edits", "yes".to_string()),
        Task::Gzip => add("--gzip", "yes".to_string()),
        Task::CachedOnDisk => add("--disk", text(&dir.join("cache"))),
        Task::Forward | Task::Realistic | Task::Logged | Task::Cached => {}
    }
    if let Some(path) = access_log {
        args.extend(["--access-log".to_string(), text(path)]);
    }
    Ok(args)
}

/// Whether the second answer to a request is the first one again, and not another one of the origin's.
///
/// # Errors
/// If it is not: the row would measure something else.
pub(crate) fn check_hits(port: u16, path: &str, headers: &[&str]) -> Result<(), Failure> {
    let mut seen = [String::new(), String::new()];
    for seen in &mut seen {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let fields: String = headers.iter().map(|field| format!("{field}\r\n")).collect();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\n{fields}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let number = answer
            .lines()
            .find_map(|line| line.strip_prefix("X-Number: "));
        *seen = number
            .ok_or("the origin's answer has no number")?
            .to_owned();
    }
    let [first, second] = seen;
    if first == second {
        Ok(())
    } else {
        Err("the second answer was not from the cache".into())
    }
}

/// A port without a listener at present.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Waits until `port` accepts connections.
fn wait_until_listening(process: &mut Process, port: u16) -> Result<(), Failure> {
    let end = Instant::now() + START;
    loop {
        process.check_alive()?;
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(()),
            Err(e) if Instant::now() > end => return Err(format!("does not listen: {e}").into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Waits until a request to `port` is answered with 200.
pub(crate) fn wait_until_answering(
    process: &mut Process,
    port: u16,
    clients: Clients,
    alike: bool,
) -> Result<(), Failure> {
    let end = Instant::now() + START;
    loop {
        process.check_alive()?;
        match ask(port, clients, alike) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => return Ok(()),
            Ok(answer) if Instant::now() > end => {
                let line = answer.lines().next().unwrap_or("nothing");
                return Err(format!("answers {line}").into());
            }
            Err(e) if Instant::now() > end => return Err(format!("does not answer: {e}").into()),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn ask(port: u16, clients: Clients, alike: bool) -> Result<String, Failure> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    if clients.tls() {
        ask_on(client(stream, alike)?)
    } else {
        ask_on(stream)
    }
}

fn ask_on(mut stream: impl Read + Write) -> Result<String, Failure> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; 1024];
    let read = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned())
}
