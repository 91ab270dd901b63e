//! The generators: started, and what they print turned into a sample.

use super::Bench;
use crate::Failure;
use crate::contender::{Kind, Running};
use crate::environment;
use crate::load::{Load, STREAMS, pair};
use crate::process::{CpuTime, Process, line, resident_kib};
use crate::results::Sample;
use crate::rows::{Clients, Rate, Requests};
use std::path::Path;
use std::time::Duration;

/// Time for a process's memory to settle.
const SETTLE: Duration = Duration::from_millis(300);

impl Bench<'_> {
    pub(super) fn requests(
        &self,
        running: &Running,
        requests: Requests,
    ) -> Result<Sample, Failure> {
        let held = match requests.held {
            0 => None,
            count => Some(self.hold(running, count)?),
        };
        let before = CpuTime::of(running.process.id());
        let load = self.closed_loop(running, requests, self.options.seconds())?;
        let used = CpuTime::of(running.process.id()) - before;
        let mut sample = load.sample(used)?;
        if let Some(held) = held {
            sample.errors += held.release()?;
        }
        Ok(sample)
    }

    /// Requests on every connection as soon as it has its answer.
    pub(super) fn closed_loop(
        &self,
        running: &Running,
        requests: Requests,
        seconds: f64,
    ) -> Result<Load, Failure> {
        // Both programs take whole seconds only.
        let seconds = seconds.ceil().to_string();
        let connections = requests.connections.to_string();
        let scheme = if requests.clients.tls() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{}{}", running.address(), requests.path);
        let http2 = requests.clients.http2();
        let mut args = if http2 {
            vec!["-t1", "--npn-list=h2", "-m", STREAMS, "-D", &seconds]
        } else {
            vec!["-t1", "--timeout", "10s", "-d", &seconds]
        };
        args.extend(["-c", &connections]);
        for header in requests.headers {
            args.extend(["-H", header]);
        }
        args.push(&url);
        if http2 {
            let text = self.load_output("h2load", Path::new("h2load"), &args)?;
            return Load::from_h2load(&text);
        }
        let text = self.load_output("wrk", Path::new("wrk"), &args)?;
        Load::from_wrk(&text)
    }

    /// A connection for each request. Where sessions are to be resumed, a full handshake is an
    /// error, and the other way round.
    pub(super) fn handshakes(
        &self,
        running: &Running,
        connections: usize,
        resumed: bool,
    ) -> Result<Sample, Failure> {
        let before = CpuTime::of(running.process.id());
        let resume: &[&str] = if resumed { &["--resume"] } else { &[] };
        let text = self.load("handshakes", running, connections, resume)?;
        let used = CpuTime::of(running.process.id()) - before;
        let mut load = Load::from_pairs(&text)?;
        let resumptions = pair(&text, "resumed").ok_or("no count of resumed sessions")?;
        let wrong = if resumed {
            load.requests - resumptions
        } else {
            resumptions
        };
        load.errors += wrong as u64;
        load.sample(used)
    }

    pub(super) fn uploads(
        &self,
        running: &Running,
        connections: usize,
        bytes: u64,
    ) -> Result<Sample, Failure> {
        let before = CpuTime::of(running.process.id());
        let bytes = bytes.to_string();
        let text = self.load("upload", running, connections, &["--bytes", &bytes])?;
        let used = CpuTime::of(running.process.id()) - before;
        Load::from_pairs(&text)?.sample(used)
    }

    pub(super) fn echo(&self, running: &Running, connections: usize) -> Result<Sample, Failure> {
        let before = CpuTime::of(running.process.id());
        let text = self.load("echo", running, connections, &[])?;
        let used = CpuTime::of(running.process.id()) - before;
        Load::from_pairs(&text)?.sample(used)
    }

    pub(super) fn latency(
        &self,
        running: &Running,
        connections: usize,
        rate: Rate,
    ) -> Result<Sample, Failure> {
        let origin = format!("127.0.0.1:{}", self.origins.generator_port);
        let rate = match rate {
            Rate::Fixed(rate) => rate.to_string(),
            Rate::Own => {
                let text = self.load("paced", running, connections, &["--origin", &origin])?;
                let saturated = Load::from_pairs(&text)?;
                (0.8 * saturated.requests / saturated.seconds).to_string()
            }
        };
        let more = ["--origin", &origin, "--rate", &rate];
        let text = self.load("paced", running, connections, &more)?;
        let load = Load::from_pairs(&text)?;
        let value = pair(&text, "p99").ok_or("no p99 in the generator's answer")?;
        Ok(Sample {
            value,
            user: None,
            rate: Some(load.requests / load.seconds),
            errors: load.errors,
        })
    }

    pub(super) fn idle(&self, kind: Kind, connections: usize) -> Result<Sample, Failure> {
        let running = Running::start(kind, &self.shape())?;
        std::thread::sleep(SETTLE);
        let before = resident_kib(running.process.id());
        let held = self.hold(&running, connections)?;
        std::thread::sleep(SETTLE);
        let grown = resident_kib(running.process.id()) - before;
        let errors = held.release()?;
        Ok(Sample {
            value: grown / connections as f64,
            user: None,
            rate: None,
            errors,
        })
    }

    /// Opens connections that make one request each and stay.
    fn hold(&self, running: &Running, connections: usize) -> Result<Held, Failure> {
        let target = running.address().to_string();
        let connections = connections.to_string();
        let mut args = vec!["idle", "--target", &target, "--connections", &connections];
        match self.row.clients() {
            Clients::Http1 => {}
            Clients::Http1Tls => args.push("--tls"),
            Clients::Http2 => args.push("--http2"),
            Clients::Http2Tls => args.extend(["--tls", "--http2"]),
        }
        let program = environment::binary("load")?;
        let log = self.dir.join("idle.log");
        let mut process = Process::start(&program, &args, &self.options.load_cores, &log)?;
        let (stdin, mut stdout) = process.pipes().ok_or("the load program has no pipes")?;
        line(&mut stdout, "load idle").map_err(|e| with_log(&e, &log))?;
        Ok(Held {
            stdin,
            stdout,
            _process: process,
        })
    }

    fn load(
        &self,
        mode: &str,
        running: &Running,
        connections: usize,
        more: &[&str],
    ) -> Result<String, Failure> {
        let target = running.address().to_string();
        let (connections, seconds) = (connections.to_string(), self.options.seconds().to_string());
        let mut args = vec![mode, "--target", &target, "--connections", &connections];
        args.extend(["--seconds", &seconds]);
        args.extend(more);
        self.load_output(mode, &environment::binary("load")?, &args)
    }

    fn load_output(&self, name: &str, program: &Path, args: &[&str]) -> Result<String, Failure> {
        let log = self.dir.join(format!("{name}.log"));
        let limit = Duration::from_secs_f64(self.options.seconds() * 2.0 + 30.0);
        let process = Process::start(program, args, &self.options.load_cores, &log)?;
        process.output(limit).map_err(|e| with_log(&e, &log))
    }
}

fn with_log(e: &Failure, log: &Path) -> Failure {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    format!("{e} {}", said.trim()).into()
}

/// Connections that another process keeps open.
struct Held {
    stdin: std::process::ChildStdin,
    stdout: std::io::BufReader<std::process::ChildStdout>,
    _process: Process,
}

impl Held {
    /// Lets them go, and says how many the proxy had closed in the meantime.
    fn release(mut self) -> Result<u64, Failure> {
        drop(self.stdin);
        let text = line(&mut self.stdout, "load idle")?;
        Ok(pair(&text, "closed").ok_or("no count in the load program's answer")? as u64)
    }
}
