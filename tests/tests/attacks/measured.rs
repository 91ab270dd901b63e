//! A proxy whose memory use is known to the byte.

use crate::patient::Patient;
use pingora_tests::{PATIENCE, Program};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// The configured amount that the proxy may hold for its peers.
pub(crate) const LIMIT: usize = 64 * 1024 * 1024;

/// A proxy as a separate process, in front of an origin, with [`LIMIT`].
pub(crate) struct Measured {
    program: Program,
    pub(crate) address: SocketAddr,
    _origin: Patient,
    reports: usize,
    base: usize,
    _folder: tempfile::TempDir,
}

/// All values are in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// In use by the allocator now, in excess of the amount at the start.
    pub(crate) now: usize,
    /// The maximum of that since the previous report.
    pub(crate) peak: usize,
    /// In the framework's account.
    pub(crate) held: usize,
}

impl Measured {
    /// With additional arguments, and configuration lines.
    pub(crate) async fn before(origin: Patient, arguments: &[&str], lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("conf.yaml");
        let text = format!("memory_limit_bytes: {LIMIT}\nthreads: 2\n{lines}");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fixed_proxy"));
        command
            .args(["--h2c", "--upstream", &origin.address.to_string()])
            .arg("--conf")
            .arg(&file)
            .args(arguments)
            .env("RUST_LOG", "warn");
        Self::run(&mut command, origin, folder).await
    }

    /// With this much address space, and no other limit.
    pub(crate) async fn in_address_space(bytes: usize, origin: Patient) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("ulimit -v {}; exec \"$0\" \"$@\"", bytes / 1024);
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_fixed_proxy"), "--h2c"])
            .args(["--upstream", &origin.address.to_string()])
            .env("RUST_LOG", "warn");
        Self::run(&mut command, origin, folder).await
    }

    async fn run(command: &mut Command, origin: Patient, folder: tempfile::TempDir) -> Self {
        let mut program = Program::start(command);
        let address = program.addresses()[0];
        let mut measured = Measured {
            program,
            address,
            _origin: origin,
            reports: 0,
            base: 0,
            _folder: folder,
        };
        measured.base = measured.report().await.now;
        measured
    }

    /// The memory that it holds.
    pub(crate) async fn report(&mut self) -> Report {
        self.reports += 1;
        let prefix = format!("memory {}: ", self.reports);
        self.program.signal("USR1");
        let end = Instant::now() + PATIENCE;
        let line = loop {
            let lines = self.program.lines();
            if let Some(line) = lines.iter().find_map(|line| line.strip_prefix(&prefix)) {
                break line.to_string();
            }
            assert!(Instant::now() < end, "it does not answer: {lines:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut numbers = line.split(' ').map(|n| n.parse::<usize>().unwrap());
        let mut next = || numbers.next().unwrap();
        let (now, peak, held) = (next(), next(), next());
        Report {
            now: now.saturating_sub(self.base),
            peak: peak.saturating_sub(self.base),
            held,
        }
    }

    /// The memory that it holds once it no longer grows.
    pub(crate) async fn settled(&mut self) -> Report {
        let mut last = self.report().await;
        let mut peak = last.peak;
        let mut still = 0;
        let end = Instant::now() + PATIENCE;
        while still < 3 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let next = self.report().await;
            peak = peak.max(next.peak);
            still = if next.now.abs_diff(last.now) < 64 * 1024 {
                still + 1
            } else {
                0
            };
            last = next;
        }
        Report { peak, ..last }
    }

    /// Waits until it holds less than this.
    pub(crate) async fn lets_go(&mut self, bytes: usize, time: Duration) -> Report {
        let end = Instant::now() + time;
        loop {
            let report = self.report().await;
            if report.now < bytes || Instant::now() > end {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Its output.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.program.lines()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.program.has_ended()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.program.has_not_panicked();
    }
}
