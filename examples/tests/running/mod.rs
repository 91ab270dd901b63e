//! Examples as processes, and the client and origin functions needed to test them.
#![allow(dead_code, unreachable_pub, reason = "every test takes what it needs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "it is part of the tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing that is awaited here takes this long, even on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The program of an example, which `cargo test` has built next to this test.
fn program(example: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples");
    path.push(example);
    assert!(
        path.exists(),
        "{} is missing: build the examples first",
        path.display()
    );
    path
}

/// Runs an example that is expected to end by itself.
pub fn run_to_end(example: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(program(example))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if until(|| child.try_wait().unwrap()).is_none() {
        child.kill().unwrap();
    }
    child.wait_with_output().unwrap()
}

/// A running example. Dropping it kills it.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    /// The address that it listens on.
    pub address: SocketAddr,
}

impl Running {
    /// Starts an example on a port that the system chooses, and waits until it listens.
    pub fn start(example: &str, arguments: &[&str]) -> Self {
        Running::start_until(example, arguments, &[])
    }

    /// [`Running::start`], if these lines come before the one that says that it listens.
    pub fn start_until(example: &str, arguments: &[&str], lines: &[&str]) -> Self {
        let mut running = Running::start_without_address(example, arguments);
        for line in lines {
            running.wait_for_line(line);
        }
        let line = running.wait_for_line("listening on ");
        running.address = line.trim_start_matches("listening on ").parse().unwrap();
        running
    }

    /// Starts an example that may not listen yet. Its address is meaningless.
    pub fn start_without_address(example: &str, arguments: &[&str]) -> Self {
        Running::start_with_environment(example, arguments, &[])
    }

    /// [`Running::start_without_address`] with these variables in its environment.
    #[allow(clippy::print_stderr)]
    pub fn start_with_environment(
        example: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let log = std::env::var("RUST_LOG").unwrap_or("off".into());
        let mut child = Command::new(program(example))
            .env("RUST_LOG", log)
            .envs(variables.iter().copied())
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Shown only if the test fails.
        let errors = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            let lines = errors.lines().map_while(Result::ok);
            lines.for_each(|line| eprintln!("{line}"));
        });
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|l| sender.send(l))
        });
        let unknown = ([0, 0, 0, 0], 0).into();
        Running {
            child,
            lines,
            address: unknown,
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Asks it to stop, without waiting for that.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Waits until it has ended by itself; `true` if it ended in an orderly way.
    pub fn ended(mut self) -> bool {
        until(|| self.child.try_wait().unwrap()).is_some_and(|status| status.success())
    }

    /// The next line that contains `text`.
    pub fn wait_for_line(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = vec![];
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no line with {text:?} in {seen:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without {text:?}: {seen:?}"),
            }
        }
    }

    /// Requests a path, on a new connection.
    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    /// [`Running::get`] with more header fields, each ended by CRLF.
    pub fn get_with(&self, path: &str, fields: &str) -> Answer {
        Asked::new(self.address, path, fields).answer()
    }

    /// Sends a body to a path, on a new connection.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        Asked::post(self.address, path, body).answer()
    }

    /// Asks it to stop, and waits until it has; `true` if it ended in an orderly way.
    pub fn stop(self) -> bool {
        self.terminate();
        self.ended()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request that was sent, and whose answer is read later.
pub struct Asked(TcpStream);

impl Asked {
    /// Requests a path from an address, on a new connection; `fields` are additional header fields,
    /// each ended by CRLF.
    pub fn new(address: SocketAddr, path: &str, fields: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        Asked(stream)
    }

    /// Sends a body to a path, on a new connection.
    pub fn post(address: SocketAddr, path: &str, body: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // It may be refused before its end.
        let _ = stream.write_all(body.as_bytes());
        Asked(stream)
    }

    pub fn answer(mut self) -> Answer {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        Answer(text)
    }
}

/// A response as received, head and body.
#[derive(Debug)]
pub struct Answer(String);

impl Answer {
    pub fn status(&self) -> u16 {
        let status = self.0.split(' ').nth(1);
        status
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| panic!("no status in {self:?}"))
    }

    pub fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next()?;
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// Calls `ask` repeatedly until it returns an answer; `None` if there was none in time.
pub fn until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// An origin that answers every request with its name, one request per connection. Dropping it
/// closes its port.
pub struct Origin {
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Origin {
    pub fn start(name: &'static str) -> Self {
        Origin::start_at(name, ([127, 0, 0, 1], 0).into())
    }

    pub fn start_at(name: &'static str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // A health check only connects and disconnects, which is not worth a message.
                let _ = stream.and_then(|stream| answer(stream, name));
            }
        });
        Origin { address, over }
    }
}

fn answer(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let length = name.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(name.as_bytes())
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which then closes the port.
        let _ = TcpStream::connect(self.address);
        until(|| TcpStream::connect(self.address).err());
    }
}

/// OpenSSL's test server, which answers every request with its own page, with a self-signed
/// certificate. Dropping it kills it.
pub struct TlsOrigin {
    pub address: SocketAddr,
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    folder: PathBuf,
    child: Child,
}

impl TlsOrigin {
    pub fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pingora-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let openssl = |arguments: String| {
            let mut command = Command::new("openssl");
            command
                .args(arguments.split(' '))
                .current_dir(&folder)
                .stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::null());
            command
        };
        let certified = openssl(format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} \
             -addext subjectAltName=DNS:{name} -keyout key.pem -out certificate.pem"
        ));
        assert!({ certified }.status().unwrap().success());
        let server = "s_server -www -accept 127.0.0.1:0 -key key.pem -cert certificate.pem";
        let mut child = openssl(server.into()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let accepts = lines.find_map(|line| Some(line.ok()?.strip_prefix("ACCEPT ")?.to_string()));
        let address = accepts.unwrap().parse().unwrap();
        // Its further output has to be drained.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        TlsOrigin {
            address,
            certificate: folder.join("certificate.pem"),
            folder,
            child,
        }
    }

    /// Writes a file that is removed with the origin, and returns its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for TlsOrigin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
