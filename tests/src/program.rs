//! Programs as processes of their own.

use crate::PATIENCE;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Says again what a process says, where it is shown only if the test fails.
#[allow(clippy::print_stderr)]
pub fn repeat(output: impl Read + Send + 'static) {
    thread::spawn(move || {
        let lines = BufReader::new(output).lines();
        lines
            .map_while(Result::ok)
            .for_each(|line| eprintln!("{line}"));
    });
}

/// A process; it is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Program {
    /// Starts it with nothing on its standard input, and gathers the lines of both of its outputs.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{command:?} can't be started: {e}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let readers = vec![gather(stdout, &lines), gather(stderr, &lines)];
        Self {
            child,
            lines,
            readers,
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its output until now.
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks for panics among what it has said: one costs a single exchange, so that nothing else shows it.
    /// To be called where this is dropped.
    ///
    /// # Panics
    /// When there was one, unless this thread is panicking already.
    pub fn has_not_panicked(&self) {
        let lines = self.lines();
        let panicked = lines.iter().any(|line| line.contains("panicked at"));
        assert!(thread::panicking() || !panicked, "{lines:?}");
    }

    /// Waits for a line with this text.
    ///
    /// # Panics
    /// When it doesn't come.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines();
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let over = matches!(self.child.try_wait(), Ok(Some(_)));
            assert!(
                !over && Instant::now() < end,
                "no line with {text:?}: {lines:?}"
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The addresses in the line `listening on …`.
    pub fn addresses(&mut self) -> Vec<SocketAddr> {
        let line = self.wait_for_line("listening on ");
        let addresses = line.trim_start_matches("listening on ").split(' ');
        addresses
            .map(|address| address.parse().expect("an address"))
            .collect()
    }

    /// How much memory it has in use now, in bytes (its resident set).
    pub fn memory(&self) -> usize {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that it had in use at once since [`forget_peak`](Self::forget_peak), in bytes.
    pub fn peak_memory(&self) -> usize {
        self.status_bytes("VmHWM:")
    }

    /// Begins to measure the peak of memory from what is in use now.
    pub fn forget_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.id());
        // See proc_pid_clear_refs(5).
        std::fs::write(path, "5").expect("the process is ours");
    }

    fn status_bytes(&self, name: &str) -> usize {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).expect("the process is there");
        let mut lines = status.lines();
        let value = lines
            .find_map(|line| line.strip_prefix(name))
            .expect("a line of status");
        let kilobytes = value.trim().trim_end_matches(" kB");
        kilobytes.parse::<usize>().expect("a number") * 1024
    }

    /// Sends it a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .expect("kill is there");
        assert!(sent.success(), "the process is ours");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until it has ended by itself, and returns how, and what it said.
    ///
    /// # Panics
    /// When it goes on.
    pub fn end(&mut self) -> (ExitStatus, Vec<String>) {
        let end = Instant::now() + PATIENCE;
        while !self.has_ended() {
            assert!(Instant::now() < end, "it doesn't end: {:?}", self.lines());
            thread::sleep(Duration::from_millis(2));
        }
        for reader in self.readers.drain(..) {
            reader.join().expect("the reader doesn't panic");
        }
        let status = self.child.wait().expect("it is ours");
        (status, self.lines())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gather(
    output: impl Read + Send + 'static,
    lines: &Arc<Mutex<Vec<String>>>,
) -> thread::JoinHandle<()> {
    let lines = lines.clone();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    })
}
