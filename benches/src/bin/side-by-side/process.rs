//! Child processes: pinned, counted, and ended with the run.

use crate::Failure;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The kernel's unit for CPU time in `/proc`: 1/100 s on every Linux architecture.
const TICK: f64 = 0.01;

/// How long a process may take to stop its children.
const GRACE: Duration = Duration::from_secs(2);

/// The processes that have to go when the run is interrupted.
static STARTED: Mutex<Started> = Mutex::new(Started {
    children: Vec::new(),
    dirs: Vec::new(),
});

struct Started {
    children: Vec<u32>,
    dirs: Vec<PathBuf>,
}

/// Lets SIGINT and SIGTERM end the children before they end the run.
pub(crate) fn end_children_on_signals() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = runtime.block_on(async {
        Ok::<_, std::io::Error>((
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ))
    })?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        // The lock is kept until the process is gone, so that no further child can start.
        let started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        for child in &started.children {
            kill_tree(*child);
            // If no other process reaps orphans they would stay as zombies.
            let _ = i32::try_from(*child).map(|child| waitpid(Pid::from_raw(child), None));
        }
        for dir in &started.dirs {
            let _ = std::fs::remove_dir_all(dir);
        }
        std::process::exit(130);
    });
    Ok(())
}

/// Allows as many descriptors as the machine's administrator does.
pub(crate) fn raise_descriptor_limit() -> Result<(), Failure> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(())
}

/// A directory for configurations, logs and bodies; removed at the end.
pub(crate) struct WorkDir(PathBuf);

impl WorkDir {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self::under(&std::env::temp_dir())?)
    }

    /// One in memory, where the system has such a place.
    pub(crate) fn in_memory() -> Result<Self, Failure> {
        let here = || Self::under(&std::env::temp_dir().join("side-by-side-memory"));
        Ok(Self::under(Path::new("/dev/shm")).or_else(|_| here())?)
    }

    fn under(place: &Path) -> std::io::Result<Self> {
        let dir = place.join(format!("side-by-side-{}", std::process::id()));
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::create_dir_all(&dir)?;
        started.dirs.push(dir.clone());
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child that is killed, with all of its own children, when this is dropped.
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `program` on `cores`. Its stdout is piped, its stderr goes to `log`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        program: &Path,
        args: &[A],
        cores: &str,
        log: &Path,
    ) -> Result<Self, Failure> {
        Self::start_with(program, args, cores, log, Stdio::piped())
    }

    /// As `start`, with stdout where the caller wants it.
    pub(crate) fn start_with<A: AsRef<OsStr>>(
        program: &Path,
        args: &[A],
        cores: &str,
        log: &Path,
        stdout: Stdio,
    ) -> Result<Self, Failure> {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // If this process dies without a chance to clean up, the kernel ends the child. nginx
        // needs the signal that it passes on to its workers.
        let signal = if name == "nginx" { "TERM" } else { "KILL" };
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", signal, "taskset", "-c", cores]);
        command.arg(program).args(args);
        command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(File::create(log)?);
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command
            .spawn()
            .map_err(|e| format!("setpriv (util-linux): {e}"))?;
        started.children.push(child.id());
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self { child, name })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error as soon as the process has ended.
    pub(crate) fn check_alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{} ended early: {status}", self.name).into()),
        }
    }

    /// Waits for the end, at most until `limit`, and returns stdout.
    pub(crate) fn output(mut self, limit: Duration) -> Result<String, Failure> {
        drop(self.child.stdin.take());
        let stdout = self.child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.map(|mut stdout| stdout.read_to_string(&mut text));
            text
        });
        let end = Instant::now() + limit;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > end => {
                    return Err(format!("{} did not end within {limit:?}", self.name).into());
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let text = reader.join().map_err(|_| "the reader of stdout panicked")?;
        if status.success() {
            Ok(text)
        } else {
            Err(format!("{} failed: {status}", self.name).into())
        }
    }

    /// The child's stdin and stdout, for a talk with it.
    pub(crate) fn pipes(&mut self) -> Option<(ChildStdin, BufReader<ChildStdout>)> {
        Some((
            self.child.stdin.take()?,
            BufReader::new(self.child.stdout.take()?),
        ))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill_tree(self.id());
        let _ = self.child.wait();
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        started.children.retain(|child| *child != self.child.id());
    }
}

/// One line from a child's stdout; an error where it ended instead.
pub(crate) fn line(stdout: &mut impl BufRead, name: &str) -> Result<String, Failure> {
    let mut line = String::new();
    match stdout.read_line(&mut line)? {
        0 => Err(format!("{name} ended early").into()),
        _ => Ok(line),
    }
}

fn kill_tree(root: u32) {
    let send = |process: u32, signal| {
        if let Ok(process) = i32::try_from(process) {
            let _ = kill(Pid::from_raw(process), signal);
        }
    };
    // A process with children is asked first: it stops them, and no other process would reap them.
    if tree(root).len() > 1 {
        send(root, Signal::SIGTERM);
        let end = Instant::now() + GRACE;
        while tree(root).len() > 1 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // The root comes first: it could replace its children.
    for process in tree(root) {
        send(process, Signal::SIGKILL);
    }
}

/// A process and all its descendants, itself first.
fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        next += 1;
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
    }
    found
}

/// CPU time that processes have used, in seconds.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct CpuTime {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl CpuTime {
    /// Of a process with all its threads and descendants.
    pub(crate) fn of(root: u32) -> Self {
        let mut sum = Self::default();
        for process in tree(root) {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
            // The name in parentheses may hold anything; what follows it is regular.
            let stat = stat.unwrap_or_default();
            let fields = stat.rsplit(')').next().unwrap_or_default();
            let field = |index| {
                fields
                    .split_whitespace()
                    .nth(index)
                    .and_then(|f| f.parse().ok())
            };
            sum.user += field(11).unwrap_or(0.0) * TICK;
            sum.system += field(12).unwrap_or(0.0) * TICK;
        }
        sum
    }

    /// Of all the machine's processes: everything but idle and waiting for disks.
    pub(crate) fn of_machine() -> f64 {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = line
            .split_whitespace()
            .filter_map(|f| f.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq; steal and guest belong to other machines
        // or are counted in user already.
        [0, 1, 2, 5, 6]
            .iter()
            .filter_map(|i| ticks.get(*i))
            .sum::<f64>()
            * TICK
    }

    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

impl std::ops::Sub for CpuTime {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
        }
    }
}

/// Resident memory of a process and its descendants, in KiB.
pub(crate) fn resident_kib(root: u32) -> f64 {
    let resident = |process| -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    };
    tree(root).into_iter().filter_map(resident).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_with_its_cpu_time_and_memory() {
        let own = std::process::id();
        assert_eq!(tree(own).first(), Some(&own));
        assert!(resident_kib(own) > 100.0);
        assert!(CpuTime::of_machine() > CpuTime::of(own).total());
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let log = std::env::temp_dir().join(format!("process-test-{}", std::process::id()));
        let sleep = Process::start(Path::new("sleep"), &["1000"], "0", &log);
        let sleep = sleep.expect("sleep starts");
        let path = format!("/proc/{}", sleep.id());
        assert!(Path::new(&path).exists());
        drop(sleep);
        assert!(!Path::new(&path).exists());
        std::fs::remove_file(log).expect("the log was made");
    }
}
